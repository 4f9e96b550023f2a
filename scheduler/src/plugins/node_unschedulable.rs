//! Cordoned nodes take only pods that tolerate it.
use super::taint_toleration::tolerates;
use crate::framework::CycleState;
use crate::framework::{ClusterEvent, Code, Filter, NodeInfo, Plugin, PodInfo, Rejection, Verdict};
use k8s_openapi::api::core::v1::{Node, Taint};

pub const NAME: &str = "NodeUnschedulable";
pub struct NodeUnschedulable;

fn refuses(pod: &PodInfo, node: &Node) -> bool {
    let cordoned = node.spec.as_ref().and_then(|s| s.unschedulable) == Some(true);
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        effect: "NoSchedule".into(),
        ..Taint::default()
    };
    cordoned && !tolerates(&pod.pod, &taint)
}

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        NAME
    }
    fn may_help(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(n) => !refuses(pod, n),
            ClusterEvent::NodeUpdated { old, new } => refuses(pod, old) && !refuses(pod, new),
            _ => false,
        }
    }
}

impl Filter for NodeUnschedulable {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Verdict {
        let reason = match &node.node {
            None => "node(s) had unknown conditions",
            Some(n) if refuses(pod, n) => "node(s) were unschedulable",
            Some(_) => return Ok(()),
        };
        Err(Rejection::new(Code::UnschedulableAndUnresolvable, NAME, reason))
    }
}
