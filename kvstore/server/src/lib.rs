//! The datastore as a server and as a library: etcd's gRPC services over MVCC and the replicated log.
//!
//! What it is: one member, that serves KV, Watch, Lease, and of Cluster and Maintenance what one member needs.
//! What it is not: no state of its own but the leases' time and the watchers; that is all in `keelson-mvcc`.
//!
//! Invariants:
//! - Every change goes through the log; every linearizable read passes a barrier of the log first.
//! - Causes become gRPC statuses in one place, `status.rs`, in etcd's codes and words.
//! - A slow client holds up nobody but itself: each stream has a bounded queue, and catches up from the store.
//! - After storage has failed, nothing pretends: [`Server::failed`] resolves, and the process is to start again.
//!
//! Entry points: [`Server::start`], and [`Kv`], which embeds the store without a socket.
//!
//! After a crash: what was acknowledged is in the log and is applied again; leases begin a full TTL; watchers are
//! gone, and clients resume them at the revision that they had seen.

mod check;
mod core;
#[cfg(test)]
mod direct;
mod grpc;
mod http;
mod identity;
mod kv;
mod lease;
mod listener;
mod log;
mod quota;
mod server;
mod status;
mod trim;
mod watch;

pub use kv::{Kv, WatchResponses};
pub use server::Server;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// How a single member is started.
#[derive(Clone)]
pub struct Options {
    pub name: String,
    pub data_dir: PathBuf,
    /// Where etcd clients are served; `None` serves none (embedded use only). Port 0 picks a free one.
    pub client_addr: Option<SocketAddr>,
    /// mTLS for `client_addr`; `None` is plaintext.
    pub client_tls: Option<Arc<rustls::ServerConfig>>,
    /// RocksDB block cache, bytes; 0 means the default of 8 MiB.
    pub cache_bytes: usize,
    /// Physical size at which writes are refused (etcd's `quota-backend-bytes`); 0 means the default of 2 GiB.
    pub quota_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Start(String),
}
