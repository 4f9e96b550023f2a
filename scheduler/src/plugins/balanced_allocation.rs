//! Prefers nodes whose CPU and memory would be used to the same degree.
use crate::framework::{CycleState, NODE_SCORE_MAX, NodeInfo, Plugin, PodInfo, Score};

pub const NAME: &str = "NodeResourcesBalancedAllocation";
pub struct BalancedAllocation;

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        NAME
    }
}

impl Score for BalancedAllocation {
    /// Pods that request neither are left out, or all of them would gather on one node.
    fn pre_score(&self, _: &mut CycleState, pod: &PodInfo) -> bool {
        pod.requests.milli_cpu != 0 || pod.requests.memory_bytes != 0
    }

    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let fraction = |used: i64, capacity: i64| {
            if capacity == 0 {
                None
            } else {
                Some((used as f64 / capacity as f64).min(1.0))
            }
        };
        let cpu = fraction(
            node.requested.milli_cpu + pod.requests.milli_cpu,
            node.allocatable.milli_cpu,
        );
        let memory = fraction(
            node.requested.memory_bytes + pod.requests.memory_bytes,
            node.allocatable.memory_bytes,
        );
        // The standard deviation of two values is half their distance; of one it is zero.
        let deviation = match (cpu, memory) {
            (Some(c), Some(m)) => (c - m).abs() / 2.0,
            _ => 0.0,
        };
        ((1.0 - deviation) * NODE_SCORE_MAX as f64) as i64
    }
}
