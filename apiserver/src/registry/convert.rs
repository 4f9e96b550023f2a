//! Kinds that are served in more than one version but stored in one: Events and HorizontalPodAutoscalers.

use keelson_machinery::resources::Resource;
use serde_json::{Map, Value, json};

/// events.k8s.io/v1 name, v1 name (upstream: pkg/apis/events/v1/conversion.go).
const EVENT_FIELDS: [(&str, &str); 6] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];
const EVENT_RENAMED: [(&str, &str); 2] =
    [("reportingController", "reportingComponent"), ("reportingInstance", "reportingInstance")];
/// Where upstream keeps what autoscaling/v1 cannot say.
const HPA_METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const HPA_BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// `value`, which is in version `from`, in the version of `to`.
pub fn between(from: (&str, &str), to: &Resource, value: Value) -> Value {
    match (from, (to.group, to.version)) {
        (a, b) if a == b => value,
        (("", _), ("events.k8s.io", _)) => rename(value, |v1, new| (v1, new)),
        (("events.k8s.io", _), ("", _)) => rename(value, |v1, new| (new, v1)),
        (("autoscaling", "v1"), ("autoscaling", "v2")) => hpa_to_v2(value),
        (("autoscaling", "v2"), ("autoscaling", "v1")) => hpa_to_v1(value),
        _ => value,
    }
}

/// `pair(v1, new)` orders a pair of names as (from, to).
fn rename(mut value: Value, pair: impl Fn(&'static str, &'static str) -> (&'static str, &'static str)) -> Value {
    let Some(o) = value.as_object_mut() else { return value };
    for (new, v1) in EVENT_FIELDS.into_iter().chain(EVENT_RENAMED) {
        let (from, to) = pair(v1, new);
        if from != to
            && let Some(v) = o.remove(from)
        {
            o.insert(to.to_owned(), v);
        }
    }
    value
}

fn annotations(value: &mut Value) -> Option<&mut Map<String, Value>> {
    let m = value.get_mut("metadata")?.as_object_mut()?;
    m.entry("annotations").or_insert_with(|| json!({})).as_object_mut()
}

fn hpa_to_v2(mut value: Value) -> Value {
    let target = value["spec"].as_object_mut().and_then(|s| s.remove("targetCPUUtilizationPercentage"));
    let current = value["status"].as_object_mut().and_then(|s| s.remove("currentCPUUtilizationPercentage"));
    let mut kept = |name: &str| -> Option<Value> {
        let text = annotations(&mut value)?.remove(name)?;
        serde_json::from_str(text.as_str()?).ok()
    };
    let (metrics, behavior) = (kept(HPA_METRICS), kept(HPA_BEHAVIOR));
    let cpu = |side: &str, percent: Value| json!({"type": "Resource", "resource": {"name": "cpu", side: {"type": "Utilization", "averageUtilization": percent}}});
    let mut all: Vec<Value> = metrics.and_then(|m| m.as_array().cloned()).unwrap_or_default();
    if let Some(p) = target {
        all.insert(0, cpu("target", p));
    }
    if !all.is_empty() {
        value["spec"]["metrics"] = all.into();
    }
    if let Some(b) = behavior {
        value["spec"]["behavior"] = b;
    }
    if let Some(p) = current {
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": p}}});
        value["status"]["currentMetrics"] = json!([metric]);
    }
    value
}

fn hpa_to_v1(mut value: Value) -> Value {
    let is_cpu = |m: &Value| m["resource"]["name"] == "cpu" && m["type"] == "Resource";
    let mut take = |section: &str, field: &str| value.get_mut(section).and_then(Value::as_object_mut).and_then(|s| s.remove(field));
    let (metrics, behavior, current) = (take("spec", "metrics"), take("spec", "behavior"), take("status", "currentMetrics"));
    let mut rest: Vec<Value> = metrics.and_then(|m| m.as_array().cloned()).unwrap_or_default();
    if let Some(at) = rest.iter().position(|m| is_cpu(m) && m["resource"]["target"]["averageUtilization"].is_number()) {
        let cpu = rest.remove(at);
        value["spec"]["targetCPUUtilizationPercentage"] = cpu["resource"]["target"]["averageUtilization"].clone();
    }
    let mut keep = |name: &str, v: Value| {
        if let Some(a) = annotations(&mut value) {
            a.insert(name.to_owned(), v.to_string().into());
        }
    };
    if !rest.is_empty() {
        keep(HPA_METRICS, rest.into());
    }
    if let Some(b) = behavior {
        keep(HPA_BEHAVIOR, b);
    }
    if let Some(cpu) = current.as_ref().and_then(Value::as_array).and_then(|a| a.iter().find(|m| is_cpu(m))) {
        value["status"]["currentCPUUtilizationPercentage"] = cpu["resource"]["current"]["averageUtilization"].clone();
    }
    value
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use keelson_machinery::resources::by_resource;

    #[test]
    fn events_and_autoscalers_survive_the_way_there_and_back() {
        let event = json!({"involvedObject": {"name": "p"}, "message": "m", "count": 3, "reportingComponent": "c", "reason": "R"});
        let (v1, new) = (by_resource("", "v1", "events").unwrap(), by_resource("events.k8s.io", "v1", "events").unwrap());
        let there = between(("", "v1"), new, event.clone());
        assert_eq!((&there["note"], &there["regarding"]["name"], &there["reportingController"]), (&"m".into(), &"p".into(), &"c".into()));
        assert_eq!(between(("events.k8s.io", "v1"), v1, there), event);

        let pods = json!({"type": "Pods", "pods": {"metric": {"name": "q"}}});
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}});
        let hpa = json!({"metadata": {"name": "h", "annotations": {}}, "spec": {"maxReplicas": 3, "metrics": [cpu, pods]}});
        let (old, two) = (by_resource("autoscaling", "v1", "horizontalpodautoscalers").unwrap(), by_resource("autoscaling", "v2", "horizontalpodautoscalers").unwrap());
        let there = between(("autoscaling", "v2"), old, hpa.clone());
        assert_eq!(there["spec"]["targetCPUUtilizationPercentage"], 70);
        assert_eq!(between(("autoscaling", "v1"), two, there), hpa);
    }
}
