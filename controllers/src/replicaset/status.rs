//! The status of a ReplicaSet from its pods.
use crate::common::pods::{is_available, is_ready};
use crate::common::time::truncate;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use std::sync::Arc;

fn count(n: usize) -> Option<i32> {
    // Zero is left out, as Go's `omitempty` does.
    i32::try_from(n).ok().filter(|n| *n > 0)
}

pub fn calculate(rs: &ReplicaSet, active: &[Arc<Pod>], failure: Option<String>, now: Timestamp) -> ReplicaSetStatus {
    let old = rs.status.clone().unwrap_or_default();
    let spec = rs.spec.as_ref();
    let min_ready = spec.and_then(|s| s.min_ready_seconds).unwrap_or(0);
    let template = spec
        .and_then(|s| s.template.as_ref())
        .and_then(|t| t.metadata.as_ref())
        .and_then(|m| m.labels.as_ref());
    let labelled = |p: &Pod| {
        template
            .into_iter()
            .flatten()
            .all(|(k, v)| p.metadata.labels.as_ref().and_then(|l| l.get(k)) == Some(v))
    };
    let ready = active.iter().filter(|p| is_ready(p));
    let wanted = spec.and_then(|s| s.replicas).unwrap_or(1);
    ReplicaSetStatus {
        replicas: i32::try_from(active.len()).unwrap_or(i32::MAX),
        fully_labeled_replicas: count(active.iter().filter(|p| labelled(p)).count()),
        ready_replicas: count(ready.clone().count()),
        available_replicas: count(ready.filter(|p| is_available(p, min_ready, now)).count()),
        observed_generation: rs.metadata.generation,
        conditions: conditions(old.conditions, failure, active.len() as i64 - i64::from(wanted), now),
        ..old
    }
}

fn conditions(
    old: Option<Vec<ReplicaSetCondition>>,
    failure: Option<String>,
    diff: i64,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let mut list = old.unwrap_or_default();
    let failed = list.iter().any(|c| c.type_ == "ReplicaFailure");
    match failure {
        Some(message) if !failed => list.push(ReplicaSetCondition {
            type_: "ReplicaFailure".into(),
            status: "True".into(),
            reason: Some(if diff < 0 { "FailedCreate" } else { "FailedDelete" }.into()),
            message: Some(message),
            last_transition_time: Some(truncate(now)),
        }),
        None if failed => list.retain(|c| c.type_ != "ReplicaFailure"),
        _ => {}
    }
    (!list.is_empty()).then_some(list)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    fn pod(name: &str, ready_at: Option<&str>) -> Arc<Pod> {
        let conditions = ready_at.map(|t| json!([{"type": "Ready", "status": "True", "lastTransitionTime": t}]));
        let p = json!({"metadata": {"name": name, "labels": {"app": "x"}}, "status": {"conditions": conditions}});
        Arc::new(serde_json::from_value(p).unwrap())
    }

    #[test]
    fn readiness_counts_at_once_and_availability_after_min_ready_seconds() {
        let rs: ReplicaSet = serde_json::from_value(json!({"metadata": {"name": "r", "generation": 3},
            "spec": {"replicas": 3, "minReadySeconds": 10, "selector": {},
                     "template": {"metadata": {"labels": {"app": "x"}}}}}))
        .unwrap();
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let pods = [
            pod("a", Some("2026-01-01T00:00:00Z")),
            pod("b", Some("2026-01-01T00:00:55Z")),
            pod("c", None),
        ];
        let s = calculate(&rs, &pods, Some("quota".into()), now);
        expect![[r#"{"availableReplicas":1,"conditions":[{"lastTransitionTime":"2026-01-01T00:01:00Z","message":"quota","reason":"FailedDelete","status":"True","type":"ReplicaFailure"}],"fullyLabeledReplicas":3,"observedGeneration":3,"readyReplicas":2,"replicas":3}"#]]
        .assert_eq(&serde_json::to_string(&s).unwrap());
    }
}
