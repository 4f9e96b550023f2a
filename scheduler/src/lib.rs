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

mod cache;
mod config;
pub mod framework;
mod options;
pub mod plugins;
mod queue;
mod report;
mod scheduler;

pub use options::Options;

use config::Config;
use k8s_openapi::api::core::v1::{Node, Pod};
use keelson_client::leader::Leadership;
use keelson_client::{Api, Client, Informer, ListParams};
use queue::Queue;
use report::Reporter;
use scheduler::Scheduler;
use std::sync::Arc;
use std::time::Duration;
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
    let config = match &options.config {
        Some(path) => Config::load(path, &options.scheduler_name)?,
        None => Config::default_for(&options.scheduler_name),
    };
    let Some(election) = &options.leader_election else {
        schedule(&config, client, Leadership::unopposed(stop)).await;
        return Ok(());
    };
    election
        .run(client.clone(), stop.clone(), |lead| schedule(&config, client, lead))
        .await;
    if stop.is_cancelled() {
        Ok(())
    } else {
        Err(Error::LeadershipLost)
    }
}

async fn schedule(config: &Config, client: Client, leadership: Leadership) {
    // Whatever ends this future ends its informers too.
    let stop = leadership.lost().child_token();
    let _end = stop.clone().drop_guard();
    let name = config.profiles.first().map_or("default-scheduler", |(n, _)| n.as_str());
    let scheduler = Arc::new(Scheduler::new(
        config
            .profiles
            .iter()
            .map(|(n, choice)| (n.clone(), Arc::new(plugins::profile(choice))))
            .collect(),
        Queue::new(
            Duration::from_secs(config.backoff_initial_s),
            Duration::from_secs(config.backoff_max_s),
        ),
        client.clone(),
        Reporter::new(client.clone(), name),
        leadership,
    ));
    let nodes =
        Informer::new(Api::<Node>::all(client.clone()), ListParams::default()).with_transform(|n: &mut Node| {
            n.metadata.managed_fields = None;
            if let Some(s) = &mut n.status {
                // Neither the image list nor heartbeats decide anything yet; they are most of a node's bytes.
                s.images = None;
            }
        });
    let s = scheduler.clone();
    nodes.on_event(move |e| s.on_node(e));
    let nodes = nodes.run(stop.clone());
    // Pods that have ended hold no resources: the server leaves them out.
    let params = ListParams {
        field_selector: "status.phase!=Succeeded,status.phase!=Failed".into(),
        ..ListParams::default()
    };
    let pods =
        Informer::new(Api::<Pod>::all(client), params).with_transform(|p: &mut Pod| p.metadata.managed_fields = None);
    let s = scheduler.clone();
    pods.on_event(move |e| s.on_pod(e));
    let pods = pods.run(stop.clone());
    let synced = async {
        nodes.wait_synced().await;
        pods.wait_synced().await;
    };
    if stop.run_until_cancelled(synced).await.is_some() {
        tracing::info!(nodes = nodes.store().len(), pods = pods.store().len(), "scheduler runs");
        scheduler.run(stop).await;
    }
}
