//! The components of `keelson up`, each a supervised task with an identity of its own.

use crate::control::{self, ComponentReport, Report};
use crate::fail::{Context, Failure, Result};
use crate::layout::Layout;
use crate::pki::{Pair, Pki};
use crate::state::State;
use crate::supervisor::Supervisor;
use crate::switch::{Current, Switch};
use crate::{addons, containerd, status};
use k8s_openapi::api::core::v1::Node;
use keelson_apiserver as apiserver;
use keelson_client::{Api, Client, Transport};
use keelson_kvstore as kvstore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// RocksDB's block cache, bytes: small, since the API server's watch caches sit above it.
const STORE_CACHE_BYTES: usize = 8 << 20;
const CLUSTER_DOMAIN: &str = "cluster.local";
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a dead containerd is looked for. It is a separate process that may outlive us, so no wait on it
/// is possible after a restart.
const CONTAINERD_CHECK: Duration = Duration::from_secs(2);

/// When the start is over for certain, so that what only it needed can be given back.
const RELEASE_AFTER: Duration = Duration::from_secs(20);

/// When and why the cluster ended.
pub enum Ended {
    BeforeReady(Failure),
    Running(Failure),
}

/// A started cluster.
pub struct Cluster {
    stop: CancellationToken,
    supervisor: Supervisor,
    admin: Client,
    node_name: String,
    /// Whether the node agent of this start has written its Node as Ready.
    posted: watch::Receiver<bool>,
    ready: Arc<AtomicBool>,
}

