//! Requests must fit into what is allocatable; the emptier node scores higher (LeastAllocated).
use crate::framework::resources::Resources;
use crate::framework::{
    ClusterEvent, Code, CycleState, Filter, NODE_SCORE_MAX, NodeInfo, Plugin, PodInfo, Rejection, Score, Verdict,
};
use k8s_openapi::api::core::v1::Node;

pub const NAME: &str = "NodeResourcesFit";
pub struct NodeResourcesFit;

struct Shortage {
    reason: String,
    /// Not even the empty node has as much.
    unresolvable: bool,
}

fn shortages(pod: &PodInfo, pods: usize, allocatable: &Resources, requested: &Resources) -> Vec<Shortage> {
    let mut out = Vec::new();
    if pods as i64 + 1 > allocatable.pods {
        out.push(Shortage {
            reason: "Too many pods".into(),
            unresolvable: false,
        });
    }
    let want = &pod.requests;
    let mut check = |name: &str, want: i64, have: i64, used: i64| {
        if want > 0 && want > have - used {
            out.push(Shortage {
                reason: format!("Insufficient {name}"),
                unresolvable: want > have,
            });
        }
    };
    check("cpu", want.milli_cpu, allocatable.milli_cpu, requested.milli_cpu);
    check(
        "memory",
        want.memory_bytes,
        allocatable.memory_bytes,
        requested.memory_bytes,
    );
    check(
        "ephemeral-storage",
        want.ephemeral_storage_bytes,
        allocatable.ephemeral_storage_bytes,
        requested.ephemeral_storage_bytes,
    );
    for (name, want) in &want.scalars {
        let of = |r: &Resources| r.scalars.get(name).copied().unwrap_or(0);
        check(name, *want, of(allocatable), of(requested));
    }
    out
}

/// Whether the pod would fit into the node were it empty.
fn fits_empty(pod: &PodInfo, node: &Node) -> bool {
    let mut n = NodeInfo::new("");
    n.set_node(std::sync::Arc::new(node.clone()));
    shortages(pod, 0, &n.allocatable, &Resources::default()).is_empty()
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        NAME
    }
    fn may_help(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(n) => fits_empty(pod, n),
            ClusterEvent::NodeUpdated { old, new } => {
                let of = |n: &Node| n.status.as_ref().and_then(|s| s.allocatable.clone());
                of(old) != of(new) && fits_empty(pod, new)
            }
            // A pod that left freed at least its place among the node's pods.
            ClusterEvent::AssignedPodRemoved(_) => true,
            ClusterEvent::AssignedPodUpdated { old, new } => old.requests != new.requests,
            ClusterEvent::Unknown => true,
        }
    }
}

impl Filter for NodeResourcesFit {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Verdict {
        let short = shortages(pod, node.pods.len(), &node.allocatable, &node.requested);
        if short.is_empty() {
            return Ok(());
        }
        let code = if short.iter().any(|s| s.unresolvable) {
            Code::UnschedulableAndUnresolvable
        } else {
            Code::Unschedulable
        };
        Err(Rejection {
            code,
            plugin: NAME,
            reasons: short.into_iter().map(|s| s.reason).collect(),
        })
    }
}

impl Score for NodeResourcesFit {
    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let free = |capacity: i64, used: i64| {
            if capacity == 0 {
                None
            } else if used > capacity {
                Some(0)
            } else {
                Some(((i128::from(capacity - used) * i128::from(NODE_SCORE_MAX)) / i128::from(capacity)) as i64)
            }
        };
        let (used, want, have) = (&node.scored_requested, &pod.scored_requests, &node.allocatable);
        let parts: Vec<i64> = [
            free(have.milli_cpu, used.milli_cpu + want.milli_cpu),
            free(have.memory_bytes, used.memory_bytes + want.memory_bytes),
        ]
        .into_iter()
        .flatten()
        .collect();
        if parts.is_empty() {
            return 0;
        }
        parts.iter().sum::<i64>() / parts.len() as i64
    }
}
