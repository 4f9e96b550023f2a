//! Pods (upstream: pkg/registry/core/pod/strategy.go).
use super::{Context, Strategy, standard, tree};
use keelson_machinery::status::FieldError;
use serde_json::{Value, json};
use tree::{items, text};

mod container;
mod probe;
mod qos;
pub(super) use probe::port;
pub mod spec;
mod update;
mod volumes;

pub use qos::class as qos_class;

/// Required, and one of a few words.
pub(super) fn one_of(v: &Value, field: &str, allowed: &[&str], errors: &mut Vec<FieldError>) {
    container::one_of(v, field.to_owned(), allowed, errors);
}

pub struct Pod;

impl Strategy for Pod {
    fn prepare_for_create(&self, _c: &Context<'_>, object: &mut Value) {
        let mut status = json!({"phase": "Pending", "qosClass": qos::class(object)});
        if !tree::is_empty(&object["spec"]["schedulingGates"]) {
            status["conditions"] = json!([{
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }]);
        }
        tree::set(object, "metadata", "generation", 1.into());
        if let Some(o) = object.as_object_mut() {
            o.insert("status".into(), status);
        }
    }

    fn prepare_for_update(&self, c: &Context<'_>, object: &mut Value, old: &Value) {
        match c.subresource {
            "status" => {
                standard::keep_all_but_status(object, old);
                tree::keep_in(object, old, "metadata", "ownerReferences");
                if text(&object["status"]["qosClass"]).is_empty() {
                    tree::keep_in(object, old, "status", "qosClass");
                }
                keep_observed_generations(object, old);
            }
            "ephemeralcontainers" => {
                let ephemeral = object["spec"]["ephemeralContainers"].clone();
                tree::keep(object, old, "spec");
                tree::keep(object, old, "status");
                if !ephemeral.is_null() {
                    tree::set(object, "spec", "ephemeralContainers", ephemeral);
                }
                standard::set_generation(c.resource, object, old);
            }
            "resize" => {
                tree::keep(object, old, "status");
                keep_all_but_resources(object, old);
                standard::set_generation(c.resource, object, old);
            }
            _ => {
                tree::keep(object, old, "status");
                standard::set_generation(c.resource, object, old);
            }
        }
    }

    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = spec::validate(&object["spec"], "spec");
        if text(&object["spec"]["serviceAccountName"]).is_empty() {
            for (i, v) in items(&object["spec"]["volumes"]).iter().enumerate() {
                for (j, s) in items(&v["projected"]["sources"]).iter().enumerate() {
                    if s["serviceAccountToken"].is_object() {
                        errors.push(FieldError::forbidden(
                            format!("spec.volumes[{i}].projected.sources[{j}].serviceAccountToken"),
                            "must not be specified when serviceAccountName is not set",
                        ));
                    }
                }
            }
        }
        errors
    }

    fn validate_update(&self, c: &Context<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        match c.subresource {
            "status" => update::status(object, old),
            "ephemeralcontainers" => update::ephemeral(object, old),
            "resize" => spec::validate(&object["spec"], "spec"),
            // The binding writes nodeName; that is its purpose.
            "binding" | "eviction" => Vec::new(),
            _ => update::main(self.validate(c, object), object, old),
        }
    }

    fn warnings(&self, _c: &Context<'_>, object: &Value) -> Vec<String> {
        let messages = super::names::dns_label(text(&object["metadata"]["name"]));
        if messages.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
            messages.join(" ")
        )]
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ]
    }

    fn selectable_field(&self, object: &Value, path: &str) -> String {
        match path {
            "spec.hostNetwork" => object["spec"]["hostNetwork"].as_bool().unwrap_or(false).to_string(),
            "status.podIPs" => {
                let ips = items(&object["status"]["podIPs"]).iter().map(|p| text(&p["ip"]));
                ips.collect::<Vec<_>>().join(",")
            }
            _ => standard::scalar_at(object, path),
        }
    }

    fn grace_period_seconds(&self, object: &Value, asked: Option<i64>) -> Option<i64> {
        let period = asked
            .or_else(|| object["spec"]["terminationGracePeriodSeconds"].as_i64())
            .unwrap_or(0);
        let never_ran = text(&object["spec"]["nodeName"]).is_empty();
        let finished = matches!(text(&object["status"]["phase"]), "Failed" | "Succeeded");
        Some(match period {
            _ if never_ran || finished => 0,
            p if p < 0 => 1,
            p => p,
        })
    }
}

fn keep_observed_generations(object: &mut Value, old: &Value) {
    if object["status"]["observedGeneration"].as_i64().unwrap_or(0) == 0
        && !old["status"]["observedGeneration"].is_null()
    {
        tree::keep_in(object, old, "status", "observedGeneration");
    }
    let before = items(&old["status"]["conditions"]);
    let Some(conditions) = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut) else {
        return;
    };
    for c in conditions {
        if c["observedGeneration"].as_i64().unwrap_or(0) != 0 {
            continue;
        }
        let same = before.iter().find(|b| b["type"] == c["type"]);
        if let (Some(g), Some(c)) = (same.and_then(|b| b.get("observedGeneration")), c.as_object_mut()) {
            c.insert("observedGeneration".into(), g.clone());
        }
    }
}

fn keep_all_but_resources(object: &mut Value, old: &Value) {
    let mut spec = old["spec"].clone();
    for list in ["containers", "initContainers"] {
        let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        for c in containers {
            let new = items(&object["spec"][list]).iter().find(|n| n["name"] == c["name"]);
            if let (Some(new), true) = (new, c.is_object()) {
                tree::keep(c, new, "resources");
                tree::keep(c, new, "resizePolicy");
            }
        }
    }
    if let Some(o) = object.as_object_mut() {
        o.insert("spec".into(), spec);
    }
}

#[cfg(test)]
mod tests;
