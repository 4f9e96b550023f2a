//! Says why removing other pods would not help. Nothing is preempted yet.
use crate::framework::status::histogram_message;
use crate::framework::{Code, CycleState, Diagnosis, Plugin, PodInfo, PostFilter, Snapshot};
use std::collections::BTreeMap;

pub const NAME: &str = "DefaultPreemption";
const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

pub struct DefaultPreemption;

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        NAME
    }
    fn may_help(&self, _: &PodInfo, _: &crate::framework::ClusterEvent) -> bool {
        false
    }
}

impl PostFilter for DefaultPreemption {
    fn post_filter(&self, _: &CycleState, pod: &PodInfo, _: &Snapshot, diagnosis: &Diagnosis) -> String {
        if pod.pod.spec.as_ref().and_then(|s| s.preemption_policy.as_deref()) == Some("Never") {
            return "preemption: not eligible due to preemptionPolicy=Never.".to_owned();
        }
        let total = diagnosis.nodes_total;
        let resolvable = diagnosis
            .by_node
            .values()
            .filter(|r| r.code == Code::Unschedulable)
            .count();
        let mut reasons = BTreeMap::new();
        if resolvable > 0 {
            reasons.insert(NO_VICTIMS.to_owned(), resolvable);
        }
        if total > resolvable {
            reasons.insert(NOT_HELPFUL.to_owned(), total - resolvable);
        }
        format!("preemption: {}", histogram_message(total, &reasons))
    }
}
