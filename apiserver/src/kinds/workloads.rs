//! Deployments, ReplicaSets, StatefulSets, DaemonSets and ReplicationControllers
//! (upstream: pkg/apis/apps/validation, pkg/registry/apps).
use super::pod::spec as pod_spec;
use super::{Context, Strategy, meta, names, standard, tree};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use keelson_machinery::{labels::Selector, status::FieldError};
use serde_json::Value;
use tree::{immutable, invalid_each, items, text};

/// `must be greater than or equal to 0` for those of the fields that are set.
pub(super) fn non_negative(v: &Value, field: &str, keys: &[&str], errors: &mut Vec<FieldError>) {
    for key in keys {
        if v[*key].as_i64().is_some_and(|n| n < 0) {
            let why = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(format!("{field}.{key}"), &v[*key], why));
        }
    }
}

/// A pod template's labels, annotations and spec.
pub(super) fn template(t: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let m = &t["metadata"];
    meta::labels(&m["labels"], &format!("{field}.labels"), errors);
    meta::annotations(&m["annotations"], &format!("{field}.annotations"), errors);
    errors.extend(pod_spec::validate(&t["spec"], &format!("{field}.spec")));
    if !items(&t["spec"]["ephemeralContainers"]).is_empty() {
        let at = format!("{field}.spec.ephemeralContainers");
        errors.push(FieldError::forbidden(
            at,
            "ephemeral containers not allowed in pod template",
        ));
    }
}

pub(super) fn label_selector(v: &Value, field: &str, errors: &mut Vec<FieldError>) {
    meta::labels(&v["matchLabels"], &format!("{field}.matchLabels"), errors);
    for (i, r) in items(&v["matchExpressions"]).iter().enumerate() {
        let path = format!("{field}.matchExpressions[{i}]");
        let values = items(&r["values"]).len();
        match text(&r["operator"]) {
            "In" | "NotIn" if values == 0 => errors.push(FieldError::required(
                format!("{path}.values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if values > 0 => errors.push(FieldError::forbidden(
                format!("{path}.values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.push(FieldError::invalid(
                format!("{path}.operator"),
                &r["operator"],
                "not a valid selector operator",
            )),
        }
        let key = text(&r["key"]);
        invalid_each(&format!("{path}.key"), key, names::qualified_name(key), errors);
    }
}

/// The selector is there, says something, and selects the template.
fn selects_template(spec: &Value, what: &str, errors: &mut Vec<FieldError>) {
    let s = &spec["selector"];
    if !s.is_object() {
        errors.push(FieldError::required("spec.selector", ""));
        return;
    }
    label_selector(s, "spec.selector", errors);
    if tree::is_empty(s) {
        let why = format!("empty selector is invalid for {what}");
        errors.push(FieldError::invalid("spec.selector", s, &why));
    }
    let parsed = serde_json::from_value::<LabelSelector>(s.clone())
        .ok()
        .and_then(|s| Selector::from_structured(&s).ok());
    let labels = &spec["template"]["metadata"]["labels"];
    match parsed {
        None => errors.push(FieldError::invalid("spec.selector", s, "invalid label selector")),
        Some(p) => {
            if !p.is_empty() && !p.matches(|k| labels[k].as_str()) {
                errors.push(FieldError::invalid(
                    "spec.template.metadata.labels",
                    labels,
                    "`selector` does not match template `labels`",
                ));
            }
        }
    }
}

fn always_restarts(spec: &Value, kind: &str, errors: &mut Vec<FieldError>) {
    let pod = &spec["template"]["spec"];
    if text(&pod["restartPolicy"]) != "Always" {
        errors.push(FieldError::not_supported(
            "spec.template.spec.restartPolicy",
            &pod["restartPolicy"],
            &["Always"],
        ));
    }
    if !pod["activeDeadlineSeconds"].is_null() {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden("spec.template.spec.activeDeadlineSeconds", &why));
    }
}

/// A count or a percentage; the number when it can be read (`percent` marks which).
struct IntOrPercent {
    value: i64,
    percent: bool,
}

fn int_or_percent(v: &Value, field: &str, errors: &mut Vec<FieldError>) -> Option<IntOrPercent> {
    match v {
        Value::Null => None,
        Value::String(s) => match s.strip_suffix('%').and_then(|n| n.parse::<i64>().ok()) {
            Some(value) if value >= 0 => Some(IntOrPercent { value, percent: true }),
            _ => {
                let why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
                errors.push(FieldError::invalid(field, v, why));
                None
            }
        },
        _ => {
            let value = v.as_i64().unwrap_or(0);
            if value < 0 {
                errors.push(FieldError::invalid(field, v, "must be greater than or equal to 0"));
            }
            Some(IntOrPercent { value, percent: false })
        }
    }
}

fn rolling_update(r: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let at = format!("{field}.maxUnavailable");
    let unavailable = int_or_percent(&r["maxUnavailable"], &at, errors);
    let surge = int_or_percent(&r["maxSurge"], &format!("{field}.maxSurge"), errors);
    let zero = |x: &Option<IntOrPercent>| x.as_ref().is_none_or(|x| x.value == 0);
    if zero(&unavailable) && zero(&surge) {
        errors.push(FieldError::invalid(
            &at,
            &r["maxUnavailable"],
            "may not be 0 when `maxSurge` is 0",
        ));
    }
    if unavailable.is_some_and(|u| u.percent && u.value > 100) {
        errors.push(FieldError::invalid(
            &at,
            &r["maxUnavailable"],
            "must not be greater than 100%",
        ));
    }
}

pub struct Deployment;

impl Strategy for Deployment {
    fn prepare_for_update(&self, c: &Context<'_>, object: &mut Value, old: &Value) {
        standard::prepare_for_update(c, object, old);
        // Upstream: annotations count too, for they are copied to the ReplicaSets.
        let (a, b) = (&object["metadata"], &old["metadata"]);
        if c.subresource.is_empty()
            && a["generation"] == b["generation"]
            && !tree::same(&a["annotations"], &b["annotations"])
        {
            let next = b["generation"].as_i64().unwrap_or(0) + 1;
            tree::set(object, "metadata", "generation", next.into());
        }
    }

    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (e, spec) = (&mut errors, &object["spec"]);
        non_negative(spec, "spec", &["replicas"], e);
        selects_template(spec, "deployment", e);
        template(&spec["template"], "spec.template", e);
        always_restarts(spec, "ReplicaSet", e);
        let s = &spec["strategy"];
        match text(&s["type"]) {
            "Recreate" if s["rollingUpdate"].is_object() => e.push(FieldError::forbidden(
                "spec.strategy.rollingUpdate",
                "may not be specified when strategy `type` is 'Recreate'",
            )),
            "Recreate" => {}
            "RollingUpdate" => rolling_update(&s["rollingUpdate"], "spec.strategy.rollingUpdate", e),
            _ => e.push(FieldError::not_supported(
                "spec.strategy",
                s,
                &["Recreate", "RollingUpdate"],
            )),
        }
        non_negative(
            spec,
            "spec",
            &["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"],
            e,
        );
        if let Some(deadline) = spec["progressDeadlineSeconds"].as_i64()
            && deadline <= spec["minReadySeconds"].as_i64().unwrap_or(0)
        {
            let why = "must be greater than minReadySeconds";
            e.push(FieldError::invalid(
                "spec.progressDeadlineSeconds",
                &deadline.into(),
                why,
            ));
        }
        errors
    }

    fn validate_update(&self, c: &Context<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if c.subresource == "status" {
            replica_counts(&object["status"], &mut errors);
            return errors;
        }
        if c.subresource.is_empty() {
            errors = self.validate(c, object);
            selector_is_immutable(object, old, &mut errors);
        }
        errors
    }

    fn warnings(&self, _c: &Context<'_>, _object: &Value) -> Vec<String> {
        Vec::new()
    }
}

