//! The controllers: loops that compare what the API says should be with what it says is, and act.
//!
//! What it is: one manager that runs upstream's controllers, a module each, on shared informers.
//! What it is not: it holds no state of its own (all of it is in the API), reads no datastore, and knows
//! no sockets: every byte goes through [`keelson_client::Client`].
//!
//! Invariants: reconciles are level-triggered and idempotent; nothing is resynced on a clock, a timer
//! exists only where a deadline does; the pure core of each controller takes objects and gives back
//! decisions, so that tests need no server.
//!
//! Entry points: [`Options`], [`run`]. A crash or a cancel leaves at worst objects created but not yet
//! counted in a status: the next start reads everything again and continues.

mod common;
mod deployment;
mod endpoints;
mod endpointslice;
mod garbagecollector;
mod job;
mod manager;
mod namespace;
mod nodeipam;
mod nodelifecycle;
mod options;
mod podgc;
mod replicaset;
mod rootca;
mod serviceaccount;
mod tainteviction;
mod ttlafterfinished;

pub use options::Options;

use keelson_client::Client;
use tokio_util::sync::CancellationToken;

/// What ends the controller manager before its stop token does.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("options: {0}")]
    Options(String),
    #[error("leader election lost")]
    LeadershipLost,
    #[error("controller {0} ended unexpectedly")]
    ControllerEnded(&'static str),
}

/// Runs the controllers until `stop`.
///
/// `client_for` gives the client that acts as ServiceAccount `kube-system/<name>`, by upstream's account of each
/// controller (`deployment-controller`, `generic-garbage-collector`, `node-controller`, …); it is also called with
/// `kube-controller-manager`, for the shared informers and the Lease.
pub async fn run(
    options: Options,
    client_for: impl Fn(&str) -> Client + Send + Sync,
    stop: CancellationToken,
) -> Result<(), Error> {
    manager::run(options, &client_for, stop).await
}
