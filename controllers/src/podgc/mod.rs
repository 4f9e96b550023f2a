//! Removes pods that nobody else removes: the oldest of too many that have ended, those on nodes that are no
//! more, those deleted before they got a node, those on nodes declared out of service.
use crate::common::pods::{is_terminal, node_name};
use crate::common::taints::{OUT_OF_SERVICE, taints};
use crate::common::{Context, Error, Outcome, key};
use crate::nodelifecycle::{index_pods_by_node, pods_on};
use k8s_openapi::api::core::v1::{Node, Pod};
use keelson_client::{Api, DeleteParams, Event, Patch, PatchParams, Store, WorkQueue};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub const NAME: &str = "pod-garbage-collector-controller";
/// The ServiceAccount it acts as, whose role is bootstrapped under this name.
pub const ACCOUNT: &str = "pod-garbage-collector";
/// How long a node must be missing before its pods go (upstream `quarantineTime`).
const QUARANTINE: Duration = Duration::from_secs(40);
/// Pause in which ends of pods are gathered before the terminated ones are counted.
const GATHER: Duration = Duration::from_secs(20);
const ENDED_INDEX: &str = "ended";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    /// Too many that have ended?
    Ended,
    /// A node that seems to be missing.
    Node(String),
    Pod(String),
}

struct Controller {
    ctx: Context,
    nodes: Store<Node>,
    pods: Store<Pod>,
    queue: WorkQueue<Work>,
}

pub async fn run(ctx: Context) {
    let nodes = ctx.factory.informer::<Node>();
    let pods = ctx.factory.informer::<Pod>();
    index_pods_by_node(&pods.store());
    pods.store()
        .add_index(ENDED_INDEX, |p| is_terminal(p).then(String::new).into_iter().collect());
    let c = Arc::new(Controller {
        nodes: nodes.store(),
        pods: pods.store(),
        queue: WorkQueue::new("podgc"),
        ctx: ctx.clone(),
    });
    nodes.wait_synced().await;
    pods.wait_synced().await;
    let h = c.clone();
    nodes.on_event(move |e| h.on_node(e));
    let h = c.clone();
    pods.on_event(move |e| h.on_pod(e));
    let queue = c.queue.clone();
    ctx.work(&queue, move |w| {
        let c = c.clone();
        async move { c.handle(w).await }
    })
    .await;
}

/// Evicted ones first, then the oldest.
fn surplus(mut ended: Vec<Arc<Pod>>, threshold: i64) -> Vec<Arc<Pod>> {
    let keep = usize::try_from(threshold).unwrap_or(usize::MAX);
    if threshold <= 0 || ended.len() <= keep {
        return Vec::new();
    }
    ended.sort_by_key(|p| {
        let evicted = p.status.as_ref().and_then(|s| s.reason.as_deref()) == Some("Evicted");
        (!evicted, p.metadata.creation_timestamp.clone(), p.metadata.name.clone())
    });
    ended.truncate(ended.len() - keep);
    ended
}

impl Controller {
    fn on_node(&self, event: &Event<Node>) {
        let name = event.object().metadata.name.clone().unwrap_or_default();
        match event {
            Event::Deleted(_) => self.queue.add_after(Work::Node(name), QUARANTINE),
            Event::Added(n) | Event::Updated(_, n) if is_out_of_service(n) => {
                for p in pods_on(&self.pods, &name) {
                    self.queue.add(Work::Pod(key(&p.metadata)));
                }
            }
            _ => {}
        }
    }

    fn on_pod(&self, event: &Event<Pod>) {
        let pod = match event {
            Event::Deleted(_) => return,
            e => e.object(),
        };
        let before = match event {
            Event::Updated(old, _) => Some(old),
            _ => None,
        };
        if is_terminal(pod)
            && !before.is_some_and(|o| is_terminal(o))
            && self.ctx.options.terminated_pod_gc_threshold > 0
        {
            self.queue.add_after(Work::Ended, GATHER);
        }
        if pod.metadata.deletion_timestamp.is_some() && before.is_none_or(|o| o.metadata.deletion_timestamp.is_none()) {
            self.queue.add(Work::Pod(key(&pod.metadata)));
        }
        let node = node_name(pod);
        if before.is_none() && !node.is_empty() && !self.nodes.contains(node) {
            self.queue.add_after(Work::Node(node.to_owned()), QUARANTINE);
        }
    }

