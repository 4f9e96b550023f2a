//! Judging nodes: heartbeats, conditions, and the taints that follow from them. Pure.
use crate::common::taints::{NOT_READY, UNREACHABLE, taints};
use crate::common::time::truncate;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use std::collections::HashMap;

pub const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
/// Share of nodes not ready from which a zone counts as disrupted (`--unhealthy-zone-threshold`), in percent.
const UNHEALTHY_ZONE_PERCENT: usize = 55;
/// A zone up to this size evicts nobody while disrupted (`--large-cluster-size-threshold`).
const SMALL_ZONE_NODES_MAX: usize = 50;
/// Seconds between two nodes that get a NoExecute taint in a zone (`--node-eviction-rate` 0.1,
/// `--secondary-node-eviction-rate` 0.01).
const EVICTION_INTERVAL_S: u64 = 10;
const EVICTION_INTERVAL_DISRUPTED_S: u64 = 100;

pub fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|c| c.type_ == kind)
}

/// `True`, `False` or `Unknown`; a node that never said is Unknown.
pub fn ready(node: &Node) -> &str {
    condition(node, "Ready").map_or("Unknown", |c| c.status.as_str())
}

/// The conditions of a node whose kubelet is silent, where they change.
pub fn unknown_conditions(node: &Node, now: Timestamp) -> Vec<NodeCondition> {
    ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"]
        .into_iter()
        .filter_map(|kind| {
            let old = condition(node, kind);
            let (reason, message, heartbeat) = match old {
                Some(c) if c.status == "Unknown" => return None,
                Some(c) => (
                    "NodeStatusUnknown",
                    "Kubelet stopped posting node status.",
                    c.last_heartbeat_time.clone(),
                ),
                None => (
                    "NodeStatusNeverUpdated",
                    "Kubelet never posted node status.",
                    node.metadata.creation_timestamp.clone(),
                ),
            };
            Some(NodeCondition {
                type_: kind.into(),
                status: "Unknown".into(),
                reason: Some(reason.into()),
                message: Some(message.into()),
                last_heartbeat_time: heartbeat,
                last_transition_time: Some(truncate(now)),
            })
        })
        .collect()
}

