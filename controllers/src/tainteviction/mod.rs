//! Deletes pods from nodes whose NoExecute taints they do not tolerate, or no longer.
use crate::common::pods::{is_terminal, node_name};
use crate::common::taints::{taints, tolerates};
use crate::common::{Context, Outcome, key};
use crate::nodelifecycle::{index_pods_by_node, pods_on};
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use keelson_client::events::object_ref;
use keelson_client::{Api, DeleteParams, Event, Patch, PatchParams, Store, WorkQueue};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const NAME: &str = "taint-eviction-controller";
/// The ServiceAccount it acts as, whose role is bootstrapped under this name.
pub const ACCOUNT: &str = "node-controller";

struct Controller {
    ctx: Context,
    nodes: Store<Node>,
    pods: Store<Pod>,
    queue: WorkQueue<String>,
    /// Since when a pod's time runs, by key; with its uid.
    running: Mutex<HashMap<String, (String, Instant)>>,
}

pub async fn run(ctx: Context) {
    let nodes = ctx.factory.informer::<Node>();
    let pods = ctx.factory.informer::<Pod>();
    index_pods_by_node(&pods.store());
    let c = Arc::new(Controller {
        nodes: nodes.store(),
        pods: pods.store(),
        queue: WorkQueue::new("taint-eviction"),
        running: Mutex::default(),
        ctx: ctx.clone(),
    });
    nodes.wait_synced().await;
    pods.wait_synced().await;
    let h = c.clone();
    nodes.on_event(move |e| h.on_node(e));
    let h = c.clone();
    pods.on_event(move |e| h.on_pod(e));
    let queue = c.queue.clone();
    ctx.work(&queue, move |k| {
        let c = c.clone();
        async move { c.reconcile(&k).await }
    })
    .await;
}

fn no_execute(n: &Node) -> Vec<Taint> {
    taints(n).iter().filter(|t| t.effect == "NoExecute").cloned().collect()
}

/// What becomes of a pod on a node with these taints.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    Goes,
    GoesAfter(Duration),
}

/// The shortest of the tolerations that are used decides (`None` is for ever).
fn fate(taints: &[Taint], tolerations: &[Toleration]) -> Fate {
    let mut shortest: Option<i64> = None;
    for t in taints {
        let matching: Vec<&Toleration> = tolerations.iter().filter(|x| tolerates(x, t)).collect();
        if matching.is_empty() {
            return Fate::Goes;
        }
        for s in matching.iter().filter_map(|x| x.toleration_seconds) {
            shortest = Some(shortest.map_or(s, |m| m.min(s)));
        }
    }
    match shortest {
        None => Fate::Stays,
        Some(s) if s <= 0 => Fate::Goes,
        Some(s) => Fate::GoesAfter(Duration::from_secs(s.unsigned_abs())),
    }
}

impl Controller {
    fn on_node(&self, event: &Event<Node>) {
        let node = event.object();
        let changed = match event {
            Event::Added(n) => !no_execute(n).is_empty(),
            Event::Updated(old, new) => no_execute(old) != no_execute(new),
            Event::Deleted(_) => true,
        };
        if changed {
            for p in pods_on(&self.pods, node.metadata.name.as_deref().unwrap_or_default()) {
                self.queue.add(key(&p.metadata));
            }
        }
    }

    fn on_pod(&self, event: &Event<Pod>) {
        let pod = event.object();
        let k = key(&pod.metadata);
        if let Event::Deleted(_) = event {
            self.running.lock().remove(&k);
            return;
        }
        let tainted = self
            .nodes
            .get(node_name(pod))
            .is_some_and(|n| !no_execute(&n).is_empty());
        if let Event::Updated(old, new) = event {
            let of = |p: &Pod| p.spec.as_ref().and_then(|s| s.tolerations.clone());
            if node_name(old) == node_name(new) && of(old) == of(new) {
                return;
            }
        }
        if tainted {
            self.queue.add(k);
        }
    }