fn selector_is_immutable(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    immutable(
        "spec.selector",
        &object["spec"]["selector"],
        &old["spec"]["selector"],
        errors,
    );
}

fn replica_counts(status: &Value, errors: &mut Vec<FieldError>) {
    non_negative(
        status,
        "status",
        &[
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "fullyLabeledReplicas",
            "collisionCount",
        ],
        errors,
    );
    let total = status["replicas"].as_i64().unwrap_or(0);
    for key in [
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "fullyLabeledReplicas",
    ] {
        if status[key].as_i64().unwrap_or(0) > total {
            let why = "cannot be greater than status.replicas";
            errors.push(FieldError::invalid(format!("status.{key}"), &status[key], why));
        }
    }
    let ready = status["readyReplicas"].as_i64().unwrap_or(0);
    if status["availableReplicas"].as_i64().unwrap_or(0) > ready {
        let why = "cannot be greater than readyReplicas";
        errors.push(FieldError::invalid(
            "status.availableReplicas",
            &status["availableReplicas"],
            why,
        ));
    }
}

pub struct ReplicaSet;

impl Strategy for ReplicaSet {
    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let spec = &object["spec"];
        non_negative(spec, "spec", &["replicas", "minReadySeconds"], &mut errors);
        selects_template(spec, "deployment", &mut errors);
        template(&spec["template"], "spec.template", &mut errors);
        always_restarts(spec, "ReplicaSet", &mut errors);
        errors
    }

    fn validate_update(&self, c: &Context<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        match c.subresource {
            "" => {
                errors = self.validate(c, object);
                selector_is_immutable(object, old, &mut errors);
            }
            "status" => replica_counts(&object["status"], &mut errors),
            _ => {}
        }
        errors
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn selectable_field(&self, object: &Value, path: &str) -> String {
        match path {
            "status.replicas" => object["status"]["replicas"].as_i64().unwrap_or(0).to_string(),
            _ => standard::scalar_at(object, path),
        }
    }
}

