//! Rules on metadata that hold for every kind (upstream: apimachinery/pkg/api/validation/objectmeta.go).
use super::names::{self, Rule};
use super::tree::{entries, immutable, invalid_each, items, same, text};
use keelson_machinery::{resources::Resource, status::FieldError};
use serde_json::Value;

/// All annotations of an object, keys and values.
pub const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

pub fn validate(resource: &Resource, rule: Rule, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let m = &object["metadata"];
    let prefix = text(&m["generateName"]);
    if !prefix.is_empty() {
        invalid_each("metadata.generateName", prefix, rule.check(prefix, true), &mut errors);
    }
    let name = text(&m["name"]);
    if name.is_empty() {
        errors.push(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else {
        invalid_each("metadata.name", name, rule.check(name, false), &mut errors);
    }
    let namespace = text(&m["namespace"]);
    match (resource.namespaced, namespace.is_empty()) {
        (true, true) => errors.push(FieldError::required("metadata.namespace", "")),
        (true, false) => invalid_each(
            "metadata.namespace",
            namespace,
            names::dns_label(namespace),
            &mut errors,
        ),
        (false, false) => errors.push(FieldError::forbidden("metadata.namespace", "not allowed on this type")),
        (false, true) => {}
    }
    common(m, &mut errors);
    finalizers(m, &mut errors);
    errors
}

pub fn validate_update(_resource: &Resource, _rule: Rule, object: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (m, o) = (&object["metadata"], &old["metadata"]);
    if !o["deletionTimestamp"].is_null() {
        let mut extra: Vec<&str> = items(&m["finalizers"])
            .iter()
            .filter(|f| !items(&o["finalizers"]).contains(f))
            .map(text)
            .collect();
        extra.sort_unstable();
        if !extra.is_empty() {
            let list = extra.iter().map(|f| format!("{f:?}")).collect::<Vec<_>>().join(", ");
            errors.push(FieldError::forbidden(
                "metadata.finalizers",
                &format!("no new finalizers can be added if the object is being deleted, found new finalizers []string{{{list}}}"),
            ));
        }
    }
    if text(&m["resourceVersion"]).is_empty() {
        errors.push(FieldError::invalid(
            "metadata.resourceVersion",
            &Value::from(text(&m["resourceVersion"])),
            "must be specified for an update",
        ));
    }
    let generation = m["generation"].as_i64().unwrap_or(0);
    if generation < o["generation"].as_i64().unwrap_or(0) {
        errors.push(FieldError::invalid(
            "metadata.generation",
            &generation.into(),
            "must not be decremented",
        ));
    }
    for key in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        immutable(&format!("metadata.{key}"), &m[key], &o[key], &mut errors);
    }
    common(m, &mut errors);
    if !same(&m["finalizers"], &o["finalizers"]) {
        finalizers(m, &mut errors);
    }
    errors
}

fn common(m: &Value, errors: &mut Vec<FieldError>) {
    labels(&m["labels"], "metadata.labels", errors);
    annotations(&m["annotations"], "metadata.annotations", errors);
    owners(&m["ownerReferences"], errors);
}

pub fn labels(v: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for (k, v) in entries(v) {
        invalid_each(field, k, names::qualified_name(k), errors);
        invalid_each(field, text(v), names::label_value(text(v)), errors);
    }
}

pub fn annotations(v: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let mut size = 0;
    for (k, v) in entries(v) {
        invalid_each(field, k, names::qualified_name(&k.to_lowercase()), errors);
        size += k.len() + text(v).len();
    }
    if size > ANNOTATIONS_BYTES_MAX {
        errors.push(too_long(field, ANNOTATIONS_BYTES_MAX));
    }
}

pub fn too_long(field: &str, limit_bytes: usize) -> FieldError {
    FieldError {
        field: field.to_owned(),
        reason: "FieldValueTooLong",
        message: format!("Too long: may not be more than {limit_bytes} bytes"),
    }
}

fn owners(v: &Value, errors: &mut Vec<FieldError>) {
    let field = "metadata.ownerReferences";
    let mut controller: Option<String> = None;
    for r in items(v) {
        let version = text(&r["apiVersion"]);
        if version.is_empty() || version.ends_with('/') {
            errors.push(FieldError::invalid(
                format!("{field}.apiVersion"),
                &version.into(),
                "version must not be empty",
            ));
        }
        for key in ["kind", "name", "uid"] {
            if text(&r[key]).is_empty() {
                errors.push(FieldError::invalid(
                    format!("{field}.{key}"),
                    &"".into(),
                    "must not be empty",
                ));
            }
        }
        if version == "v1" && text(&r["kind"]) == "Event" {
            errors.push(FieldError::invalid(
                field,
                r,
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
        if r["controller"].as_bool() == Some(true) {
            let this = format!("{}/{}", text(&r["kind"]), text(&r["name"]));
            match &controller {
                None => controller = Some(this),
                Some(first) => errors.push(FieldError::invalid(
                    field,
                    v,
                    &format!("Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"),
                )),
            }
        }
    }
}

fn finalizers(m: &Value, errors: &mut Vec<FieldError>) {
    let field = "metadata.finalizers";
    let list = items(&m["finalizers"]);
    for f in list {
        invalid_each(field, text(f), names::qualified_name(text(f)), errors);
    }
    let has = |name: &str| list.iter().any(|f| f == name);
    if has("orphan") && has("foregroundDeletion") {
        errors.push(FieldError::invalid(
            field,
            &m["finalizers"],
            "finalizer orphan and foregroundDeletion cannot be both set",
        ));
    }
}
