//! Conversion between the versions in which two built-in kinds are served but not stored: events
//! (stored as core/v1, served by `events.k8s.io/v1` too) and autoscalers (stored as autoscaling/v2,
//! served as v1 too). Every other kind has one version.
mod autoscaling;

use serde_json::{Map, Value};

/// A group and a version.
pub type GroupVersion<'a> = (&'a str, &'a str);

/// Whether [`convert`] changes anything between these two.
pub fn needed(from: GroupVersion, to: GroupVersion) -> bool {
    from != to
}

/// Turns `object` of one version into the other, `apiVersion` included. Objects of kinds that have one
/// version, and lists, are left as they are.
pub fn convert(kind: &str, from: GroupVersion, to: GroupVersion, object: &mut Value) {
    let Some(map) = object.as_object_mut().filter(|_| needed(from, to)) else {
        return;
    };
    match (kind, from, to) {
        ("Event", ("", "v1"), ("events.k8s.io", "v1")) => rename(map, EVENT_FIELDS, false),
        ("Event", ("events.k8s.io", "v1"), ("", "v1")) => rename(map, EVENT_FIELDS, true),
        ("HorizontalPodAutoscaler", ("autoscaling", "v1"), ("autoscaling", "v2")) => autoscaling::v1_to_v2(map),
        ("HorizontalPodAutoscaler", ("autoscaling", "v2"), ("autoscaling", "v1")) => autoscaling::v2_to_v1(map),
        _ => return,
    }
    if map.contains_key("apiVersion") {
        let api_version = if to.0.is_empty() {
            to.1.to_owned()
        } else {
            format!("{}/{}", to.0, to.1)
        };
        map.insert("apiVersion".into(), api_version.into());
    }
}

/// What core/v1 calls it, what events.k8s.io/v1 calls it (upstream: pkg/apis/events/v1/conversion.go).
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

fn rename(map: &mut Map<String, Value>, names: &[(&str, &str)], back: bool) {
    for (a, b) in names {
        let (from, to) = if back { (b, a) } else { (a, b) };
        if let Some(value) = map.remove(*from) {
            map.insert((*to).to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{resources, schema, strict};
    use serde_json::json;

    const CORE: GroupVersion = ("", "v1");
    const EVENTS: GroupVersion = ("events.k8s.io", "v1");
    const V1: GroupVersion = ("autoscaling", "v1");
    const V2: GroupVersion = ("autoscaling", "v2");

    #[test]
    fn every_field_of_an_event_has_a_place() {
        let fields = |gv: GroupVersion| {
            let id = resources::type_of(gv.0, gv.1, "Event").unwrap();
            let names = schema::get(id)
                .fields
                .iter()
                .map(|f| (f.json.to_owned(), Value::from(1)));
            Value::Object(names.collect())
        };
        let (mut there, core) = (fields(CORE), fields(CORE));
        convert("Event", CORE, EVENTS, &mut there);
        assert_eq!(there, fields(EVENTS));
        convert("Event", EVENTS, CORE, &mut there);
        assert_eq!(there, core);
    }

    #[test]
    fn api_version_follows() {
        let mut event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "note": "n"});
        convert("Event", EVENTS, CORE, &mut event);
        assert_eq!(event, json!({"apiVersion": "v1", "kind": "Event", "message": "n"}));
    }

    #[test]
    fn autoscalers_go_both_ways() {
        let v1 = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 5, "targetCPUUtilizationPercentage": 80,
            "scaleTargetRef": {"kind": "Deployment", "name": "d"}}, "status": {"currentReplicas": 1, "desiredReplicas": 1}});
        let mut object = v1.clone();
        convert("HorizontalPodAutoscaler", V1, V2, &mut object);
        assert_eq!(
            object["spec"]["metrics"],
            json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}])
        );
        convert("HorizontalPodAutoscaler", V2, V1, &mut object);
        assert_eq!(object, v1);
    }

    #[test]
    fn what_v1_has_no_field_for_survives_in_annotations() {
        let v2 = json!({
            "metadata": {"name": "a", "annotations": {"mine": "x"}},
            "spec": {
                "maxReplicas": 5,
                "scaleTargetRef": {"kind": "Deployment", "name": "d"},
                "metrics": [
                    {"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "3"}}},
                    {"type": "External", "external": {"metric": {"name": "q", "selector": {"matchLabels": {"a": "b"}}}, "target": {"type": "Value", "value": "30"}}},
                    {"type": "Object", "object": {"describedObject": {"kind": "Ingress", "name": "i"}, "metric": {"name": "hits"}, "target": {"type": "Value", "value": "2k"}}},
                    {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", "target": {"type": "Utilization", "averageUtilization": 60}}},
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
                ],
                "behavior": {"scaleUp": {"stabilizationWindowSeconds": 3, "policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}]}}
            },
            "status": {
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 40, "averageValue": "100m"}}}],
                "conditions": [{"type": "AbleToScale", "status": "True"}],
                "currentReplicas": 1, "desiredReplicas": 1
            }
        });
        let mut object = v2.clone();
        convert("HorizontalPodAutoscaler", V2, V1, &mut object);
        assert_eq!(object["spec"]["targetCPUUtilizationPercentage"], 50);
        assert_eq!(object["status"]["currentCPUUtilizationPercentage"], 40);
        let annotations = object["metadata"]["annotations"].as_object().unwrap();
        assert_eq!(annotations.len(), 5);
        assert_eq!(
            annotations["autoscaling.alpha.kubernetes.io/behavior"],
            r#"{"ScaleUp":{"Policies":[{"PeriodSeconds":60,"Type":"Pods","Value":4}],"StabilizationWindowSeconds":3}}"#
        );
        let id = resources::type_of("autoscaling", "v1", "HorizontalPodAutoscaler").unwrap();
        assert!(strict::prune_unknown(id, &mut object.clone()).unwrap().is_empty());
        convert("HorizontalPodAutoscaler", V1, V2, &mut object);
        assert_eq!(object, v2);
    }
}
