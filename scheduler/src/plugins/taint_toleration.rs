//! Taints and tolerations: NoSchedule and NoExecute filter, PreferNoSchedule scores.
use crate::framework::{
    ClusterEvent, Code, CycleState, Filter, NodeInfo, Plugin, PodInfo, Rejection, Score, Verdict, default_normalize,
};
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};

pub const NAME: &str = "TaintToleration";
pub struct TaintToleration;

/// Upstream `Toleration.ToleratesTaint`: empty effect, key or value of a toleration are wildcards as documented there.
pub fn toleration_matches(t: &Toleration, taint: &Taint) -> bool {
    let set = |s: &Option<String>| s.clone().filter(|v| !v.is_empty());
    if set(&t.effect).is_some_and(|e| e != taint.effect) {
        return false;
    }
    let key = set(&t.key);
    if key.as_ref().is_some_and(|k| *k != taint.key) {
        return false;
    }
    match t.operator.as_deref().unwrap_or("") {
        "Exists" => true,
        // Without a key only Exists is a wildcard.
        "" | "Equal" => {
            key.is_some() && t.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
        }
        _ => false,
    }
}

pub fn tolerates(pod: &Pod, taint: &Taint) -> bool {
    pod.spec
        .iter()
        .flat_map(|s| s.tolerations.iter().flatten())
        .any(|t| toleration_matches(t, taint))
}

fn taints(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.iter().flat_map(|s| s.taints.iter().flatten())
}

fn admits(pod: &Pod, node: &Node) -> bool {
    taints(node)
        .filter(|t| t.effect == "NoSchedule" || t.effect == "NoExecute")
        .all(|t| tolerates(pod, t))
}

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        NAME
    }
    fn may_help(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(n) => admits(&pod.pod, n),
            ClusterEvent::NodeUpdated { old, new } => !admits(&pod.pod, old) && admits(&pod.pod, new),
            _ => false,
        }
    }
}

impl Filter for TaintToleration {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Verdict {
        match &node.node {
            Some(n) if !admits(&pod.pod, n) => Err(Rejection::new(
                Code::UnschedulableAndUnresolvable,
                NAME,
                "node(s) had untolerated taint(s)",
            )),
            _ => Ok(()),
        }
    }
}

impl Score for TaintToleration {
    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let Some(n) = &node.node else {
            return 0;
        };
        taints(n)
            .filter(|t| t.effect == "PreferNoSchedule" && !tolerates(&pod.pod, t))
            .count() as i64
    }
    fn normalize(&self, scores: &mut [i64]) {
        default_normalize(true, scores);
    }
}
