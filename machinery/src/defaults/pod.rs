//! Pods, their templates, containers, probes and volumes (upstream: pkg/apis/core/v1/defaults.go).
use super::fields::{Object, absent, empty, items_mut, object_mut, text};
use super::{Defaulter, image, pod_resources};
use serde_json::{Map, Value, json};

/// `0644`
const MODE: i32 = 0o644;

pub(super) fn of(name: &str) -> Option<Defaulter> {
    Some(match name {
        "api.core.v1.Pod" => pod,
        "api.core.v1.PodSpec" => pod_spec,
        "api.core.v1.Container" | "api.core.v1.EphemeralContainerCommon" => container,
        "api.core.v1.Probe" => probe,
        "api.core.v1.HTTPGetAction" => http_get,
        "api.core.v1.Volume" => volume,
        "api.core.v1.SecretVolumeSource"
        | "api.core.v1.ConfigMapVolumeSource"
        | "api.core.v1.DownwardAPIVolumeSource"
        | "api.core.v1.ProjectedVolumeSource" => |o| absent(o, "defaultMode", MODE),
        "api.core.v1.ServiceAccountTokenProjection" => |o| absent(o, "expirationSeconds", 3600),
        "api.core.v1.HostPathVolumeSource" => |o| absent(o, "type", ""),
        "api.core.v1.ObjectFieldSelector" => |o| empty(o, "apiVersion", "v1"),
        _ => return None,
    })
}

/// What holds for Pods alone and not for templates.
fn pod(o: &mut Object) {
    let Some(spec) = object_mut(o, "spec") else { return };
    for list in ["containers", "initContainers"] {
        for c in items_mut(spec, list) {
            if let Some(Value::Object(resources)) = c.get_mut("resources") {
                requests_from_limits(resources);
            }
        }
    }
    pod_resources::apply(spec);
    absent(spec, "enableServiceLinks", true);
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        for list in ["containers", "initContainers"] {
            for port in items_mut(spec, list).flat_map(|c| items_mut(c, "ports")) {
                let number = port.get("containerPort").cloned().unwrap_or(json!(0));
                empty(port, "hostPort", number);
            }
        }
    }
}

fn requests_from_limits(resources: &mut Object) {
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else {
        return;
    };
    if limits.is_empty() {
        return;
    }
    if let Some(requests) = object_mut(resources, "requests") {
        for (name, amount) in limits {
            requests.entry(name).or_insert(amount);
        }
    }
}

fn pod_spec(o: &mut Object) {
    empty(o, "dnsPolicy", "ClusterFirst");
    empty(o, "restartPolicy", "Always");
    absent(o, "securityContext", Map::new());
    absent(o, "terminationGracePeriodSeconds", 30);
    empty(o, "schedulerName", "default-scheduler");
}

fn pull_policy(name: &str) -> &'static str {
    if image::tag(name) == "latest" {
        "Always"
    } else {
        "IfNotPresent"
    }
}

fn container(o: &mut Object) {
    let policy = pull_policy(text(o, "image"));
    empty(o, "imagePullPolicy", policy);
    empty(o, "terminationMessagePath", "/dev/termination-log");
    empty(o, "terminationMessagePolicy", "File");
}

fn probe(o: &mut Object) {
    empty(o, "timeoutSeconds", 1);
    empty(o, "periodSeconds", 10);
    empty(o, "successThreshold", 1);
    empty(o, "failureThreshold", 3);
}

fn http_get(o: &mut Object) {
    empty(o, "path", "/");
    empty(o, "scheme", "HTTP");
}

/// A volume of no kind is an emptyDir.
fn volume(o: &mut Object) {
    if !o.iter().any(|(k, v)| k != "name" && v.is_object()) {
        o.insert("emptyDir".into(), json!({}));
    }
    if let Some(Value::Object(source)) = o.get_mut("image") {
        let policy = pull_policy(text(source, "reference"));
        empty(source, "pullPolicy", policy);
    }
}