fn tls(pair: &Pair, client_ca: &Path) -> Result<Arc<rustls::ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    for c in CertificateDer::pem_file_iter(client_ca).context(|| format!("read {}", client_ca.display()))? {
        let c = c.context(|| format!("parse {}", client_ca.display()))?;
        roots.add(c).context(|| format!("trust {}", client_ca.display()))?;
    }
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .context(|| "set up client certificates")?;
    let chain: Vec<_> = CertificateDer::pem_file_iter(&pair.cert)
        .and_then(Iterator::collect)
        .context(|| format!("read {}", pair.cert.display()))?;
    let key = PrivateKeyDer::from_pem_file(&pair.key).context(|| format!("read {}", pair.key.display()))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context(|| "choose TLS versions")?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .context(|| format!("use {}", pair.cert.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn client(transport: Arc<dyn Transport>, name: &str) -> Client {
    Client::new(transport, name)
}

/// Starts everything; returns at once.
pub async fn start(layout: &Layout, state: &State, keys: &Pki) -> Cluster {
    let stop = CancellationToken::new();
    let supervisor = Supervisor::new(stop.clone());
    let current: Arc<Current> = Arc::new(watch::channel(None).0);
    let admin = client(
        Switch::transport(&current, "kubernetes-admin", &["system:masters"]),
        "keelson",
    );

    storage_and_api(&supervisor, &current, layout, state, keys);
    controllers(&supervisor, &current, keys);
    let scheduler = client(
        Switch::transport(&current, "system:kube-scheduler", &[]),
        "kube-scheduler",
    );
    supervisor.keep("scheduler", move |stop| {
        let c = scheduler.clone();
        async move {
            keelson_scheduler::run(Default::default(), c, stop)
                .await
                .context(|| "run the scheduler")
        }
    });
    let (granted, grants) = watch::channel(false);
    let posted = node(&supervisor, &current, layout, state, keys, grants);

    let ready = Arc::new(AtomicBool::new(false));
    let (s, ready_seen) = (supervisor.clone(), ready.clone());
    let (l, st) = (layout.clone(), state.clone());
    supervisor.keep("control", move |stop| {
        let (s, ready, l, st) = (s.clone(), ready_seen.clone(), l.clone(), st.clone());
        async move { control::serve(&l, stop, || report(&l, &st, &s, ready.load(Ordering::Relaxed))).await }
    });
    let (c, st, granted) = (admin.clone(), state.clone(), Arc::new(granted));
    supervisor.keep("addons", move |stop| {
        let (c, st, granted) = (c.clone(), st.clone(), granted.clone());
        async move {
            addons::ensure(&c, &st).await?;
            granted.send_replace(true);
            stop.cancelled().await;
            Ok(())
        }
    });
    let l = layout.clone();
    supervisor.keep("containerd", move |stop| watch_containerd(l.clone(), stop));
    Cluster {
        stop,
        supervisor,
        admin,
        node_name: state.node_name.clone(),
        posted,
        ready,
    }
}

/// The datastore and, on it, the API server: a store that fails takes the server with it, a server that fails
/// leaves the store.
fn storage_and_api(supervisor: &Supervisor, current: &Arc<Current>, layout: &Layout, state: &State, keys: &Pki) {
    let (kv, kv_seen) = watch::channel::<Option<kvstore::Kv>>(None);
    let kv = Arc::new(kv);
    let (pair, ca) = (keys.pair("etcd-server"), keys.etcd_ca());
    let (name, data_dir) = (layout.name.clone(), layout.store());
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, state.etcd_port));
    supervisor.keep("kvstore", move |stop| {
        let (kv, pair, ca, name, data_dir) = (kv.clone(), pair.clone(), ca.clone(), name.clone(), data_dir.clone());
        async move {
            let mut options = kvstore::Options::new(name, data_dir).serve_at(addr, Some(tls(&pair, &ca)?));
            options.cache_bytes = STORE_CACHE_BYTES;
            let server = kvstore::Server::start(options)
                .await
                .context(|| "start the datastore")?;
            kv.send_replace(Some(server.kv()));
            let failure = tokio::select! {
                why = server.failed() => Some(why),
                () = stop.cancelled() => None,
            };
            kv.send_replace(None);
            server.shutdown().await;
            failure.map_or(Ok(()), |why| Err(Failure::new(why)))
        }
    });

    let (apiserver_pair, kubelet_client) = (keys.pair("apiserver"), keys.pair("apiserver-kubelet-client"));
    let options = apiserver::Options {
        listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, state.api_port)),
        advertise: SocketAddr::new(state.node_ip, state.api_port),
        tls_cert: apiserver_pair.cert,
        tls_key: apiserver_pair.key,
        client_ca: keys.ca(),
        service_account_keys: vec![keys.service_account_key()],
        service_account_issuer: format!("https://kubernetes.default.svc.{CLUSTER_DOMAIN}"),
        service_cidr: state.service_cidr.into(),
        node_port_range: (30000, 32767),
        kubelet_client_cert: kubelet_client.cert,
        kubelet_client_key: kubelet_client.key,
        kubelet_ca: keys.ca(),
        token_file: None,
    };
    let current = current.clone();
    supervisor.keep("apiserver", move |stop| {
        let (options, current, mut kv) = (options.clone(), current.clone(), kv_seen.clone());
        async move {
            let store = tokio::select! {
                store = kv.wait_for(Option::is_some) => store.context(|| "wait for the datastore")?.clone(),
                () = stop.cancelled() => return Ok(()),
            };
            let Some(store) = store else {
                return Err(Failure::new("the datastore is gone"));
            };
            let storage = Arc::new(apiserver::storage::embedded::embedded(store));
            let server = apiserver::Server::start(options, storage)
                .await
                .context(|| "start the API server")?;
            let server = Arc::new(server);
            current.send_replace(Some(server.clone()));
            let gone = tokio::select! {
                _ = kv.wait_for(Option::is_none) => true,
                () = stop.cancelled() => false,
            };
            current.send_replace(None);
            server.shutdown().await;
            if gone {
                Err(Failure::new("the datastore ended"))
            } else {
                Ok(())
            }
        }
    });
}

