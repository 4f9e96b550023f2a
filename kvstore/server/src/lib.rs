//! The datastore as a server and as a library: etcd's gRPC services over MVCC and the replicated log.
//!
//! What it is: one member of a cluster of one or several, with every service of etcd's.
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
//! After a crash: what was acknowledged is in the log and is applied again; leases begin a full TTL with the next leader,
//! or what their last checkpoint says; watchers are gone, and clients resume them at the revision that they had seen.

#[macro_use]
mod seeded;

pub mod archive;
mod ask;
mod auth;
mod auto_compact;
mod bootstrap;
mod check;
mod cluster;
mod core;
mod corrupt;
mod dial;
#[cfg(test)]
mod direct;
pub mod discovery;
mod facts;
mod front;
mod gateway;
mod grpc;
mod http;
mod identity;
mod kv;
mod lease;
mod listener;
mod log;
mod metrics;
mod options;
mod peer;
mod pieces;
mod quota;
mod server;
mod slow;
mod status;
mod trim;
mod watch;

pub use cluster::ids::member_id;
pub use kv::{Kv, WatchResponses};
pub use listener::PeerCertificate;
pub use server::Server;

pub use options::{
    AuthOptions, AutoCompaction, Bootstrap, CallerCheck, ClientListener, CorruptionChecks, HttpOptions, Limits,
    ListenAddr, Options, Peers, RaftTimes, Serves, TokenKind,
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Start(String),
}
