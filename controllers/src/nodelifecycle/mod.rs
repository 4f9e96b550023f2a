//! Nodes whose kubelet is silent become Unknown, and taints follow the nodes' conditions.
//!
//! Time is taken when a heartbeat is seen here, not from the heartbeat, so that clocks need not agree.
mod health;

use crate::common::pods::is_ready;
use crate::common::taints::{NOT_READY, UNREACHABLE, taints};
use crate::common::{Context, Error, Outcome, key};
use health::{Pace, awaits_eviction, paces, ready, unknown_conditions, wanted_taints, zone};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use k8s_openapi::jiff::Timestamp;
use keelson_client::events::object_ref;
use keelson_client::{Api, Event, Informer, ListParams, Patch, PatchParams, Store, WorkQueue};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const NAME: &str = "node-lifecycle-controller";
/// The ServiceAccount it acts as, whose role is bootstrapped under this name.
pub const ACCOUNT: &str = "node-controller";
const LEASE_NAMESPACE: &str = "kube-node-lease";
const NODE_INDEX: &str = "node";
/// A node that has not said anything since it was made (`--node-startup-grace-period`).
const STARTUP_GRACE: Duration = Duration::from_secs(60);

struct Controller {
    ctx: Context,
    nodes: Store<Node>,
    pods: Store<Pod>,
    queue: WorkQueue<String>,
    /// When each node was last heard of.
    heard: Mutex<HashMap<String, Instant>>,
    /// When the next node of a zone may be evicted.
    next_eviction: Mutex<HashMap<String, Instant>>,
}

/// Adds the index of pods by node, which several controllers use.
pub fn index_pods_by_node(pods: &Store<Pod>) {
    pods.add_index(NODE_INDEX, |p| {
        let name = p.spec.as_ref().and_then(|s| s.node_name.clone());
        name.filter(|n| !n.is_empty()).into_iter().collect()
    });
}

pub fn pods_on(pods: &Store<Pod>, node: &str) -> Vec<Arc<Pod>> {
    pods.by_index(NODE_INDEX, node)
}

pub async fn run(ctx: Context) {
    let nodes = ctx.factory.informer::<Node>();
    let pods = ctx.factory.informer::<Pod>();
    index_pods_by_node(&pods.store());
    let leases = Informer::new(
        Api::<Lease>::namespaced(ctx.factory.client.clone(), LEASE_NAMESPACE),
        ListParams::default(),
    );
    let c = Arc::new(Controller {
        nodes: nodes.store(),
        pods: pods.store(),
        queue: WorkQueue::new("nodelifecycle"),
        heard: Mutex::default(),
        next_eviction: Mutex::default(),
        ctx: ctx.clone(),
    });
    let h = c.clone();
    leases.on_event(move |e| {
        // The renewed time is the sender's; that it changed is what counts.
        let renewed = match e {
            Event::Added(_) => true,
            Event::Updated(old, new) => old.spec != new.spec,
            Event::Deleted(_) => false,
        };
        if renewed {
            h.hear(e.object().metadata.name.as_deref().unwrap_or_default());
        }
    });
    let leases = leases.run(ctx.factory.stop.clone());
    let h = c.clone();
    nodes.on_event(move |e| h.on_node(e));
    nodes.wait_synced().await;
    pods.wait_synced().await;
    leases.wait_synced().await;
    let h = c.clone();
    pods.on_event(move |e| h.on_pod(e));
    let queue = c.queue.clone();
    ctx.work(&queue, move |k| {
        let c = c.clone();
        async move { c.reconcile(&k).await }
    })
    .await;
}

fn heartbeat(n: &Node) -> Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time> {
    health::condition(n, "Ready")?.last_heartbeat_time.clone()
}

impl Controller {
    fn hear(&self, node: &str) {
        self.heard.lock().insert(node.to_owned(), Instant::now());
    }

    fn on_node(&self, event: &Event<Node>) {
        let node = event.object();
        let name = node.metadata.name.clone().unwrap_or_default();
        match event {
            Event::Deleted(_) => {
                self.heard.lock().remove(&name);
                // The others' evictions may depend on how many there are.
                self.wake_waiting();
                return;
            }
            Event::Added(_) => self.hear(&name),
            Event::Updated(old, new) => {
                if heartbeat(old) != heartbeat(new) {
                    self.hear(&name);
                }
                let same = old.spec == new.spec && conditions(old) == conditions(new);
                if same {
                    return;
                }
                if ready(old) != ready(new) {
                    self.tell_change(old, new);
                    self.wake_waiting();
                }
            }
        }
        self.queue.add(name);
    }

    fn wake_waiting(&self) {
        for n in self.nodes.list() {
            let tainted = taints(&n)
                .iter()
                .any(|t| t.effect == "NoExecute" && (t.key == NOT_READY || t.key == UNREACHABLE));
            if awaits_eviction(&n) || tainted {
                self.queue.add(key(&n.metadata));
            }
        }
    }

