//! Kinds whose strategy differs from the default only in a few switches and rules.
use super::workloads::{label_selector, non_negative};
use super::{Context, Strategy, names, standard, tree};
use keelson_machinery::status::FieldError;
use serde_json::Value;
use tree::{immutable, items, text};

/// Metadata rules only, with the switches that upstream sets for the kind.
pub struct Plain {
    pub unconditional_update: bool,
    pub create_on_update: bool,
}

impl Strategy for Plain {
    fn allow_unconditional_update(&self) -> bool {
        self.unconditional_update
    }
    fn allow_create_on_update(&self) -> bool {
        self.create_on_update
    }
}

pub struct Event;

impl Strategy for Event {
    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        // Core events say `involvedObject`, those of events.k8s.io `regarding`.
        let about = match &object["involvedObject"] {
            Value::Null => &object["regarding"],
            o => o,
        };
        let (mine, theirs) = (text(&object["metadata"]["namespace"]), text(&about["namespace"]));
        let expected = if theirs.is_empty() { "default" } else { theirs };
        let mut errors = Vec::new();
        let cluster_scoped = theirs.is_empty() && matches!(mine, "default" | "kube-system");
        if mine != expected && !cluster_scoped {
            let why = "does not match event.namespace";
            errors.push(FieldError::invalid("involvedObject.namespace", &theirs.into(), why));
        }
        errors
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ]
    }

    fn selectable_field(&self, object: &Value, path: &str) -> String {
        let component = text(&object["source"]["component"]);
        let reporter = [&object["reportingComponent"], &object["reportingController"]]
            .into_iter()
            .map(text)
            .find(|s| !s.is_empty())
            .unwrap_or_default();
        match path {
            "source" if component.is_empty() => reporter.to_owned(),
            "source" => component.to_owned(),
            "reportingComponent" => reporter.to_owned(),
            _ => match path.strip_prefix("involvedObject.") {
                Some(rest) if object["involvedObject"].is_null() => standard::scalar_at(&object["regarding"], rest),
                _ => standard::scalar_at(object, path),
            },
        }
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

pub struct Lease;

impl Strategy for Lease {
    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let spec = &object["spec"];
        let duration = &spec["leaseDurationSeconds"];
        if duration.as_i64().is_some_and(|n| n <= 0) {
            let why = "must be greater than 0";
            errors.push(FieldError::invalid("spec.leaseDurationSeconds", duration, why));
        }
        non_negative(spec, "spec", &["leaseTransitions"], &mut errors);
        errors
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    fn allow_create_on_update(&self) -> bool {
        true
    }
}

pub struct PriorityClass;

/// Users' priorities end here; above are the system's.
const PRIORITY_MAX: i64 = 1_000_000_000;

impl Strategy for PriorityClass {
    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let name = text(&object["metadata"]["name"]);
        let value = object["value"].as_i64().unwrap_or(0);
        if name.starts_with("system-") {
            if !matches!(name, "system-node-critical" | "system-cluster-critical") {
                let why = "priority class names with 'system-' prefix are reserved for system use only. error: ";
                let why = format!("{why}{name} is not a known system priority class");
                errors.push(FieldError::forbidden("metadata.name", &why));
            }
        } else if value > PRIORITY_MAX {
            let why = format!("maximum allowed value of a user defined priority is {PRIORITY_MAX}");
            errors.push(FieldError::forbidden("value", &why));
        }
        let policy = text(&object["preemptionPolicy"]);
        if !matches!(policy, "" | "Never" | "PreemptLowerPriority") {
            let allowed = ["PreemptLowerPriority", "Never"];
            errors.push(FieldError::not_supported("preemptionPolicy", &policy.into(), &allowed));
        }
        errors
    }

    fn validate_update(&self, c: &Context<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(c, object);
        if object["value"].as_i64().unwrap_or(0) != old["value"].as_i64().unwrap_or(0) {
            errors.push(FieldError::forbidden("value", "may not be changed in an update."));
        }
        immutable(
            "preemptionPolicy",
            &object["preemptionPolicy"],
            &old["preemptionPolicy"],
            &mut errors,
        );
        errors
    }
}

