//! The running server: its socket, its in-memory way in, and what it starts and stops with.

use crate::admission::Chain;
use crate::auth::authenticate::Authentication;
use crate::auth::rbac::Rbac;
use crate::auth::static_tokens::StaticTokens;
use crate::auth::tokens::Tokens;
use crate::auth::{UserInfo, x509};
use crate::bootstrap;
use crate::endpoints::{Api, Peer};
use crate::kinds::allocator::Allocators;
use crate::objects::Objects;
use crate::registry::Registry;
use crate::storage::{Storage, compactor};
use crate::streaming::{self, Streaming};
use async_trait::async_trait;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use keelson_client::transport::BoxError;
use keelson_client::{Body, Transport};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a client may take to say who it is.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests under way have to end after a stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 10_000;
/// Streams of one HTTP/2 connection (upstream: http2-max-streams-per-connection).
const STREAMS_MAX: u32 = 1000;
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// How an API server is started. Certificates are PEM files made by whoever composes the cluster.
#[derive(Clone, Debug)]
pub struct Options {
    pub listen: SocketAddr,
    /// Address and port that clients are told (Service `default/kubernetes` endpoints).
    pub advertise: SocketAddr,
    pub tls_cert: PathBuf,
    pub tls_key: PathBuf,
    pub client_ca: PathBuf,
    /// Files of PEM keys: the first private key signs ServiceAccount tokens, all verify.
    pub service_account_keys: Vec<PathBuf>,
    /// `https://kubernetes.default.svc.cluster.local`
    pub service_account_issuer: String,
    /// e.g. `10.96.0.0/16`
    pub service_cidr: ipnet::IpNet,
    /// inclusive
    pub node_port_range: (u16, u16),
    /// Client certificate with which the kubelet's port is called.
    pub kubelet_client_cert: PathBuf,
    pub kubelet_client_key: PathBuf,
    pub kubelet_ca: PathBuf,
    /// Tokens of users, each with a name and groups, in upstream's form of `--token-auth-file`.
    pub token_file: Option<PathBuf>,
}

/// A running API server.
pub struct Server {
    api: Arc<Api>,
    local_addr: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Errors of start-up: a sentence for the user.
pub mod start {
    #[derive(Debug, thiserror::Error)]
    #[error("{message}")]
    pub struct Error {
        pub message: String,
        /// It came of what the store said, or did not say: the next attempt may succeed.
        pub of_store: bool,
    }
    pub type Result<T> = std::result::Result<T, Error>;
}

fn failed(doing: impl std::fmt::Display) -> impl Fn(&dyn std::fmt::Display) -> start::Error {
    move |e| start::Error {
        message: format!("{doing}: {e}"),
        of_store: false,
    }
}

/// As [`failed`], for what reads or writes the store.
fn store_failed(doing: impl std::fmt::Display) -> impl Fn(&dyn std::fmt::Display) -> start::Error {
    move |e| start::Error {
        of_store: true,
        ..failed(&doing)(e)
    }
}

impl Server {
    /// Starts serving; returns when `/readyz` would say ok (bootstrap objects written).
    pub async fn start(options: Options, storage: Arc<dyn Storage>) -> start::Result<Server> {
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let listener = TcpListener::bind(options.listen)
            .await
            .map_err(|e| failed(format!("listen on {}", options.listen))(&e))?;
        let local_addr = listener
            .local_addr()
            .map_err(|e| failed("ask for the listener's address")(&e))?;
        let tls = tls(&options)?;
        let api = Arc::new(compose(&options, storage.clone(), &stop).await?);
        let tasks = TaskTracker::new();
        tasks.spawn(compactor::run(storage, stop.clone()));
        tasks.spawn(serve(listener, tls, api.clone(), tasks.clone(), stop.clone()));
        bootstrap_objects(&options, &api.registry).await?;
        api.ready.store(true, Ordering::Relaxed);
        guard.disarm();
        Ok(Server {
            api,
            local_addr,
            stop,
            tasks,
        })
    }