    async fn reconcile(&self, k: &str) -> Outcome {
        let Some(pod) = self.pods.get(k) else {
            self.running.lock().remove(k);
            return Ok(None);
        };
        if is_terminal(&pod) || pod.metadata.deletion_timestamp.is_some() {
            self.running.lock().remove(k);
            return Ok(None);
        }
        let taints = self
            .nodes
            .get(node_name(&pod))
            .map(|n| no_execute(&n))
            .unwrap_or_default();
        let tolerations = pod
            .spec
            .as_ref()
            .and_then(|s| s.tolerations.clone())
            .unwrap_or_default();
        match fate(&taints, &tolerations) {
            Fate::Stays => {
                if self.running.lock().remove(k).is_some() {
                    let message = format!("Cancelling deletion of Pod {k}");
                    let about = object_ref(&*pod);
                    self.ctx.events.event(&about, "Normal", "TaintManagerEviction", message);
                }
                Ok(None)
            }
            Fate::GoesAfter(after) => {
                let uid = pod.metadata.uid.clone().unwrap_or_default();
                let since = {
                    let mut running = self.running.lock();
                    let e = running
                        .entry(k.to_owned())
                        .and_modify(|(u, t)| {
                            if *u != uid {
                                *t = Instant::now();
                                u.clone_from(&uid);
                            }
                        })
                        .or_insert_with(|| (uid, Instant::now()));
                    e.1
                };
                match after.checked_sub(since.elapsed()).filter(|d| !d.is_zero()) {
                    Some(left) => Ok(Some(left)),
                    None => self.evict(k, &pod).await,
                }
            }
            Fate::Goes => self.evict(k, &pod).await,
        }
    }

    async fn evict(&self, k: &str, pod: &Pod) -> Outcome {
        let message = format!("Marking for deletion Pod {k}");
        self.ctx
            .events
            .event(&object_ref(pod), "Normal", "TaintManagerEviction", message);
        let api = Api::<Pod>::namespaced(
            self.ctx.client.clone(),
            pod.metadata.namespace.as_deref().unwrap_or_default(),
        );
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let patch = json!({
            "metadata": {"uid": pod.metadata.uid},
            "status": {"conditions": [{
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "DeletionByTaintManager",
                "message": "Taint manager: deleting due to NoExecute taint",
                "lastTransitionTime": crate::common::time::now(),
            }]},
        });
        let marked = api
            .patch_status(name, &PatchParams::default(), &Patch::Strategic(patch))
            .await;
        let params = DeleteParams {
            precondition_uid: pod.metadata.uid.clone(),
            ..DeleteParams::default()
        };
        let result = match marked {
            Ok(_) => api.delete(name, &params).await,
            Err(e) => Err(e),
        };
        match result {
            Err(e) if !e.is_not_found() && !e.is_conflict() => Err(e.into()),
            _ => {
                self.running.lock().remove(k);
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_shortest_toleration_decides() {
        let taints: Vec<Taint> = serde_json::from_value(json!([
            {"key": "a", "effect": "NoExecute"}, {"key": "b", "effect": "NoExecute"}]))
        .unwrap();
        let f = |t: Value| fate(&taints, &serde_json::from_value::<Vec<Toleration>>(t).unwrap());
        assert_eq!(f(json!([{"operator": "Exists"}])), Fate::Stays);
        assert_eq!(f(json!([{"key": "a", "operator": "Exists"}])), Fate::Goes);
        let both = json!([{"key": "a", "operator": "Exists", "tolerationSeconds": 300},
                          {"key": "b", "operator": "Exists", "tolerationSeconds": 30}]);
        assert_eq!(f(both), Fate::GoesAfter(Duration::from_secs(30)));
        assert_eq!(f(json!([{"operator": "Exists", "tolerationSeconds": 0}])), Fate::Goes);
        assert_eq!(fate(&[], &[]), Fate::Stays);
    }
}