/// NoSchedule taints that conditions ask for: condition, its status, key.
const BY_CONDITION: &[(&str, &str, &str)] = &[
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

fn taint(key: &str, effect: &str, since: Option<Time>) -> Taint {
    Taint {
        key: key.into(),
        effect: effect.into(),
        time_added: since,
        value: None,
    }
}

/// The node's taints as they should be; `None` when they are. `no_execute` says whether pods may be evicted now.
pub fn wanted_taints(node: &Node, no_execute: bool, now: Timestamp) -> Option<Vec<Taint>> {
    let mut wanted: Vec<(&str, &str)> = BY_CONDITION
        .iter()
        .filter(|(kind, status, _)| condition(node, kind).is_some_and(|c| c.status == *status))
        .map(|(_, _, key)| (*key, "NoSchedule"))
        .collect();
    if node.spec.as_ref().and_then(|s| s.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let evicts = match ready(node) {
        "False" => Some(NOT_READY),
        "Unknown" => Some(UNREACHABLE),
        _ => None,
    };
    if let (Some(key), true) = (evicts, no_execute) {
        wanted.push((key, "NoExecute"));
    }
    let is_ours = |t: &Taint| match t.effect.as_str() {
        "NoSchedule" => t.key == UNSCHEDULABLE || BY_CONDITION.iter().any(|(_, _, k)| *k == t.key),
        "NoExecute" => t.key == NOT_READY || t.key == UNREACHABLE,
        _ => false,
    };
    let old = taints(node);
    let mut new: Vec<Taint> = old
        .iter()
        .filter(|t| !is_ours(t) || wanted.iter().any(|(k, e)| *k == t.key && *e == t.effect))
        .cloned()
        .collect();
    for (key, effect) in wanted {
        if !new.iter().any(|t| t.key == key && t.effect == effect) {
            new.push(taint(key, effect, Some(truncate(now))));
        }
    }
    (new != old).then_some(new)
}

/// Whether the node should have a NoExecute taint that it does not have.
pub fn awaits_eviction(node: &Node) -> bool {
    let key = match ready(node) {
        "False" => NOT_READY,
        "Unknown" => UNREACHABLE,
        _ => return false,
    };
    !taints(node).iter().any(|t| t.key == key && t.effect == "NoExecute")
}

pub fn zone(node: &Node) -> String {
    let label = |k: &str| {
        let l = node.metadata.labels.as_ref().and_then(|l| l.get(k));
        l.cloned().unwrap_or_default()
    };
    format!("{}:{}", label(REGION), label(ZONE))
}

/// How fast nodes of a zone may be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Seconds between two nodes.
    Every(u64),
    Never,
}

/// The pace of each zone. Where all nodes of all zones are gone, it is more likely that the network to the
/// API server is, and nobody is evicted.
pub fn paces<'a>(nodes: impl Iterator<Item = &'a Node>) -> HashMap<String, Pace> {
    let mut zones: HashMap<String, (usize, usize)> = HashMap::new();
    for n in nodes {
        let (all, bad) = zones.entry(zone(n)).or_default();
        *all += 1;
        *bad += usize::from(ready(n) != "True");
    }
    let all_gone = zones.values().all(|(all, bad)| all == bad);
    zones
        .into_iter()
        .map(|(z, (all, bad))| {
            let partly = bad > 2 && bad * 100 >= all * UNHEALTHY_ZONE_PERCENT && bad < all;
            let pace = if all_gone || (partly && all <= SMALL_ZONE_NODES_MAX) {
                Pace::Never
            } else if partly {
                Pace::Every(EVICTION_INTERVAL_DISRUPTED_S)
            } else {
                Pace::Every(EVICTION_INTERVAL_S)
            };
            (z, pace)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn node(name: &str, ready: &str, zone: &str, taints: Value) -> Node {
        serde_json::from_value(
            json!({"metadata": {"name": name, "labels": {ZONE: zone}}, "spec": {"taints": taints},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}}),
        )
        .unwrap()
    }
    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
    fn keys(t: &[Taint]) -> Vec<String> {
        t.iter().map(|t| format!("{}:{}", t.key, t.effect)).collect()
    }

    #[test]
    fn taints_follow_conditions_and_foreign_ones_stay() {
        let foreign = json!([{"key": "mine", "effect": "NoSchedule"}]);
        let n = node("a", "Unknown", "z", foreign.clone());
        let t = wanted_taints(&n, false, now()).unwrap();
        assert_eq!(
            keys(&t),
            ["mine:NoSchedule", "node.kubernetes.io/unreachable:NoSchedule"]
        );
        let t = wanted_taints(&n, true, now()).unwrap();
        assert_eq!(keys(&t).len(), 3);
        let back = node("a", "True", "z", serde_json::to_value(&t).unwrap());
        assert_eq!(keys(&wanted_taints(&back, true, now()).unwrap()), ["mine:NoSchedule"]);
        assert!(wanted_taints(&node("a", "True", "z", foreign), true, now()).is_none());
    }

    #[test]
    fn a_silent_node_turns_unknown_once() {
        let n = node("a", "True", "z", json!([]));
        let c = unknown_conditions(&n, now());
        assert_eq!(c.len(), 4);
        assert_eq!(c[0].reason.as_deref(), Some("NodeStatusUnknown"));
        assert_eq!(c[1].reason.as_deref(), Some("NodeStatusNeverUpdated"));
        assert_eq!(
            unknown_conditions(&node("a", "Unknown", "z", json!([])), now()).len(),
            3
        );
    }

    #[test]
    fn nobody_is_evicted_when_everybody_is_gone() {
        let all = |states: &[&str]| {
            let nodes: Vec<Node> = states.iter().map(|s| node("n", s, "z", json!([]))).collect();
            paces(nodes.iter()).into_values().next().unwrap()
        };
        assert_eq!(all(&["Unknown"]), Pace::Never);
        assert_eq!(all(&["Unknown", "True"]), Pace::Every(10));
        assert_eq!(all(&["Unknown", "Unknown", "Unknown", "True"]), Pace::Never);
        assert_eq!(all(&["Unknown", "Unknown", "True", "True"]), Pace::Every(10));
    }
}