pub struct PodDisruptionBudget;

impl Strategy for PodDisruptionBudget {
    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let spec = &object["spec"];
        if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
            let why = "minAvailable and maxUnavailable cannot be both set";
            errors.push(FieldError::invalid("spec", spec, why));
        }
        non_negative(spec, "spec", &["minAvailable", "maxUnavailable"], &mut errors);
        label_selector(&spec["selector"], "spec.selector", &mut errors);
        errors
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

pub struct HorizontalPodAutoscaler;

impl Strategy for HorizontalPodAutoscaler {
    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let spec = &object["spec"];
        let (min, max) = (
            spec["minReplicas"].as_i64().unwrap_or(1),
            spec["maxReplicas"].as_i64().unwrap_or(0),
        );
        if min < 1 {
            let why = "must be greater than or equal to 1";
            errors.push(FieldError::invalid("spec.minReplicas", &min.into(), why));
        }
        if max < 1 {
            errors.push(FieldError::invalid(
                "spec.maxReplicas",
                &max.into(),
                "must be greater than 0",
            ));
        } else if max < min {
            let why = "must be greater than or equal to `minReplicas`";
            errors.push(FieldError::invalid("spec.maxReplicas", &max.into(), why));
        }
        for key in ["kind", "name"] {
            if text(&spec["scaleTargetRef"][key]).is_empty() {
                errors.push(FieldError::required(format!("spec.scaleTargetRef.{key}"), ""));
            }
        }
        errors
    }
}

pub struct StorageClass;

impl Strategy for StorageClass {
    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if text(&object["provisioner"]).is_empty() {
            errors.push(FieldError::required("provisioner", ""));
        }
        errors
    }

    fn validate_update(&self, _c: &Context<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for key in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            if !tree::same(&object[key], &old[key]) {
                let why = format!("updates to {key} are forbidden.");
                errors.push(FieldError::forbidden(key, &why));
            }
        }
        errors
    }
}

/// CertificateSigningRequests: what was asked for never changes, and who asked is set by admission.
pub struct CertificateSigningRequest;

impl Strategy for CertificateSigningRequest {
    fn prepare_for_update(&self, c: &Context<'_>, object: &mut Value, old: &Value) {
        tree::keep(object, old, "spec");
        match c.subresource {
            // Approval changes Approved, Denied and Failed only; status everything but those.
            "approval" => merge_conditions(object, old, true),
            "status" => merge_conditions(object, old, false),
            _ => tree::keep(object, old, "status"),
        }
    }

    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for key in ["request", "signerName"] {
            if text(&object["spec"][key]).is_empty() {
                errors.push(FieldError::required(format!("spec.{key}"), ""));
            }
        }
        if items(&object["spec"]["usages"]).is_empty() {
            errors.push(FieldError::required("spec.usages", ""));
        }
        errors
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }
}

fn merge_conditions(object: &mut Value, old: &Value, approval: bool) {
    let decides = |c: &Value| matches!(text(&c["type"]), "Approved" | "Denied");
    let new = items(&object["status"]["conditions"]).to_vec();
    let before = items(&old["status"]["conditions"]);
    let merged: Vec<Value> = if approval {
        let kept = before.iter().filter(|c| !decides(c)).cloned();
        kept.chain(new.into_iter().filter(decides)).collect()
    } else {
        let kept = before.iter().filter(|c| decides(c)).cloned();
        kept.chain(new.into_iter().filter(|c| !decides(c))).collect()
    };
    if approval {
        tree::keep(object, old, "status");
    }
    if !merged.is_empty() {
        tree::set(object, "status", "conditions", merged.into());
    }
}

/// Custom resource definitions and the like, whose names follow another rule.
pub struct Named {
    pub rule: names::Rule,
}

impl Strategy for Named {
    fn name_rule(&self) -> names::Rule {
        self.rule
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
}
