//! Pods with `spec.schedulingGates` wait outside the active queue (KEP-3521).
use crate::framework::{ClusterEvent, Code, Plugin, PodInfo, PreEnqueue, Rejection, Verdict};

pub const NAME: &str = "SchedulingGates";
pub struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        NAME
    }
    fn may_help(&self, _: &PodInfo, _: &ClusterEvent) -> bool {
        // Only an update of the pod itself removes a gate, and that goes through the queue anyway.
        false
    }
}

impl PreEnqueue for SchedulingGates {
    fn pre_enqueue(&self, pod: &PodInfo) -> Verdict {
        let gates: Vec<&str> = pod
            .pod
            .spec
            .iter()
            .flat_map(|s| s.scheduling_gates.iter().flatten())
            .map(|g| g.name.as_str())
            .collect();
        if gates.is_empty() {
            return Ok(());
        }
        Err(Rejection::new(
            Code::UnschedulableAndUnresolvable,
            NAME,
            format!("waiting for scheduling gates: [{}]", gates.join(" ")),
        ))
    }
}
