//! The default strategy: status belongs to the `status` subresource, everything else to the main resource,
//! and a changed spec raises `metadata.generation` where the kind counts generations.
use super::{Context, Strategy, tree};
use keelson_machinery::resources::Resource;
use serde_json::Value;

/// Metadata rules only.
pub struct Default;
impl Strategy for Default {}

fn has_status(r: &Resource) -> bool {
    r.subresources.iter().any(|s| s.name == "status")
}

/// Kinds whose objects upstream gives a generation at create. The rest have none.
pub fn counts_generations(r: &Resource) -> bool {
    matches!(
        (r.group, r.plural),
        ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets")
            | ("batch", "jobs" | "cronjobs")
            | ("", "pods" | "replicationcontrollers")
            | ("networking.k8s.io", "ingresses" | "networkpolicies" | "ingressclasses")
            | ("policy", "poddisruptionbudgets")
            | ("scheduling.k8s.io", "priorityclasses")
            | ("flowcontrol.apiserver.k8s.io", _)
            | ("admissionregistration.k8s.io", _)
            | ("apiextensions.k8s.io", _)
            | ("resource.k8s.io", "resourceslices" | "deviceclasses")
            | ("storage.k8s.io", "csidrivers")
    )
}

pub fn prepare_for_create(c: &Context<'_>, object: &mut Value) {
    if has_status(c.resource)
        && let Some(o) = object.as_object_mut()
    {
        o.remove("status");
    }
    if counts_generations(c.resource) {
        tree::set(object, "metadata", "generation", 1.into());
    } else {
        tree::remove(object, "metadata", "generation");
    }
}

pub fn prepare_for_update(c: &Context<'_>, object: &mut Value, old: &Value) {
    match c.subresource {
        "status" => keep_all_but_status(object, old),
        "" => {
            if has_status(c.resource) {
                tree::keep(object, old, "status");
            }
            set_generation(c.resource, object, old);
        }
        _ => {}
    }
}

/// A status update brings its status, and of metadata the managed fields and what the registry guards by.
pub fn keep_all_but_status(object: &mut Value, old: &Value) {
    let Some(new) = object.as_object_mut() else { return };
    let status = new.remove("status");
    let mut metadata = old.get("metadata").cloned().unwrap_or_default();
    if let Some(m) = metadata.as_object_mut() {
        for key in ["managedFields", "resourceVersion", "uid", "name", "namespace"] {
            match new.get("metadata").and_then(|x| x.get(key)) {
                Some(v) => m.insert(key.to_owned(), v.clone()),
                None if key == "managedFields" => m.remove(key),
                None => None,
            };
        }
    }
    let kept: Vec<(String, Value)> = tree::entries(old)
        .filter(|(k, _)| !matches!(k.as_str(), "status" | "metadata" | "apiVersion" | "kind"))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    new.retain(|k, _| matches!(k.as_str(), "apiVersion" | "kind"));
    new.insert("metadata".into(), metadata);
    new.extend(kept);
    if let Some(s) = status {
        new.insert("status".into(), s);
    }
}

/// Generation goes up when anything but metadata and status changed (for kinds that count it).
pub fn set_generation(r: &Resource, object: &mut Value, old: &Value) {
    let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
    if !counts_generations(r) {
        tree::keep_in(object, old, "metadata", "generation");
        return;
    }
    let changed = tree::entries(object)
        .chain(tree::entries(old))
        .map(|(k, _)| k.as_str())
        .filter(|k| !matches!(*k, "metadata" | "status" | "apiVersion" | "kind"))
        .any(|k| !tree::same(&object[k], &old[k]));
    tree::set(
        object,
        "metadata",
        "generation",
        (generation + i64::from(changed)).into(),
    );
}

/// A scalar at a dotted path as field selectors compare it; empty when absent.
pub fn scalar_at(object: &Value, path: &str) -> String {
    let v = path.split('.').fold(object, |v, key| &v[key]);
    match v {
        Value::String(s) => s.clone(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        _ => String::new(),
    }
}
