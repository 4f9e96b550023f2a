//! Composes one member: store, log, hub, lessor, trimmer, client port.

use crate::core::{Core, PROGRESS_INTERVAL_DEFAULT};
use crate::grpc::{self, Services};
use crate::identity::Identity;
use crate::kv::Kv;
use crate::lease::{self, Lessor};
use crate::log::Log;
use crate::quota::Quota;
use crate::watch::Hub;
use crate::{Error, Options, http, listener, trim};
use keelson_mvcc::{CACHE_BYTES_DEFAULT, Store};
use keelson_raft::Node;
use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long calls under way may keep the store open after the log was closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
const CLOSE_LOOK: Duration = Duration::from_millis(2);

/// A running member. Dropping it stops nothing: call [`Server::shutdown`].
pub struct Server {
    core: Arc<Core>,
    client_addr: Option<SocketAddr>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

fn start_error(what: &str, error: impl std::fmt::Display) -> Error {
    Error::Start(format!("{what}: {error}"))
}

fn make_private_dir(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| start_error(&format!("create {}", path.display()), e))
}

impl Server {
    /// Opens or creates the data folder, recovers, and serves. Returns when ready for requests.
    pub async fn start(options: Options) -> Result<Server, Error> {
        make_private_dir(&options.data_dir)?;
        let identity = Identity::load_or_create(&options.data_dir)?;
        // Taken first, so that a port in use is told before anything is opened.
        let listener = match options.client_addr {
            Some(addr) => Some(
                TcpListener::bind(addr)
                    .await
                    .map_err(|e| start_error(&format!("listen on {addr}"), e))?,
            ),
            None => None,
        };
        let store = open_store(&options)?;
        // Before the log is replayed: a lease granted or revoked there has to be seen.
        let lessor = Lessor::start(&store);
        let raft = keelson_raft::Options::new(identity.member_id, identity.cluster_id, options.data_dir.join("log"));
        let node = Node::start(raft, store.clone())
            .await
            .map_err(|e| start_error("start the log", e))?;
        Self::assemble(
            options,
            PROGRESS_INTERVAL_DEFAULT,
            identity,
            store,
            lessor,
            Arc::new(node),
            listener,
        )
    }

    pub(crate) fn assemble(
        options: Options,
        progress_interval: Duration,
        identity: Identity,
        store: Arc<Store>,
        lessor: Arc<Lessor>,
        log: Arc<dyn Log>,
        listener: Option<TcpListener>,
    ) -> Result<Server, Error> {
        let bell = Arc::new(Notify::new());
        let core = Arc::new(Core {
            name: options.name,
            hub: Hub::new(store.clone(), &bell),
            quota: Quota::new(store.clone(), options.quota_bytes),
            trimmed: watch::Sender::new(store.trimmed()),
            store,
            log,
            lessor,
            cluster_id: identity.cluster_id,
            member_id: identity.member_id,
            client_urls: OnceLock::new(),
            progress_interval,
            compacted: Notify::new(),
            failure: watch::Sender::new(None),
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(core.hub.clone().run(bell, stop.clone()));
        tasks.spawn(lease::run(core.clone(), stop.clone()));
        tasks.spawn(trim::run(core.clone(), stop.clone()));
        tasks.spawn(watch_log(core.clone(), stop.clone()));
        let mut client_addr = None;
        if let Some(listener) = listener {
            let addr = listener
                .local_addr()
                .map_err(|e| start_error("read the client address", e))?;
            client_addr = Some(addr);
            let scheme = if options.client_tls.is_some() { "https" } else { "http" };
            let _ = core.client_urls.set(vec![format!("{scheme}://{addr}")]);
            let routes = grpc::routes(Services {
                core: core.clone(),
                stop: stop.clone(),
            });
            let router = http::add_routes(routes.into_axum_router().reset_fallback(), core.clone());
            let tls = options.client_tls.map(offer_http2);
            tasks.spawn(listener::run(listener, tls, router, stop.clone()));
            tracing::info!(address = %addr, "serving client traffic");
        }
        tracing::info!(member = %format!("{:x}", core.member_id), "ready to serve client requests");
        Ok(Server {
            core,
            client_addr,
            stop,
            tasks,
        })
    }

    pub fn kv(&self) -> Kv {
        Kv {
            core: Arc::downgrade(&self.core),
            stop: self.stop.clone(),
        }
    }

    pub fn client_addr(&self) -> Option<SocketAddr> {
        self.client_addr
    }

    /// Resolves when the store has failed (damage, failed fsync) and must be restarted; carries the reason.
    pub async fn failed(&self) -> String {
        let mut failure = self.core.failure.subscribe();
        // The guard must not live across the wait below, or the future could not move between threads.
        let reason = failure
            .wait_for(Option::is_some)
            .await
            .map(|r| r.clone().unwrap_or_default());
        match reason {
            Ok(reason) => reason,
            // The sender lives in `core`, which lives in `self`.
            Err(_) => std::future::pending().await,
        }
    }

    /// Ends streams and connections, then the log, and returns when the files are closed: the folder can be opened
    /// again.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if let Err(error) = self.core.log.shutdown().await {
            tracing::warn!(%error, "close the log");
        }
        let store = Arc::downgrade(&self.core.store);
        drop(self);
        let closed = tokio::time::timeout(CLOSE_TIMEOUT, async {
            while store.strong_count() > 0 {
                tokio::time::sleep(CLOSE_LOOK).await;
            }
        });
        if closed.await.is_err() {
            tracing::warn!("a call under way keeps the store open");
        }
    }
}

fn open_store(options: &Options) -> Result<Arc<Store>, Error> {
    let cache_bytes = if options.cache_bytes == 0 {
        CACHE_BYTES_DEFAULT
    } else {
        options.cache_bytes
    };
    let path = options.data_dir.join("state");
    make_private_dir(&path)?;
    Store::open(&keelson_mvcc::Options { path, cache_bytes }).map_err(|e| start_error("open the store", e))
}

async fn watch_log(core: Arc<Core>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        error = core.log.failed() => core.fail(error.to_string()),
    }
}

/// gRPC clients insist on `h2` in ALPN; probes and curl speak HTTP/1.1.
fn offer_http2(tls: Arc<rustls::ServerConfig>) -> Arc<rustls::ServerConfig> {
    let mut tls = Arc::unwrap_or_clone(tls);
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(tls)
}
