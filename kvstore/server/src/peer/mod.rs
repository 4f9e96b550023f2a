//! The port for other members: what they say to this one (gRPC, `keelson.peer.v1`), and the few pages that tools and
//! joining members read there (`/version`, `/members`, `/health`).
//!
//! What it is not: it decides nothing about consensus. It carries the messages of `keelson-raft` and this server's own
//! questions, and says on every call for which group and which member it is.
//!
//! Invariants: heartbeats, votes and questions travel on a connection of their own, so that they never wait behind
//! entries and snapshots. Every URL of a member is tried in turn. A connection that has died without a word is noticed
//! within [`KEEPALIVE_INTERVAL`] and [`KEEPALIVE_TIMEOUT`].

mod client;
mod pages;
mod service;
#[cfg(test)]
mod tests;

pub use client::Members;
pub use service::PeerService;

use crate::core::Core;
use crate::http::Split;
use crate::listener::{self, Audience, Bound, ConnectionLimits};
use crate::{ClientListener, Error, Limits, Peers, Serves};
use keelson_proto::peer::peer_server::PeerServer;
use keelson_raft::{COMMAND_BYTES_MAX, PIECE_BYTES_MAX, PeerHandler, TransportError};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status};

/// Largest message between members, bytes: a piece of a snapshot or the largest command, with room for what is around.
pub const MESSAGE_BYTES_MAX: usize = {
    let largest = if PIECE_BYTES_MAX > COMMAND_BYTES_MAX {
        PIECE_BYTES_MAX
    } else {
        COMMAND_BYTES_MAX
    };
    largest + (4 << 20)
};
/// A silent connection between members is asked for a sign of life this often, and dropped without one.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Calls under way on one connection of a member.
const STREAMS_MAX: u32 = 10_000;

/// Opens the peer ports, so that one in use is told before anything else starts.
pub async fn open(peers: &Peers) -> Result<Vec<Bound>, Error> {
    let mut all = Vec::new();
    for addr in &peers.listeners {
        let wanted = ClientListener {
            addr: addr.clone(),
            tls: peers.server_tls.clone(),
            serves: Serves::All,
            reuse_port: peers.reuse_port,
        };
        all.push(Bound::open(wanted).await?);
    }
    Ok(all)
}

/// Serves other members until `stop`.
pub fn serve(
    ports: Vec<Bound>,
    peers: &Peers,
    core: &Arc<Core>,
    handler: PeerHandler,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let service = PeerServer::new(PeerService::new(handler, core))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let grpc = tonic::service::Routes::new(service).into_axum_router();
    let split = Split::of(grpc, pages::router(core.clone()));
    let limits = ConnectionLimits::new(&Limits {
        concurrent_streams: STREAMS_MAX,
        keepalive_interval: KEEPALIVE_INTERVAL,
        keepalive_timeout: KEEPALIVE_TIMEOUT,
        ..Limits::default()
    });
    for port in ports {
        tracing::info!(address = port.place(), "serving peer traffic");
        let audience = Audience::Members(peers.caller_check.clone());
        tasks.spawn(listener::run(port, split.clone(), limits, audience, stop.clone()));
    }
}

/// The one mapping of causes to codes, and back.
fn to_status(error: TransportError) -> Status {
    let code = match &error {
        TransportError::Unreachable(_) => Code::Unavailable,
        TransportError::Removed => Code::FailedPrecondition,
        TransportError::Refused(_) => Code::InvalidArgument,
        TransportError::TimedOut => Code::DeadlineExceeded,
    };
    let words = match error {
        TransportError::Unreachable(words) | TransportError::Refused(words) => words,
        other => other.to_string(),
    };
    Status::new(code, words)
}

fn from_status(status: &Status) -> TransportError {
    match status.code() {
        Code::FailedPrecondition => TransportError::Removed,
        Code::InvalidArgument => TransportError::Refused(status.message().to_owned()),
        Code::DeadlineExceeded => TransportError::TimedOut,
        code => TransportError::Unreachable(format!("{code:?}: {}", status.message())),
    }
}
