//! Horizontal autoscalers (upstream: pkg/apis/autoscaling/{v1,v2}).
use super::Defaulter;
use super::fields::{Object, absent, empty, is_set, object, object_mut};
use serde_json::json;

const CPU_PERCENT: i32 = 80;

pub(super) fn of(name: &str) -> Option<Defaulter> {
    Some(match name {
        "api.autoscaling.v1.HorizontalPodAutoscaler" => v1,
        "api.autoscaling.v2.HorizontalPodAutoscaler" => v2,
        _ => return None,
    })
}

/// The target comes from upstream's conversion: without it, and without metrics in the annotation, it is CPU.
fn v1(o: &mut Object) {
    let annotations = object(o, "metadata").and_then(|m| object(m, "annotations"));
    let metrics = annotations.is_some_and(|a| a.contains_key("autoscaling.alpha.kubernetes.io/metrics"));
    if let Some(spec) = object_mut(o, "spec") {
        absent(spec, "minReplicas", 1);
        if !metrics {
            absent(spec, "targetCPUUtilizationPercentage", CPU_PERCENT);
        }
    }
}

fn v2(o: &mut Object) {
    let Some(spec) = object_mut(o, "spec") else { return };
    absent(spec, "minReplicas", 1);
    let target = json!({"type": "Utilization", "averageUtilization": CPU_PERCENT});
    let metrics = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
    empty(spec, "metrics", metrics);
    if !is_set(spec, "behavior") {
        return;
    }
    let Some(behavior) = object_mut(spec, "behavior") else {
        return;
    };
    if let Some(up) = object_mut(behavior, "scaleUp") {
        absent(up, "stabilizationWindowSeconds", 0);
        absent(up, "selectPolicy", "Max");
        let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        absent(up, "policies", json!([pods, percent]));
    }
    if let Some(down) = object_mut(behavior, "scaleDown") {
        absent(down, "selectPolicy", "Max");
        absent(
            down,
            "policies",
            json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]),
        );
    }
}
