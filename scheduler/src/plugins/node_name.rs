//! `spec.nodeName`, where a pod that names its node comes through the scheduler all the same.
use crate::framework::types::node_name;
use crate::framework::{ClusterEvent, Code, CycleState, Filter, NodeInfo, Plugin, PodInfo, Rejection, Verdict};

pub const NAME: &str = "NodeName";
pub struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        NAME
    }
    fn may_help(&self, _: &PodInfo, event: &ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded(_))
    }
}

impl Filter for NodeName {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Verdict {
        match node_name(&pod.pod) {
            Some(n) if n != &*node.name => Err(Rejection::new(
                Code::UnschedulableAndUnresolvable,
                NAME,
                "node(s) didn't match the requested node name",
            )),
            _ => Ok(()),
        }
    }
}