    /// A pod that lands on, or turns ready on, a node that is not ready is not ready either.
    fn on_pod(&self, event: &Event<Pod>) {
        if matches!(event, Event::Deleted(_)) {
            return;
        }
        let pod = event.object();
        let name = crate::common::pods::node_name(pod);
        if !name.is_empty() && is_ready(pod) && self.nodes.get(name).is_some_and(|n| ready(&n) == "Unknown") {
            self.queue.add(name.to_owned());
        }
    }

    fn about(&self, node: &Node) -> ObjectReference {
        object_ref(node)
    }

    fn tell_change(&self, old: &Node, new: &Node) {
        if ready(old) == "True" {
            let name = new.metadata.name.as_deref().unwrap_or_default();
            let message = format!("Node {name} status is now: NodeNotReady");
            self.ctx
                .events
                .event(&self.about(new), "Normal", "NodeNotReady", message);
        }
    }

    async fn reconcile(&self, name: &str) -> Outcome {
        let Some(node) = self.nodes.get(name) else {
            return Ok(None);
        };
        let grace = match health::condition(&node, "Ready") {
            Some(_) => self.ctx.options.node_monitor_grace_period,
            None => STARTUP_GRACE,
        };
        let heard = *self.heard.lock().entry(name.to_owned()).or_insert_with(Instant::now);
        let silent_in = grace.checked_sub(heard.elapsed()).filter(|d| !d.is_zero());
        let now = Timestamp::now();
        if silent_in.is_none() {
            let unknown = unknown_conditions(&node, now);
            if !unknown.is_empty() {
                let patch = json!({"metadata": {"uid": node.metadata.uid}, "status": {"conditions": unknown}});
                let api = Api::<Node>::all(self.ctx.client.clone());
                api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch))
                    .await?;
                tracing::info!(node = name, "node is silent; its status is unknown now");
                // The change itself brings the node back here, with its taints.
                return Ok(None);
            }
        }
        let wait = self.taint(&node, now).await?;
        if ready(&node) != "True" {
            self.mark_pods_not_ready(name).await?;
        }
        // Once it is known to be silent, only a heartbeat changes anything, and that is an event.
        Ok(silent_in.into_iter().chain(wait).min())
    }

    /// Whether the node may be evicted now, or when.
    fn may_evict(&self, node: &Node) -> Result<(), Option<Duration>> {
        let nodes = self.nodes.list();
        let pace = paces(nodes.iter().map(|n| &**n)).get(&zone(node)).copied();
        let Some(Pace::Every(seconds)) = pace else {
            return Err(None);
        };
        if !awaits_eviction(node) {
            return Ok(());
        }
        let now = Instant::now();
        let mut next = self.next_eviction.lock();
        let at = next.entry(zone(node)).or_insert(now);
        if *at > now {
            return Err(Some(*at - now));
        }
        *at = now + Duration::from_secs(seconds);
        Ok(())
    }

    async fn taint(&self, node: &Node, now: Timestamp) -> Result<Option<Duration>, Error> {
        let (evict, wait) = if ready(node) == "True" {
            (false, None)
        } else {
            match self.may_evict(node) {
                Ok(()) => (true, None),
                Err(wait) => (false, wait),
            }
        };
        // Waiting for its turn must not take away what it has.
        let keeps = wait.is_some() && !awaits_eviction(node);
        if let Some(new) = wanted_taints(node, evict || keeps, now) {
            let patch = json!({
                "metadata": {"uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version},
                "spec": {"taints": new},
            });
            let api = Api::<Node>::all(self.ctx.client.clone());
            let name = node.metadata.name.as_deref().unwrap_or_default();
            api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        Ok(wait)
    }

    async fn mark_pods_not_ready(&self, node: &str) -> Result<(), Error> {
        for pod in pods_on(&self.pods, node).into_iter().filter(|p| is_ready(p)) {
            let api = Api::<Pod>::namespaced(
                self.ctx.client.clone(),
                pod.metadata.namespace.as_deref().unwrap_or_default(),
            );
            let patch = json!({
                "metadata": {"uid": pod.metadata.uid},
                "status": {"conditions": [{
                    "type": "Ready",
                    "status": "False",
                    "lastTransitionTime": crate::common::time::now(),
                }]},
            });
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            match api
                .patch_status(name, &PatchParams::default(), &Patch::Strategic(patch))
                .await
            {
                Ok(_) => {
                    let about = object_ref(&*pod);
                    self.ctx
                        .events
                        .event(&about, "Warning", "NodeNotReady", "Node is not ready".into());
                }
                Err(e) if e.is_not_found() || e.is_conflict() => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}

/// Conditions without their heartbeats.
fn conditions(n: &Node) -> Vec<(String, String)> {
    let list = n.status.iter().flat_map(|s| s.conditions.iter().flatten());
    list.map(|c| (c.type_.clone(), c.status.clone())).collect()
}
