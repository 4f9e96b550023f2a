//! The core group, pods apart (upstream: pkg/apis/core/v1/defaults.go).
use super::Defaulter;
use super::fields::{
    Object, absent, empty, is_set, items_mut, labels_from_template, object, object_mut, template_labels, text,
};
use base64::Engine;
use serde_json::{Value, json};

pub(super) fn of(name: &str) -> Option<Defaulter> {
    Some(match name {
        "api.core.v1.ReplicationController" => replication_controller,
        "api.core.v1.Service" => service,
        "api.core.v1.Secret" => secret,
        "api.core.v1.PersistentVolume" => persistent_volume,
        "api.core.v1.PersistentVolumeClaim" => persistent_volume_claim,
        "api.core.v1.PersistentVolumeClaimSpec" => |o| absent(o, "volumeMode", "Filesystem"),
        "api.core.v1.Endpoints" => endpoints,
        "api.core.v1.Namespace" => namespace,
        "api.core.v1.NamespaceStatus" => |o| empty(o, "phase", "Active"),
        "api.core.v1.NodeStatus" => node_status,
        "api.core.v1.LimitRangeItem" => limit_range_item,
        _ => return None,
    })
}

fn replication_controller(o: &mut Object) {
    let labels = object(o, "spec").and_then(template_labels);
    if let (Some(labels), Some(spec)) = (labels, object_mut(o, "spec")) {
        empty(spec, "selector", labels);
    }
    labels_from_template(o);
}

fn service(o: &mut Object) {
    let kind = {
        let Some(spec) = object_mut(o, "spec") else { return };
        service_spec(spec);
        text(spec, "type").to_owned()
    };
    if kind == "LoadBalancer"
        && let Some(balancer) = o
            .get_mut("status")
            .and_then(|s| s.get_mut("loadBalancer"))
            .and_then(Value::as_object_mut)
    {
        for ingress in items_mut(balancer, "ingress").filter(|i| !text(i, "ip").is_empty()) {
            absent(ingress, "ipMode", "VIP");
        }
    }
}

fn service_spec(spec: &mut Object) {
    const CLIENT_IP_SECONDS: i32 = 10_800;
    empty(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity") {
        "None" => {
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            let client = object(spec, "sessionAffinityConfig").and_then(|c| object(c, "clientIP"));
            if !client.is_some_and(|c| is_set(c, "timeoutSeconds")) {
                let config = json!({"clientIP": {"timeoutSeconds": CLIENT_IP_SECONDS}});
                spec.insert("sessionAffinityConfig".into(), config);
            }
        }
        _ => {}
    }
    empty(spec, "type", "ClusterIP");
    for port in items_mut(spec, "ports") {
        empty(port, "protocol", "TCP");
        let number = port.get("port").cloned().unwrap_or(json!(0));
        empty(port, "targetPort", number);
    }
    let kind = text(spec, "type").to_owned();
    let own_addresses = spec
        .get("externalIPs")
        .and_then(Value::as_array)
        .is_some_and(|ips| !ips.is_empty());
    if matches!(&*kind, "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && own_addresses) {
        empty(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(&*kind, "NodePort" | "LoadBalancer" | "ClusterIP") {
        absent(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        absent(spec, "allocateLoadBalancerNodePorts", true);
    }
}

/// The type, and `stringData` put into `data`, which upstream does when it converts to its internal type.
fn secret(o: &mut Object) {
    empty(o, "type", "Opaque");
    let Some(plain) = o.remove("stringData") else { return };
    let Value::Object(plain) = plain else { return };
    if plain.is_empty() {
        return;
    }
    if let Some(data) = object_mut(o, "data") {
        for (key, value) in plain {
            let bytes = value.as_str().unwrap_or_default();
            let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
            data.insert(key, encoded.into());
        }
    }
}

fn persistent_volume(o: &mut Object) {
    if let Some(status) = object_mut(o, "status") {
        empty(status, "phase", "Pending");
    }
    if let Some(spec) = object_mut(o, "spec") {
        empty(spec, "persistentVolumeReclaimPolicy", "Retain");
        absent(spec, "volumeMode", "Filesystem");
    }
}

fn persistent_volume_claim(o: &mut Object) {
    if let Some(status) = object_mut(o, "status") {
        empty(status, "phase", "Pending");
    }
}

fn endpoints(o: &mut Object) {
    for subset in items_mut(o, "subsets") {
        for port in items_mut(subset, "ports") {
            empty(port, "protocol", "TCP");
        }
    }
}

/// Every named namespace carries its name as a label.
fn namespace(o: &mut Object) {
    let Some(meta) = object_mut(o, "metadata") else { return };
    let name = text(meta, "name").to_owned();
    if !name.is_empty()
        && let Some(labels) = object_mut(meta, "labels")
    {
        labels.insert("kubernetes.io/metadata.name".into(), name.into());
    }
}

fn node_status(o: &mut Object) {
    if let Some(capacity) = o.get("capacity").filter(|c| c.is_object()).cloned() {
        absent(o, "allocatable", capacity);
    }
}

/// Of a container's limits: the default limit is the maximum, the default request the default limit or the minimum.
fn limit_range_item(o: &mut Object) {
    if text(o, "type") != "Container" {
        return;
    }
    for (to, from) in [
        ("default", "max"),
        ("defaultRequest", "default"),
        ("defaultRequest", "min"),
    ] {
        let Some(source) = object(o, from).filter(|s| !s.is_empty()).cloned() else {
            continue;
        };
        if let Some(target) = object_mut(o, to) {
            for (name, amount) in source {
                target.entry(name).or_insert(amount);
            }
        }
    }
}
