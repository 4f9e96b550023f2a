//! `spec.nodeSelector` and `spec.affinity.nodeAffinity`.
use crate::framework::{
    Candidates, ClusterEvent, Code, CycleState, Filter, NodeInfo, Plugin, PodInfo, PreFilter, Rejection, Score,
    Snapshot, Verdict, default_normalize,
};

pub const NAME: &str = "NodeAffinity";
pub struct NodeAffinity;

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        NAME
    }
    fn may_help(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(n) => pod.node_affinity.allows(n),
            ClusterEvent::NodeUpdated { old, new } => !pod.node_affinity.allows(old) && pod.node_affinity.allows(new),
            _ => false,
        }
    }
}

impl PreFilter for NodeAffinity {
    /// A pod that names its nodes (as DaemonSets' do) costs a look at those, not at all.
    fn pre_filter(&self, _: &mut CycleState, pod: &PodInfo, _: &Snapshot) -> Result<Candidates, Rejection> {
        Ok(match pod.node_affinity.node_names() {
            Some(names) if !names.is_empty() => Candidates::Only(names.into_iter().collect()),
            _ => Candidates::All,
        })
    }
}

impl Filter for NodeAffinity {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Verdict {
        match &node.node {
            Some(n) if !pod.node_affinity.allows(n) => Err(Rejection::new(
                Code::UnschedulableAndUnresolvable,
                NAME,
                "node(s) didn't match Pod's node affinity/selector",
            )),
            _ => Ok(()),
        }
    }
}

impl Score for NodeAffinity {
    fn pre_score(&self, _: &mut CycleState, pod: &PodInfo) -> bool {
        pod.node_affinity.has_preferences()
    }
    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        node.node.as_ref().map_or(0, |n| pod.node_affinity.preference(n))
    }
    fn normalize(&self, scores: &mut [i64]) {
        default_normalize(false, scores);
    }
}
