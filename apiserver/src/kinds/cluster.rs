//! Namespaces, nodes and storage objects.
use super::pod::spec::effect;
use super::{Context, Strategy, names, standard, tree};
use keelson_machinery::status::FieldError;
use serde_json::{Value, json};
use std::collections::HashSet;
use tree::{invalid_each, items, text};

pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub struct Namespace;

fn label_with_name(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    if !tree::is_empty(&name)
        && let Some(m) = tree::child(object, "metadata")
    {
        let labels = m.entry("labels").or_insert(Value::Null);
        if labels.is_null() {
            *labels = json!({});
        }
        if let Some(l) = labels.as_object_mut() {
            l.insert(NAMESPACE_NAME_LABEL.into(), name);
        }
    }
}

impl Strategy for Namespace {
    fn prepare_for_create(&self, _c: &Context<'_>, object: &mut Value) {
        let mut finalizers = items(&object["spec"]["finalizers"]).to_vec();
        if !finalizers.iter().any(|f| f == "kubernetes") {
            finalizers.push("kubernetes".into());
        }
        tree::set(object, "spec", "finalizers", finalizers.into());
        if let Some(o) = object.as_object_mut() {
            o.insert("status".into(), json!({"phase": "Active"}));
        }
        label_with_name(object);
    }

    fn prepare_for_update(&self, c: &Context<'_>, object: &mut Value, old: &Value) {
        match c.subresource {
            "status" => standard::keep_all_but_status(object, old),
            "finalize" => tree::keep(object, old, "status"),
            _ => {
                tree::keep(object, old, "status");
                tree::keep(object, old, "spec");
                label_with_name(object);
            }
        }
    }

    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for f in items(&object["spec"]["finalizers"]) {
            let name = text(f);
            invalid_each("spec.finalizers", name, names::qualified_name(name), &mut errors);
        }
        errors
    }

    fn validate_update(&self, c: &Context<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if c.subresource == "status" {
            let (deleting, phase) = (
                !old["metadata"]["deletionTimestamp"].is_null(),
                text(&object["status"]["phase"]),
            );
            if !deleting && phase != "Active" {
                let why = "may only be 'Active' if `deletionTimestamp` is empty";
                errors.push(FieldError::invalid("status.Phase", &phase.into(), why));
            } else if deleting && phase != "Terminating" {
                let why = "may only be 'Terminating' if `deletionTimestamp` is not empty";
                errors.push(FieldError::invalid("status.Phase", &phase.into(), why));
            }
        }
        errors
    }

    fn name_rule(&self) -> names::Rule {
        names::Rule::DnsLabel
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.phase"]
    }
}

pub struct Node;

impl Strategy for Node {
    /// A kubelet registers with its status.
    fn prepare_for_create(&self, _c: &Context<'_>, object: &mut Value) {
        tree::remove(object, "metadata", "generation");
    }

    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut seen = HashSet::new();
        for (i, t) in items(&object["spec"]["taints"]).iter().enumerate() {
            let path = format!("metadata.taints[{i}]");
            let (key, value) = (text(&t["key"]), text(&t["value"]));
            invalid_each(&format!("{path}.key"), key, names::qualified_name(key), &mut errors);
            let wrong = names::label_value(value);
            if !wrong.is_empty() {
                let at = format!("{path}.value");
                errors.push(FieldError::invalid(at, &value.into(), &wrong.join(";")));
            }
            effect(&t["effect"], format!("{path}.effect"), false, &mut errors);
            if !seen.insert((key, text(&t["effect"]))) {
                let mut duplicate = FieldError::duplicate(path, t);
                duplicate.message += ": taints must be unique by key and effect pair";
                errors.push(duplicate);
            }
        }
        errors
    }

    fn validate_update(&self, c: &Context<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(c, object);
        let mut seen = HashSet::new();
        for (i, a) in items(&object["status"]["addresses"]).iter().enumerate() {
            if !seen.insert((text(&a["type"]), text(&a["address"]))) {
                errors.push(FieldError::duplicate(format!("status.addresses[{i}]"), a));
            }
        }
        let before = &old["spec"]["podCIDRs"];
        if !items(before).is_empty() && object["spec"]["podCIDRs"] != *before {
            let why = "node updates may not change podCIDR except from \"\" to valid";
            errors.push(FieldError::forbidden("spec.podCIDRs", why));
        }
        let provider = text(&old["spec"]["providerID"]);
        if !provider.is_empty() && text(&object["spec"]["providerID"]) != provider {
            let why = "node updates may not change providerID except from \"\" to valid";
            errors.push(FieldError::forbidden("spec.providerID", why));
        }
        errors
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn selectable_field(&self, object: &Value, path: &str) -> String {
        match path {
            "spec.unschedulable" => object["spec"]["unschedulable"].as_bool().unwrap_or(false).to_string(),
            _ => standard::scalar_at(object, path),
        }
    }
}

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