fn controllers(supervisor: &Supervisor, current: &Arc<Current>, keys: &Pki) {
    let (current, ca) = (current.clone(), keys.ca());
    supervisor.keep("controller-manager", move |stop| {
        let (current, ca) = (current.clone(), ca.clone());
        async move {
            let root_ca_pem = std::fs::read_to_string(&ca).context(|| format!("read {}", ca.display()))?;
            let options = keelson_controllers::Options {
                root_ca_pem,
                ..Default::default()
            };
            let client_for = move |name: &str| {
                let transport = if name == "kube-controller-manager" {
                    Switch::transport(&current, "system:kube-controller-manager", &[])
                } else {
                    Switch::service_account(&current, name)
                };
                client(transport, name)
            };
            keelson_controllers::run(options, client_for, stop)
                .await
                .context(|| "run the controllers")
        }
    });
}

/// Waits until the roles that this composition adds are there: before, every read would be refused.
async fn granted(mut grants: watch::Receiver<bool>, stop: &CancellationToken) -> Result<bool> {
    tokio::select! {
        g = grants.wait_for(|g| *g) => g.map(|_| true).context(|| "wait for roles"),
        () = stop.cancelled() => Ok(false),
    }
}

/// What runs on every node: agent, proxy, and here the DNS server too. Returns whether the agent has written its Node
/// as Ready.
fn node(
    supervisor: &Supervisor,
    current: &Arc<Current>,
    layout: &Layout,
    state: &State,
    keys: &Pki,
    grants: watch::Receiver<bool>,
) -> watch::Receiver<bool> {
    let pair = keys.pair("kubelet");
    let user = format!("system:node:{}", state.node_name);
    let agent = client(Switch::transport(current, &user, &["system:nodes"]), "kubelet");
    let mut options = keelson_kubelet::Options::new(
        &state.node_name,
        state.node_ip,
        layout.containerd_socket().display().to_string(),
    );
    options.root_dir = layout.kubelet();
    options.pod_logs_dir = layout.pod_logs();
    options.pod_cidr = state.pod_cidr.to_string();
    options.cluster_dns = Some(state.dns_service_ip().into());
    options.cluster_domain = CLUSTER_DOMAIN.into();
    options.cgroup_parent = layout.cgroup_parent();
    options.listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, state.kubelet_port));
    options.tls_cert = pair.cert;
    options.tls_key = pair.key;
    options.client_ca = keys.ca();
    options.pause_image = containerd::PAUSE_IMAGE.into();
    let (post, posted) = watch::channel(false);
    let post = Arc::new(post);
    supervisor.keep("kubelet", move |stop| {
        let (options, c, post) = (options.clone(), agent.clone(), post.clone());
        async move {
            let handle = keelson_kubelet::Kubelet::start(options, c, stop.clone())
                .await
                .context(|| "start the kubelet")?;
            if handle.wait_ready().await {
                post.send_replace(true);
            }
            handle.wait_stopped().await;
            Ok(())
        }
    });

    let options = keelson_proxy::Options {
        node_name: state.node_name.clone(),
        node_ip: state.node_ip,
        table: layout.nft_table(),
        cluster_cidr: state.pod_cidr.into(),
        service_cidr: state.service_cidr.into(),
    };
    let c = client(
        Switch::transport(current, "system:kube-proxy", &["system:node-proxier"]),
        "kube-proxy",
    );
    let g = grants.clone();
    supervisor.keep("proxy", move |stop| {
        let (options, c, g) = (options.clone(), c.clone(), g.clone());
        async move {
            if !granted(g, &stop).await? {
                return Ok(());
            }
            keelson_proxy::run(options, c, stop).await.context(|| "run the proxy")
        }
    });

    let options = keelson_dns::Options {
        listen: SocketAddr::from((state.link_ip(), 53)),
        cluster_domain: CLUSTER_DOMAIN.into(),
        resolv_conf: "/etc/resolv.conf".into(),
    };
    let c = client(Switch::service_account(current, "kube-dns"), "kube-dns");
    supervisor.keep("dns", move |stop| {
        let (options, c) = (options.clone(), c.clone());
        async move {
            keelson_dns::run(options, c, stop)
                .await
                .context(|| "run the DNS server")
        }
    });
    posted
}