    async fn handle(&self, work: Work) -> Outcome {
        match work {
            Work::Ended => {
                let threshold = self.ctx.options.terminated_pod_gc_threshold;
                for p in surplus(self.pods.by_index(ENDED_INDEX, ""), threshold) {
                    self.remove(&p, None).await?;
                }
            }
            Work::Node(name) => {
                // The server's word: the local copy may only be late.
                let api = Api::<Node>::all(self.ctx.client.clone());
                if self.nodes.contains(&name) || api.get_opt(&name).await?.is_some() {
                    return Ok(None);
                }
                let condition = json!({
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "DeletionByPodGC",
                    "message": "PodGC: node no longer exists",
                    "lastTransitionTime": crate::common::time::now(),
                });
                for p in pods_on(&self.pods, &name) {
                    self.remove(&p, Some(condition.clone())).await?;
                }
            }
            Work::Pod(k) => {
                let Some(p) = self.pods.get(&k).filter(|p| p.metadata.deletion_timestamp.is_some()) else {
                    return Ok(None);
                };
                let node = node_name(&p);
                if node.is_empty() || self.nodes.get(node).is_some_and(|n| is_out_of_service(&n)) {
                    self.remove(&p, None).await?;
                }
            }
        }
        Ok(None)
    }

    /// Marks the pod failed, if it has not ended, and deletes it at once.
    async fn remove(&self, pod: &Pod, condition: Option<Value>) -> Result<(), Error> {
        let api = Api::<Pod>::namespaced(
            self.ctx.client.clone(),
            pod.metadata.namespace.as_deref().unwrap_or_default(),
        );
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let gone = |e: &keelson_client::Error| e.is_not_found() || e.is_conflict();
        if !is_terminal(pod) {
            let mut status = json!({"phase": "Failed"});
            if let Some(c) = condition {
                status["conditions"] = json!([c]);
            }
            let patch = Patch::Strategic(json!({"metadata": {"uid": pod.metadata.uid}, "status": status}));
            match api.patch_status(name, &PatchParams::default(), &patch).await {
                Err(e) if gone(&e) => return Ok(()),
                other => other.map(|_| ())?,
            }
        }
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            precondition_uid: pod.metadata.uid.clone(),
            ..DeleteParams::default()
        };
        match api.delete(name, &params).await {
            Err(e) if !gone(&e) => Err(e.into()),
            _ => Ok(()),
        }
    }
}

fn is_out_of_service(n: &Node) -> bool {
    let ready = n
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten())
        .any(|c| c.type_ == "Ready" && c.status == "True");
    !ready && taints(n).iter().any(|t| t.key == OUT_OF_SERVICE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_evicted_and_the_oldest_go_first() {
        let pod = |name: &str, at: &str, reason: &str| -> Arc<Pod> {
            Arc::new(
                serde_json::from_value(json!({"metadata": {"name": name, "creationTimestamp": at},
                    "status": {"phase": "Failed", "reason": reason}}))
                .unwrap(),
            )
        };
        let pods = vec![
            pod("new", "2026-01-03T00:00:00Z", ""),
            pod("old", "2026-01-01T00:00:00Z", ""),
            pod("evicted", "2026-01-02T00:00:00Z", "Evicted"),
        ];
        let names = |n: i64| -> Vec<String> {
            surplus(pods.clone(), n)
                .iter()
                .map(|p| p.metadata.name.clone().unwrap())
                .collect()
        };
        assert_eq!(names(1), ["evicted", "old"]);
        assert!(names(3).is_empty() && names(0).is_empty());
    }
}
