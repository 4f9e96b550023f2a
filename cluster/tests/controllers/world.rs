//! A control plane in this process: the datastore and the API server on temporary folders, the controllers
//! and the scheduler under their own identities, and a hollow kubelet that runs nothing but says it does.
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use keelson_apiserver as apiserver;
use keelson_client::api::Object;
use keelson_client::{Api, Client, DeleteParams, Event, Informer, ListParams, Patch, PatchParams};
use keelson_kvstore as kvstore;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(60);
pub const GRACE: Duration = Duration::from_secs(2);

pub struct World {
    pub server: Arc<apiserver::Server>,
    store: Option<kvstore::Server>,
    pub admin: Client,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
}

fn keys(dir: &Path) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    std::fs::write(dir.join("ca.crt"), ca_cert.pem()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&ca_cert.pem(), ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["localhost".into()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    std::fs::write(dir.join("tls.crt"), cert.pem()).unwrap();
    std::fs::write(dir.join("tls.key"), key.serialize_pem()).unwrap();
}

impl World {
    pub async fn start() -> Self {
        // What the components say is shown with a test that fails; `RUST_LOG` asks for more.
        let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer()
            .try_init();
        let dir = tempfile::tempdir().unwrap();
        keys(dir.path());
        let mut options = kvstore::Options::new("test", dir.path().join("store"));
        options.cache_bytes = 16 << 20;
        let store = kvstore::Server::start(options).await.unwrap();
        let file = |n: &str| dir.path().join(n);
        let options = apiserver::Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: SocketAddr::from(([192, 0, 2, 1], 6443)),
            tls_cert: file("tls.crt"),
            tls_key: file("tls.key"),
            client_ca: file("ca.crt"),
            service_account_keys: vec![file("tls.key")],
            service_account_issuer: "https://kubernetes.default.svc.cluster.local".into(),
            service_cidr: "10.96.0.0/16".parse().unwrap(),
            node_port_range: (30000, 32767),
            kubelet_client_cert: file("tls.crt"),
            kubelet_client_key: file("tls.key"),
            kubelet_ca: file("ca.crt"),
            token_file: None,
        };
        let storage = Arc::new(apiserver::storage::embedded::Embedded::new(store.kv()));
        let server = Arc::new(apiserver::Server::start(options, storage).await.unwrap());
        let stop = CancellationToken::new();
        let admin = Client::new(
            server.transport("admin", &["system:masters", "system:authenticated"]),
            "test",
        );
        let world = World {
            server,
            store: Some(store),
            admin,
            stop,
            _dir: dir,
        };
        world.components();
        world
    }

    fn components(&self) {
        let (server, stop) = (self.server.clone(), self.stop.clone());
        tokio::spawn(async move {
            let options = keelson_controllers::Options {
                root_ca_pem: "-----BEGIN CERTIFICATE-----".into(),
                node_monitor_grace_period: GRACE,
                cluster_cidr: Some("10.244.0.0/16".into()),
                ..Default::default()
            };
            let client_for = move |name: &str| {
                let account = format!("system:serviceaccount:kube-system:{name}");
                let (user, groups): (&str, &[&str]) = if name == "kube-controller-manager" {
                    ("system:kube-controller-manager", &["system:authenticated"])
                } else {
                    let groups: &[&str] = &[
                        "system:serviceaccounts",
                        "system:serviceaccounts:kube-system",
                        "system:authenticated",
                    ];
                    (&account, groups)
                };
                Client::new(server.transport(user, groups), name)
            };
            keelson_controllers::run(options, client_for, stop).await.unwrap();
        });
        let client = Client::new(
            self.server
                .transport("system:kube-scheduler", &["system:authenticated"]),
            "kube-scheduler",
        );
        let stop = self.stop.clone();
        tokio::spawn(async move {
            keelson_scheduler::run(Default::default(), client, stop).await.unwrap();
        });
    }

    pub fn api<K: Object>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.admin.clone(), namespace)
    }

    /// A node whose pods are up as soon as they are bound, until the token is cancelled.
    pub async fn node(&self, name: &str) -> CancellationToken {
        let stop = self.stop.child_token();
        let allocatable = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
        let node: Node = from(json!({"metadata": {"name": name}}));
        let api = Api::<Node>::all(self.admin.clone());
        api.create(&node).await.unwrap();
        let status = json!({"status": {"allocatable": allocatable, "capacity": allocatable,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
                "lastHeartbeatTime": now(), "lastTransitionTime": now()}]}});
        let patch = Patch::Strategic(status);
        api.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
        tokio::spawn(heartbeats(self.admin.clone(), name.to_owned(), stop.clone()));
        hollow_kubelet(self.admin.clone(), name, stop.clone());
        stop
    }

    /// Renews the node's Lease from now on.
    pub fn heartbeat(&self, name: &str) {
        let stop = self.stop.child_token();
        tokio::spawn(heartbeats(self.admin.clone(), name.to_owned(), stop));
    }

    pub async fn stop(mut self) {
        self.stop.cancel();
        self.server.shutdown().await;
        if let Some(s) = self.store.take() {
            s.shutdown().await;
        }
    }
}