pub struct StatefulSet;

impl Strategy for StatefulSet {
    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (e, spec) = (&mut errors, &object["spec"]);
        let policy = text(&spec["podManagementPolicy"]);
        match policy {
            "OrderedReady" | "Parallel" => {}
            "" => e.push(FieldError::required("spec.podManagementPolicy", "")),
            _ => e.push(FieldError::invalid(
                "spec.podManagementPolicy",
                &policy.into(),
                "must be 'OrderedReady' or 'Parallel'",
            )),
        }
        let update = &spec["updateStrategy"];
        match text(&update["type"]) {
            "RollingUpdate" => {}
            "OnDelete" if update["rollingUpdate"].is_object() => e.push(FieldError::invalid(
                "spec.updateStrategy.rollingUpdate",
                &update["rollingUpdate"],
                "only allowed for updateStrategy 'RollingUpdate'",
            )),
            "OnDelete" => {}
            "" => e.push(FieldError::required("spec.updateStrategy", "")),
            _ => e.push(FieldError::invalid(
                "spec.updateStrategy",
                update,
                "must be 'RollingUpdate' or 'OnDelete'",
            )),
        }
        non_negative(spec, "spec", &["replicas", "minReadySeconds"], e);
        non_negative(&spec["ordinals"], "spec.ordinals", &["start"], e);
        non_negative(
            &update["rollingUpdate"],
            "spec.updateStrategy.rollingUpdate",
            &["partition"],
            e,
        );
        let service = text(&spec["serviceName"]);
        if !service.is_empty() {
            invalid_each("spec.serviceName", service, names::dns_label(service), e);
        }
        selects_template(spec, "statefulset", e);
        // Claims become volumes of the same name, which mounts may use.
        let mut t = spec["template"].clone();
        let claimed: Vec<Value> = items(&spec["volumeClaimTemplates"])
            .iter()
            .map(|c| serde_json::json!({"name": c["metadata"]["name"], "persistentVolumeClaim": {"claimName": "c"}}))
            .collect();
        if !claimed.is_empty() && t["spec"].is_object() {
            let others = items(&t["spec"]["volumes"])
                .iter()
                .filter(|v| !claimed.iter().any(|c| c["name"] == v["name"]))
                .cloned();
            let all: Vec<Value> = claimed.iter().cloned().chain(others).collect();
            tree::set(&mut t, "spec", "volumes", all.into());
        }
        template(&t, "spec.template", e);
        always_restarts(spec, "StatefulSet", e);
        errors
    }

    fn validate_update(&self, c: &Context<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        if !c.subresource.is_empty() {
            return Vec::new();
        }
        let mut errors = self.validate(c, object);
        let mut compared = object["spec"].clone();
        for key in [
            "replicas",
            "template",
            "updateStrategy",
            "minReadySeconds",
            "ordinals",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
        ] {
            tree::keep(&mut compared, &old["spec"], key);
        }
        if !tree::same(&compared, &old["spec"]) {
            errors.push(FieldError::forbidden(
                "spec",
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
            ));
        }
        errors
    }
}

pub struct DaemonSet;

impl Strategy for DaemonSet {
    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (e, spec) = (&mut errors, &object["spec"]);
        selects_template(spec, "daemonset", e);
        template(&spec["template"], "spec.template", e);
        always_restarts(spec, "DaemonSet", e);
        non_negative(spec, "spec", &["minReadySeconds", "revisionHistoryLimit"], e);
        let update = &spec["updateStrategy"];
        match text(&update["type"]) {
            "OnDelete" => {}
            "RollingUpdate" => rolling_update(&update["rollingUpdate"], "spec.updateStrategy.rollingUpdate", e),
            _ => e.push(FieldError::not_supported(
                "spec.updateStrategy",
                update,
                &["RollingUpdate", "OnDelete"],
            )),
        }
        errors
    }

    fn validate_update(&self, c: &Context<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        if !c.subresource.is_empty() {
            return Vec::new();
        }
        let mut errors = self.validate(c, object);
        selector_is_immutable(object, old, &mut errors);
        errors
    }
}

pub struct ReplicationController;

impl Strategy for ReplicationController {
    fn validate(&self, _c: &Context<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (e, spec) = (&mut errors, &object["spec"]);
        non_negative(spec, "spec", &["replicas", "minReadySeconds"], e);
        if tree::is_empty(&spec["selector"]) {
            e.push(FieldError::required("spec.selector", ""));
        }
        let labels = &spec["template"]["metadata"]["labels"];
        if tree::entries(&spec["selector"]).any(|(k, v)| labels[k] != *v) {
            let why = "`selector` does not match template `labels`";
            e.push(FieldError::invalid("spec.template.metadata.labels", labels, why));
        }
        template(&spec["template"], "spec.template", e);
        errors
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }
}
