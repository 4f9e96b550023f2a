//! Which pods go first when there are too many (upstream `ActivePodsWithRanks`).
use super::pods::{is_ready, node_name, phase, ready_since, restarts_max};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

fn phase_order(pod: &Pod) -> u8 {
    match phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    let text = pod.metadata.annotations.as_ref().and_then(|a| a.get(DELETION_COST));
    text.and_then(|t| t.parse().ok()).unwrap_or(0)
}

/// Ages in powers of two: among pods about equally old chance decides, not seconds (KEP-2185).
fn age_rank(t: &Time, now: Timestamp) -> u32 {
    let seconds = (now.as_second() - t.0.as_second()).max(1).unsigned_abs();
    seconds.ilog2()
}

/// Absent before present, then younger before older by rank.
fn by_age(a: Option<&Time>, b: Option<&Time>, now: Timestamp) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a), Some(b)) => age_rank(a, now).cmp(&age_rank(b, now)),
    }
}

/// Orders `a` before `b` when `a` should be deleted first. `doubled` counts the related pods on each node.
fn compare(a: &Pod, b: &Pod, doubled: &HashMap<&str, usize>, now: Timestamp) -> Ordering {
    let (node_a, node_b) = (node_name(a), node_name(b));
    let crowd = |n: &str| doubled.get(n).copied().unwrap_or(0);
    (!node_a.is_empty())
        .cmp(&!node_b.is_empty())
        .then_with(|| phase_order(a).cmp(&phase_order(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| crowd(node_b).cmp(&crowd(node_a)))
        .then_with(|| by_age(ready_since(a), ready_since(b), now))
        .then_with(|| restarts_max(b).cmp(&restarts_max(a)))
        .then_with(|| {
            let created = |p: &Pod| p.metadata.creation_timestamp.clone();
            by_age(created(a).as_ref(), created(b).as_ref(), now)
        })
        .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

/// The `count` pods of `pods` to delete; `related` are all active pods of the same application.
pub fn pods_to_delete(mut pods: Vec<Arc<Pod>>, related: &[Arc<Pod>], count: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    if count < pods.len() {
        let mut doubled: HashMap<&str, usize> = HashMap::new();
        for p in related {
            *doubled.entry(node_name(p)).or_default() += 1;
        }
        pods.sort_by(|a, b| compare(a, b, &doubled, now));
    }
    pods.truncate(count);
    pods
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, node: &str, phase: &str, ready: bool, extra: Value) -> Arc<Pod> {
        let mut p = json!({"metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": if ready {"True"} else {"False"},
                       "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        if let Value::Object(m) = extra {
            for (k, v) in m {
                p["metadata"][k] = v;
            }
        }
        Arc::new(serde_json::from_value(p).unwrap())
    }

    #[test]
    fn the_least_useful_goes_first() {
        let pods = vec![
            pod("crowded", "n1", "Running", true, json!({})),
            pod("alone", "n2", "Running", true, json!({})),
            pod(
                "dear",
                "n1",
                "Running",
                true,
                json!({"annotations": {DELETION_COST: "10"}}),
            ),
            pod("unready", "n1", "Running", false, json!({})),
            pod("pending", "n1", "Pending", false, json!({})),
            pod("unassigned", "", "Pending", false, json!({})),
        ];
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let order: Vec<String> = pods_to_delete(pods.clone(), &pods, 5, now)
            .iter()
            .map(|p| p.metadata.name.clone().unwrap())
            .collect();
        assert_eq!(order, ["unassigned", "pending", "unready", "crowded", "alone"]);
    }

    #[test]
    fn the_younger_by_an_order_of_magnitude_goes_first() {
        let old = pod("a", "n", "Running", true, json!({}));
        let young = pod("b", "n", "Running", true, json!({}));
        let mut young = (*young).clone();
        young.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].last_transition_time =
            Some(Time("2026-01-01T00:59:00Z".parse().unwrap()));
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let gone = pods_to_delete(vec![old, Arc::new(young)], &[], 1, now);
        assert_eq!(gone[0].metadata.name.as_deref(), Some("b"));
    }
}
