//! Host ports: one pod per address, protocol and port of a node.
use crate::framework::{ClusterEvent, Code, CycleState, Filter, NodeInfo, Plugin, PodInfo, Rejection, Verdict};

pub const NAME: &str = "NodePorts";
pub struct NodePorts;

fn clash(
    pod: &PodInfo,
    mut used: impl Iterator<Item = impl std::borrow::Borrow<crate::framework::types::HostPort>>,
) -> bool {
    used.any(|u| pod.host_ports.iter().any(|p| p.conflicts_with(u.borrow())))
}

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        NAME
    }
    fn may_help(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::AssignedPodRemoved(p) => clash(pod, p.host_ports.iter()),
            _ => false,
        }
    }
}

impl Filter for NodePorts {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Verdict {
        if !pod.host_ports.is_empty() && clash(pod, node.used_ports()) {
            return Err(Rejection::new(
                Code::Unschedulable,
                NAME,
                "node(s) didn't have free ports for the requested pod ports",
            ));
        }
        Ok(())
    }
}