fn access_modes(spec: &Value, errors: &mut Vec<FieldError>) {
    let modes = items(&spec["accessModes"]);
    if modes.is_empty() {
        errors.push(FieldError::required(
            "spec.accessModes",
            "at least 1 access mode is required",
        ));
    }
    for m in modes {
        if !ACCESS_MODES.contains(&text(m)) {
            errors.push(FieldError::not_supported("spec.accessModes", m, &ACCESS_MODES));
        }
    }
    if modes.len() > 1 && modes.iter().any(|m| m == "ReadWriteOncePod") {
        let why = "may not use ReadWriteOncePod with other access modes";
        errors.push(FieldError::forbidden("spec.accessModes", why));
    }
}

pub struct PersistentVolumeClaim;

impl Strategy for PersistentVolumeClaim {
    fn prepare_for_create(&self, _c: &Context<'_>, object: &mut Value) {
        tree::remove(object, "metadata", "generation");
        if let Some(o) = object.as_object_mut() {
            o.insert("status".into(), json!({"phase": "Pending"}));
        }
    }

    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        access_modes(&object["spec"], &mut errors);
        if object["spec"]["resources"]["requests"]["storage"].is_null() {
            errors.push(FieldError::required("spec.resources[storage]", ""));
        }
        errors
    }

    fn validate_update(&self, c: &Context<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        if !c.subresource.is_empty() {
            return Vec::new();
        }
        let mut errors = self.validate(c, object);
        let mut compared = object["spec"].clone();
        for key in ["resources", "volumeAttributesClassName"] {
            tree::keep(&mut compared, &old["spec"], key);
        }
        if text(&old["spec"]["volumeName"]).is_empty() {
            tree::keep(&mut compared, &old["spec"], "volumeName");
        }
        if old["spec"]["storageClassName"].is_null() {
            tree::keep(&mut compared, &old["spec"], "storageClassName");
        }
        if !tree::same(&compared, &old["spec"]) {
            let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
            errors.push(FieldError::forbidden("spec", why));
        }
        errors
    }
}

pub struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn prepare_for_create(&self, _c: &Context<'_>, object: &mut Value) {
        tree::remove(object, "metadata", "generation");
        let now = jiff::Timestamp::now().as_second();
        let now = jiff::Timestamp::from_second(now)
            .map(|t| t.to_string())
            .unwrap_or_default();
        if let Some(o) = object.as_object_mut() {
            o.insert(
                "status".into(),
                json!({"phase": "Pending", "lastPhaseTransitionTime": now}),
            );
        }
    }

    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        access_modes(&object["spec"], &mut errors);
        if tree::is_empty(&object["spec"]["capacity"]) {
            errors.push(FieldError::required("spec.capacity", ""));
        }
        super::pod::one_of(
            &object["spec"]["persistentVolumeReclaimPolicy"],
            "spec.persistentVolumeReclaimPolicy",
            &["Delete", "Recycle", "Retain"],
            &mut errors,
        );
        errors
    }
}
