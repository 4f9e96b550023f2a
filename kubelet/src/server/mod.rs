//! The node's HTTPS server: logs, exec, attach, port-forward, pods and figures, for those the API server lets.
//!
//! What it is not: it keeps no state of its own. Pods come from the agent's workers, containers from the runtime, and
//! the bytes of exec, attach and port-forward from the runtime's streaming server.
//!
//! Every request is authenticated and authorized before it is looked at. Upgraded streams are tasks of their own; they
//! end with either side, when nothing moves for [`streams::IDLE_TIMEOUT`], or at the agent's stop.
mod answer;
mod auth;
mod container_logs;
mod metrics;
mod query;
mod routes;
mod spdy;
mod stats;
mod streams;
mod target;
mod tls;

use crate::agent::Agent;
use crate::pods::Pods;
use crate::{Error, Options, Result};
use auth::{Auth, User};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use jiff::Timestamp;
use keelson_client::transport::BoxError;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

/// How long a client may take to say who it is, and what it wants.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests under way have to end after a stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 2000;
/// Upgraded streams at once.
const SESSIONS_MAX: usize = 1000;
/// Streams of one HTTP/2 connection.
const H2_STREAMS_MAX: u32 = 250;
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// The port, taken before the node is registered with it.
pub struct Listener {
    socket: TcpListener,
    local_addr: SocketAddr,
    tls: TlsAcceptor,
}

/// What every request can reach.
pub struct State {
    pub agent: Arc<Agent>,
    pub pods: Pods,
    pub auth: Auth,
    pub started_at: Timestamp,
    /// Upgraded streams.
    pub sessions: Arc<Semaphore>,
    pub tasks: TaskTracker,
}

/// Takes the port and reads the certificates.
pub async fn bind(options: &Options) -> Result<Listener> {
    let tls = tls::acceptor(options)?;
    let what = || format!("listen on {}", options.listen);
    let socket = TcpListener::bind(options.listen).await.map_err(Error::io(what()))?;
    let local_addr = socket.local_addr().map_err(Error::io(what()))?;
    Ok(Listener {
        socket,
        local_addr,
        tls,
    })
}

impl Listener {
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until the agent's stop.
    pub async fn run(self, agent: Arc<Agent>, pods: Pods) {
        let stop = agent.stop.clone();
        let state = Arc::new(State {
            auth: Auth::new(agent.client.clone(), &agent.options.node_name),
            started_at: Timestamp::now(),
            sessions: Arc::new(Semaphore::new(SESSIONS_MAX)),
            tasks: TaskTracker::new(),
            agent,
            pods,
        });
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                a = async { (slots.clone().acquire_owned().await, self.socket.accept().await) } => a,
            };
            let (Ok(slot), Ok((stream, _))) = accepted else {
                // Out of descriptors, most likely: others must end first.
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            };
            let (tls, served) = (self.tls.clone(), state.clone());
            state.tasks.spawn(async move {
                let _slot = slot;
                if let Err(error) = connection(stream, tls, served).await {
                    tracing::debug!(%error, "connection ended");
                }
            });
        }
        state.tasks.close();
        if tokio::time::timeout(DRAIN_TIMEOUT, state.tasks.wait()).await.is_err() {
            tracing::debug!("some requests did not end in time");
        }
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, state: Arc<State>) -> Result<(), BoxError> {
    stream.set_nodelay(true)?;
    // A peer that vanished without a word is noticed, however long its streams are silent.
    rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await??;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|c| c.first());
    let user: Option<Arc<User>> = certificate.and_then(|c| auth::user_of_certificate(c)).map(Arc::new);
    let stop = state.agent.stop.clone();
    let service = hyper::service::service_fn(move |request| {
        let (state, user) = (state.clone(), user.clone());
        async move { Ok::<_, Infallible>(routes::handle(&state, user.as_deref(), request).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .keep_alive_interval(Duration::from_secs(30));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        r = connection.as_mut() => return r,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    // Followed logs do not end by themselves: the drain is bounded.
    tokio::time::timeout(DRAIN_TIMEOUT / 2, connection).await?
}