pub fn now() -> String {
    Timestamp::from_second(Timestamp::now().as_second())
        .unwrap()
        .to_string()
}

pub fn from<T: serde::de::DeserializeOwned>(v: Value) -> T {
    serde_json::from_value(v).unwrap()
}

async fn heartbeats(client: Client, node: String, stop: CancellationToken) {
    let api = Api::<Lease>::namespaced(client.clone(), "kube-node-lease");
    let renewed = || LeaseSpec {
        holder_identity: Some(node.clone()),
        lease_duration_seconds: Some(40),
        renew_time: Some(MicroTime(Timestamp::now())),
        ..LeaseSpec::default()
    };
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(node.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(renewed()),
    };
    let _ = api.create(&lease).await;
    let mut clock = tokio::time::interval(GRACE / 4);
    while stop.run_until_cancelled(clock.tick()).await.is_some() {
        let patch = Patch::Merge(json!({"spec": renewed()}));
        let _ = api.patch(&node, &PatchParams::default(), &patch).await;
    }
}

/// Pods with the annotation `test/ends` end with that phase; others run and are ready.
fn hollow_kubelet(client: Client, node: &str, stop: CancellationToken) {
    static ADDRESS: AtomicU32 = AtomicU32::new(1);
    let pods = Informer::new(
        Api::<Pod>::all(client.clone()),
        ListParams::fields(format!("spec.nodeName={node}")),
    );
    pods.on_event(move |e| {
        let pod = match e {
            Event::Deleted(_) => return,
            e => e.object().clone(),
        };
        let client = client.clone();
        let ip = ADDRESS.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let api = Api::<Pod>::namespaced(client, pod.metadata.namespace.as_deref().unwrap());
            let name = pod.metadata.name.as_deref().unwrap();
            if pod.metadata.deletion_timestamp.is_some() {
                let at_once = DeleteParams {
                    grace_period_seconds: Some(0),
                    precondition_uid: pod.metadata.uid.clone(),
                    ..DeleteParams::default()
                };
                let _ = api.delete(name, &at_once).await;
                return;
            }
            if pod.status.as_ref().and_then(|s| s.pod_ip.as_ref()).is_some() {
                return;
            }
            let ends = pod.metadata.annotations.as_ref().and_then(|a| a.get("test/ends"));
            let ready = if ends.is_some() { "False" } else { "True" };
            let ip = format!("10.244.{}.{}", ip / 250, ip % 250 + 1);
            let status = json!({"metadata": {"uid": pod.metadata.uid}, "status": {
                "phase": ends.map_or("Running", |e| e), "podIP": ip, "podIPs": [{"ip": ip}],
                "startTime": now(),
                "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": now()}]}});
            let _ = api
                .patch_status(name, &PatchParams::default(), &Patch::Strategic(status))
                .await;
        });
    });
    pods.run(stop);
}

/// Asks again until the answer is `Some`.
pub async fn until<T, F, Fut>(what: &str, ask: F) -> T
where
    F: Fn() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(t) = ask().await {
            return t;
        }
        assert!(Instant::now() < end, "waited too long: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