/// Starts containerd again when it has died.
async fn watch_containerd(layout: Layout, stop: CancellationToken) -> Result<()> {
    loop {
        if containerd::running(&layout).is_none() {
            tracing::warn!("containerd is not running; starting it");
            let l = layout.clone();
            let started =
                tokio::task::spawn_blocking(move || containerd::start(&l).and_then(|_| containerd::wait_ready(&l)));
            started.await.context(|| "start containerd")??;
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(CONTAINERD_CHECK) => {}
        }
    }
}

fn report(layout: &Layout, state: &State, supervisor: &Supervisor, ready: bool) -> Report {
    let me = std::process::id() as i32;
    let mut pids = BTreeMap::new();
    let mut components = BTreeMap::new();
    for (name, health) in supervisor.health() {
        let pid = if name == "containerd" {
            containerd::running(layout)
        } else {
            Some(me)
        };
        let mut c = ComponentReport::from(health);
        match pid {
            Some(pid) => {
                pids.insert(name.to_owned(), pid);
            }
            None => c.healthy = false,
        }
        components.insert(name.to_owned(), c);
    }
    Report {
        name: layout.name.clone(),
        ready: ready && components.values().all(|c| c.healthy),
        kubeconfig: layout.admin_kubeconfig(),
        server: state.server(),
        etcd: status::etcd_access(layout, state),
        pids,
        components,
    }
}

/// Resolves at SIGTERM or SIGINT.
pub async fn signalled() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate()).context(|| "listen for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context(|| "listen for SIGINT")?;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|c| c.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

impl Cluster {
    /// Waits until this machine's Node is Ready, written by this start: the condition left by the last one
    /// does not count.
    pub async fn wait_ready(&self, patience: Duration) -> Result<()> {
        let deadline = tokio::time::Instant::now() + patience;
        let nodes: Api<Node> = Api::all(self.admin.clone());
        let mut last = Failure::new("nothing answered");
        while tokio::time::Instant::now() < deadline {
            match nodes.get_opt(&self.node_name).await {
                Ok(Some(n)) if *self.posted.borrow() && is_ready(&n) && self.components_started() => {
                    self.ready.store(true, Ordering::Relaxed);
                    return Ok(());
                }
                Ok(_) => last = Failure::new(format!("node {:?} is not Ready", self.node_name)),
                Err(e) => last = Failure::new(format!("ask for the node: {e}")),
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        let ill: Vec<String> = self
            .supervisor
            .health()
            .iter()
            .filter(|(_, h)| !h.message.is_empty())
            .map(|(n, h)| format!("{n}: {}", h.message))
            .collect();
        let ill = if ill.is_empty() {
            String::new()
        } else {
            format!(" ({})", ill.join("; "))
        };
        Err(Failure::new(format!(
            "not up after {} s: {last}{ill}",
            patience.as_secs()
        )))
    }

    fn components_started(&self) -> bool {
        self.supervisor.health().values().all(|h| h.healthy)
    }

    /// Serves until a signal.
    pub async fn run(self, _layout: &Layout, _state: &State) -> Result<()> {
        let release = async {
            tokio::time::sleep(RELEASE_AFTER).await;
            if let Err(error) = crate::memory::release_start_up() {
                tracing::warn!(%error, "give memory of the start back");
            }
            std::future::pending::<()>().await;
        };
        let outcome = tokio::select! {
            o = signalled() => o,
            () = release => Ok(()),
        };
        tracing::info!("stopping; containers go on running");
        self.shutdown().await;
        outcome
    }

    pub async fn shutdown(&self) {
        self.stop.cancel();
        if !self.supervisor.join(SHUTDOWN_TIMEOUT).await {
            tracing::warn!("some components did not stop in time");
        }
    }
}
