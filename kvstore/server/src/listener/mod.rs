//! The client ports: accepts connections, with TLS or without, over TCP or a unix socket, and serves gRPC and plain
//! HTTP on each.
//!
//! What it is not: it knows no service and no path; it hands requests to a router, with the client's certificate and
//! address among their extensions.
//!
//! Invariants: a connection that does not speak (a handshake or a first line that never comes) holds a slot for a
//! bounded time; nothing that a client sends ends anything but its own connection.

mod connection;
mod peer_certificate;
mod sniff;
mod socket;

pub use connection::{ConnectionLimits, Remote, Secure};
pub use peer_certificate::PeerCertificate;
pub use socket::Bound;

use crate::CallerCheck;
use crate::http::Split;
use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections of clients that a process serves at once, on all of its ports; more wait in the kernel's queue. Fewer
/// where it may not open so many files.
const CONNECTIONS_MAX: u64 = 16_384;
/// The same of other members.
const MEMBERS_CONNECTIONS_MAX: u64 = 4_096;
const CONNECTIONS_MIN: u64 = 16;
/// Descriptors that connections leave to the log and the store, which would not survive it if there were none: these,
/// and what the store takes for its tables.
const DESCRIPTORS_RESERVED: u64 = 150;
const DESCRIPTORS_FOR_TABLES_MAX: u64 = 4_096;

static OF_CLIENTS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| slots(&Audience::Clients));
static OF_MEMBERS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| slots(&Audience::Members(None)));

fn slots(audience: &Audience) -> Arc<Semaphore> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let slots = connections_max(limit.current.unwrap_or(u64::MAX), audience);
    Arc::new(Semaphore::new(slots))
}

/// How many of the descriptors that a process may have connections may take: clients three quarters of what is left.
fn connections_max(descriptors: u64, audience: &Audience) -> usize {
    let store = (descriptors / 2).min(DESCRIPTORS_FOR_TABLES_MAX) + DESCRIPTORS_RESERVED;
    let left = descriptors.saturating_sub(store);
    let share = match audience {
        Audience::Clients => (left - left / 4).min(CONNECTIONS_MAX),
        Audience::Members(_) => (left / 4).min(MEMBERS_CONNECTIONS_MAX),
    };
    usize::try_from(share.max(CONNECTIONS_MIN)).unwrap_or(usize::MAX)
}

/// After a failed accept (out of file descriptors) the next one waits a little.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Whom a port is for.
#[derive(Clone)]
pub enum Audience {
    Clients,
    /// Other members, whose certificates may have to fit where they call from.
    Members(Option<CallerCheck>),
}

impl Audience {
    /// As log lines name the port.
    fn endpoint(&self) -> &'static str {
        match self {
            Audience::Clients => "client",
            Audience::Members(_) => "peer",
        }
    }
}

/// Serves until `stop`; then waits a moment for calls under way.
pub async fn run(bound: Bound, service: Split, limits: ConnectionLimits, audience: Audience, stop: CancellationToken) {
    let acceptor = bound.wanted.tls.clone().map(offer_http2).map(TlsAcceptor::from);
    let slots = match audience {
        Audience::Clients => &OF_CLIENTS,
        Audience::Members(_) => &OF_MEMBERS,
    };
    let connections = TaskTracker::new();
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = Arc::clone(slots).acquire_owned() => slot,
        };
        let Ok(slot) = slot else { break };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = bound.accept() => accepted,
        };
        let (socket, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // The client's own doing is over with the connection; anything else passes with time.
                if !is_the_clients(&error) {
                    tracing::warn!(%error, "accept a {} connection", audience.endpoint());
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
                continue;
            }
        };
        let connection = connection::Connection {
            acceptor: acceptor.clone(),
            serves: bound.wanted.serves,
            service: service.clone(),
            limits,
            audience: audience.clone(),
            stop: stop.clone(),
            remote: Remote(remote.into()),
        };
        connections.spawn(async move {
            let _slot = slot;
            connection.serve(socket).await;
        });
    }
    // The name of a unix socket goes before the last calls end, so that the next process can take its place.
    drop(bound);
    connections.close();
    // Each is bounded by its own wait.
    connections.wait().await;
}

fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// gRPC clients insist on `h2` in ALPN; probes and curl speak HTTP/1.1.
fn offer_http2(tls: Arc<rustls::ServerConfig>) -> Arc<rustls::ServerConfig> {
    let mut tls = Arc::unwrap_or_clone(tls);
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(tls)
}

#[cfg(test)]
mod tests;