    /// An in-memory transport through the full handler chain, under the given identity (as if a client
    /// certificate had said so).
    pub fn transport(&self, user: &str, groups: &[&str]) -> Arc<dyn Transport> {
        let user = UserInfo {
            name: user.to_owned(),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            ..UserInfo::default()
        };
        Arc::new(InMemory {
            api: self.api.clone(),
            peer: Arc::new(Peer(Some(user))),
            stop: self.stop.clone(),
        })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Stops taking requests, closes watches, waits for the rest within a bound.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(DRAIN_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!("some requests did not end in time");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn compose(options: &Options, storage: Arc<dyn Storage>, stop: &CancellationToken) -> start::Result<Api> {
    let allocators = Allocators::new(options.service_cidr, options.node_port_range);
    let registry = Registry::new(storage, allocators, stop.clone());
    let objects: Arc<dyn Objects> = Arc::new(registry.clone());
    let (rbac, services) = tokio::join!(
        Rbac::start(objects.clone(), stop.clone()),
        registry.allocators.run(objects.clone(), stop.clone())
    );
    let rbac = rbac.map_err(|e| store_failed("load RBAC policy")(&e))?;
    services.map_err(|e| store_failed("load Service addresses")(&e))?;
    let (keys, files) = service_account_keys(options)?;
    let tokens = Tokens::new(&keys, &options.service_account_issuer, objects.clone())
        .map_err(|e| failed(format!("use {files}"))(&e))?;
    let tokens = Arc::new(tokens);
    let users = match &options.token_file {
        Some(path) => StaticTokens::read(path).map_err(|e| failed(format!("use {}", path.display()))(&e))?,
        None => StaticTokens::default(),
    };
    registry.set_admission(Chain::standard(objects.clone()).with_rbac(rbac.clone()));
    let streaming = streaming::Options {
        kubelet_client_cert: options.kubelet_client_cert.clone(),
        kubelet_client_key: options.kubelet_client_key.clone(),
        kubelet_ca: options.kubelet_ca.clone(),
    };
    let streaming =
        Streaming::new(&streaming, objects, stop.clone()).map_err(|e| failed("set up the way to kubelets")(&e))?;
    Ok(Api::new(
        registry,
        Arc::new(Authentication::new(tokens.clone()).with_static_tokens(users)),
        Arc::new(rbac),
        tokens,
        Arc::new(streaming),
        options.advertise.to_string(),
    ))
}

/// All keys in one PEM text, and the names of the files for errors.
fn service_account_keys(options: &Options) -> start::Result<(Vec<u8>, String)> {
    let (mut pem, mut names) = (Vec::new(), Vec::new());
    for path in &options.service_account_keys {
        let text = std::fs::read(path).map_err(|e| failed(format!("read {}", path.display()))(&e))?;
        pem.extend_from_slice(&text);
        pem.push(b'\n');
        names.push(path.display().to_string());
    }
    Ok((pem, names.join(", ")))
}

async fn bootstrap_objects(options: &Options, registry: &Arc<Registry>) -> start::Result<()> {
    let client_ca = std::fs::read_to_string(&options.client_ca)
        .map_err(|e| failed(format!("read {}", options.client_ca.display()))(&e))?;
    let wanted = bootstrap::Options {
        advertise: options.advertise,
        service_cidr: options.service_cidr,
        client_ca,
    };
    let objects: Arc<dyn Objects> = Arc::new(registry.clone());
    bootstrap::run(objects, &wanted)
        .await
        .map_err(|e| store_failed("write the bootstrap objects")(&e))
}

fn tls(options: &Options) -> start::Result<Arc<rustls::ServerConfig>> {
    let read = |p: &Path| -> start::Result<Vec<CertificateDer<'static>>> {
        CertificateDer::pem_file_iter(p)
            .and_then(Iterator::collect)
            .map_err(|e| failed(format!("read {}", p.display()))(&e))
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    for c in read(&options.client_ca)? {
        roots
            .add(c)
            .map_err(|e| failed(format!("trust {}", options.client_ca.display()))(&e))?;
    }
    // Certificates are optional: tokens and anonymous requests come without.
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| failed("set up client certificates")(&e))?;
    let key = PrivateKeyDer::from_pem_file(&options.tls_key)
        .map_err(|e| failed(format!("read {}", options.tls_key.display()))(&e))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| failed("choose TLS versions")(&e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(read(&options.tls_cert)?, key)
        .map_err(|e| failed(format!("use {}", options.tls_cert.display()))(&e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    api: Arc<Api>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let acceptor = tokio_rustls::TlsAcceptor::from(tls);
    let slots = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            a = async {
                let slot = slots.clone().acquire_owned().await;
                (slot, listener.accept().await)
            } => a,
            () = stop.cancelled() => return,
        };
        let (Ok(slot), Ok((stream, _))) = accepted else {
            // Out of descriptors, most likely: others must end first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (acceptor, api, stop) = (acceptor.clone(), api.clone(), stop.clone());
        tasks.spawn(async move {
            let _slot = slot;
            if let Err(error) = connection(stream, acceptor, api, stop).await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: tokio_rustls::TlsAcceptor,
    api: Arc<Api>,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|c| c.first());
    let peer = Arc::new(Peer(certificate.and_then(|c| x509::user_of(c))));
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let (api, peer) = (api.clone(), peer.clone());
        async move {
            let request = request.map(|b| b.map_err(|e| -> BoxError { Box::new(e) }).boxed());
            Ok::<_, std::convert::Infallible>(api.handle(peer, request).await)
        }
    });
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(Duration::from_secs(30));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        r = connection.as_mut() => return r,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    // Watches do not end by themselves: the drain is bounded.
    tokio::time::timeout(DRAIN_TIMEOUT / 2, connection).await?
}

/// Requests of this process: no socket, the same chain.
struct InMemory {
    api: Arc<Api>,
    peer: Arc<Peer>,
    stop: CancellationToken,
}

#[async_trait]
impl Transport for InMemory {
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        if self.stop.is_cancelled() {
            return Err("the API server is stopping".into());
        }
        Ok(self.api.clone().handle(self.peer.clone(), request).await)
    }
}
