//! Containers of a pod (upstream: validateContainers and what it calls).
use super::super::{names, tree};
use super::{probe, volumes};
use keelson_machinery::quantity::Quantity;
use keelson_machinery::status::FieldError;
use serde_json::Value;
use std::collections::HashSet;
use tree::{entries, invalid_each, items, text};

pub fn regular(spec: &Value, field: &str, volume_names: &HashSet<&str>, errors: &mut Vec<FieldError>) {
    let containers = items(&spec["containers"]);
    if containers.is_empty() {
        errors.push(FieldError::required(field, ""));
    }
    let mut seen = HashSet::new();
    for (i, c) in containers.iter().enumerate() {
        let path = format!("{field}[{i}]");
        common(c, &path, volume_names, errors);
        if !seen.insert(text(&c["name"])) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &c["name"]));
        }
        if c["lifecycle"].is_object() {
            probe::lifecycle(&c["lifecycle"], &format!("{path}.lifecycle"), errors);
        }
        probe::all(c, &path, errors);
        let policy = text(&c["restartPolicy"]);
        if !matches!(policy, "" | "Always" | "OnFailure" | "Never") {
            errors.push(FieldError::not_supported(
                format!("{path}.restartPolicy"),
                &c["restartPolicy"],
                &["Always", "OnFailure", "Never"],
            ));
        }
    }
    host_ports(containers, field, errors);
}

pub fn init(spec: &Value, field: &str, volume_names: &HashSet<&str>, errors: &mut Vec<FieldError>) {
    let mut seen: HashSet<&str> = items(&spec["containers"]).iter().map(|c| text(&c["name"])).collect();
    for (i, c) in items(&spec["initContainers"]).iter().enumerate() {
        let path = format!("{field}[{i}]");
        common(c, &path, volume_names, errors);
        let name = text(&c["name"]);
        if !name.is_empty() && !seen.insert(name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &c["name"]));
        }
        host_ports(std::slice::from_ref(c), field, errors);
        if text(&c["restartPolicy"]) == "Always" {
            if c["lifecycle"].is_object() {
                probe::lifecycle(&c["lifecycle"], &format!("{path}.lifecycle"), errors);
            }
            probe::all(c, &path, errors);
            continue;
        }
        for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if c[key].is_object() {
                let why = "may not be set for init containers without restartPolicy=Always";
                errors.push(FieldError::forbidden(format!("{path}.{key}"), why));
            }
        }
    }
}

pub fn ephemeral(spec: &Value, field: &str, volume_names: &HashSet<&str>, errors: &mut Vec<FieldError>) {
    let others = items(&spec["containers"]).iter().chain(items(&spec["initContainers"]));
    let mut seen: HashSet<&str> = others.clone().map(|c| text(&c["name"])).collect();
    let targets: HashSet<&str> = others.map(|c| text(&c["name"])).collect();
    for (i, c) in items(&spec["ephemeralContainers"]).iter().enumerate() {
        let path = format!("{field}[{i}]");
        common(c, &path, volume_names, errors);
        if !seen.insert(text(&c["name"])) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &c["name"]));
        }
        let target = text(&c["targetContainerName"]);
        if !target.is_empty() && !targets.contains(target) {
            errors.push(not_found(format!("{path}.targetContainerName"), target));
        }
        for key in [
            "ports",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
            "resources",
            "resizePolicy",
        ] {
            if !tree::is_empty(&c[key]) {
                let why = "cannot be set for an Ephemeral Container";
                errors.push(FieldError::forbidden(format!("{path}.{key}"), why));
            }
        }
    }
}

pub fn not_found(field: String, value: &str) -> FieldError {
    FieldError {
        field,
        reason: "FieldValueNotFound",
        message: format!("Not found: {value:?}"),
    }
}

fn common(c: &Value, path: &str, volume_names: &HashSet<&str>, errors: &mut Vec<FieldError>) {
    let name = text(&c["name"]);
    if name.is_empty() {
        errors.push(FieldError::required(format!("{path}.name"), ""));
    } else {
        invalid_each(&format!("{path}.name"), name, names::dns_label(name), errors);
    }
    if text(&c["image"]).is_empty() {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    }
    one_of(
        &c["terminationMessagePolicy"],
        format!("{path}.terminationMessagePolicy"),
        &["File", "FallbackToLogsOnError"],
        errors,
    );
    ports(&c["ports"], &format!("{path}.ports"), errors);
    env(&c["env"], &format!("{path}.env"), errors);
    env_from(&c["envFrom"], &format!("{path}.envFrom"), errors);
    volumes::mounts(c, &format!("{path}.volumeMounts"), volume_names, errors);
    one_of(
        &c["imagePullPolicy"],
        format!("{path}.imagePullPolicy"),
        &["Always", "IfNotPresent", "Never"],
        errors,
    );
    resources(&c["resources"], &format!("{path}.resources"), errors);
    security(&c["securityContext"], &format!("{path}.securityContext"), errors);
}

/// Required, and one of a few words.
pub fn one_of(v: &Value, field: String, allowed: &[&str], errors: &mut Vec<FieldError>) {
    let value = text(v);
    if value.is_empty() {
        errors.push(FieldError::required(field, ""));
    } else if !allowed.contains(&value) {
        errors.push(FieldError::not_supported(field, v, allowed));
    }
}

fn ports(v: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let mut seen = HashSet::new();
    for (i, p) in items(v).iter().enumerate() {
        let path = format!("{field}[{i}]");
        let name = text(&p["name"]);
        if !name.is_empty() {
            let wrong = names::port_name(name);
            if !wrong.is_empty() {
                invalid_each(&format!("{path}.name"), name, wrong, errors);
            } else if !seen.insert(name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), &p["name"]));
            }
        }
        match p["containerPort"].as_i64().unwrap_or(0) {
            0 => errors.push(FieldError::required(format!("{path}.containerPort"), "")),
            n => number(n, format!("{path}.containerPort"), errors),
        }
        match p["hostPort"].as_i64().unwrap_or(0) {
            0 => {}
            n => number(n, format!("{path}.hostPort"), errors),
        }
        one_of(
            &p["protocol"],
            format!("{path}.protocol"),
            &["SCTP", "TCP", "UDP"],
            errors,
        );
    }
}

fn number(n: i64, field: String, errors: &mut Vec<FieldError>) {
    for m in names::port_number(n) {
        errors.push(FieldError::invalid(field.clone(), &n.into(), &m));
    }
}

fn host_ports(containers: &[Value], field: &str, errors: &mut Vec<FieldError>) {
    let mut seen = HashSet::new();
    for (i, c) in containers.iter().enumerate() {
        for (j, p) in items(&c["ports"]).iter().enumerate() {
            let n = p["hostPort"].as_i64().unwrap_or(0);
            if n != 0 && !seen.insert((n, text(&p["hostIP"]), text(&p["protocol"]))) {
                let shown = format!("{}/{}/{n}", text(&p["protocol"]), text(&p["hostIP"]));
                errors.push(FieldError::duplicate(
                    format!("{field}[{i}].ports[{j}].hostPort"),
                    &shown.into(),
                ));
            }
        }
    }
}

const FIELD_PATHS: [&str; 10] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
    "metadata.labels",
];

fn env(v: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for (i, e) in items(v).iter().enumerate() {
        let path = format!("{field}[{i}]");
        let name = text(&e["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else {
            invalid_each(&format!("{path}.name"), name, names::env_name(name), errors);
        }
        let from = &e["valueFrom"];
        if !from.is_object() {
            continue;
        }
        let path = format!("{path}.valueFrom");
        let sources = [
            "fieldRef",
            "resourceFieldRef",
            "configMapKeyRef",
            "secretKeyRef",
            "fileKeyRef",
        ];
        let count = sources.iter().filter(|s| from[**s].is_object()).count();
        if count == 0 {
            let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            errors.push(FieldError::invalid(path.clone(), &"".into(), why));
        } else if !text(&e["value"]).is_empty() {
            let why = "may not be specified when `value` is not empty";
            errors.push(FieldError::invalid(path.clone(), &"".into(), why));
        } else if count > 1 {
            let why = "may not have more than one field specified at a time";
            errors.push(FieldError::invalid(path.clone(), &"".into(), why));
        }
        for key in ["configMapKeyRef", "secretKeyRef"] {
            if !from[key].is_object() {
                continue;
            }
            let key_name = text(&from[key]["key"]);
            if text(&from[key]["name"]).is_empty() {
                errors.push(FieldError::required(format!("{path}.{key}.name"), ""));
            }
            if key_name.is_empty() {
                errors.push(FieldError::required(format!("{path}.{key}.key"), ""));
            } else {
                invalid_each(
                    &format!("{path}.{key}.key"),
                    key_name,
                    names::config_key(key_name),
                    errors,
                );
            }
        }
        if from["fieldRef"].is_object() {
            field_ref(&from["fieldRef"], &format!("{path}.fieldRef"), errors);
        }
        if from["resourceFieldRef"].is_object() && text(&from["resourceFieldRef"]["resource"]).is_empty() {
            errors.push(FieldError::required(format!("{path}.resourceFieldRef.resource"), ""));
        }
    }
}

fn field_ref(r: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let wanted = text(&r["fieldPath"]);
    if wanted.is_empty() {
        errors.push(FieldError::required(format!("{path}.fieldPath"), ""));
        return;
    }
    let subscripted = wanted
        .strip_suffix("']")
        .and_then(|w| w.split_once("['"))
        .is_some_and(|(p, _)| matches!(p, "metadata.labels" | "metadata.annotations"));
    let known = FIELD_PATHS.contains(&wanted) && wanted != "metadata.labels";
    if !subscripted && !known {
        let mut supported: Vec<&str> = FIELD_PATHS
            .iter()
            .filter(|p| **p != "metadata.labels")
            .copied()
            .collect();
        supported.sort_unstable();
        let at = format!("{path}.fieldPath");
        errors.push(FieldError::not_supported(at, &r["fieldPath"], &supported));
    }
}

fn env_from(v: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for (i, e) in items(v).iter().enumerate() {
        let path = format!("{field}[{i}]");
        let prefix = text(&e["prefix"]);
        if !prefix.is_empty() {
            invalid_each(&format!("{path}.prefix"), prefix, names::env_name(prefix), errors);
        }
        let mut count = 0;
        for key in ["configMapRef", "secretRef"] {
            if e[key].is_object() {
                count += 1;
                if text(&e[key]["name"]).is_empty() {
                    errors.push(FieldError::required(format!("{path}.{key}.name"), ""));
                }
            }
        }
        if count == 0 {
            let why = "must specify one of: `configMapRef` or `secretRef`";
            errors.push(FieldError::invalid(path, &"".into(), why));
        } else if count > 1 {
            let why = "may not have more than one field specified at a time";
            errors.push(FieldError::invalid(path, &"".into(), why));
        }
    }
}

fn parsed(v: &Value) -> Result<Quantity, String> {
    match v {
        Value::String(s) => Quantity::parse(s),
        other => Quantity::parse(&other.to_string()),
    }
}

fn shown(v: &Value) -> String {
    v.as_str().map_or_else(|| v.to_string(), str::to_owned)
}

/// Requests and limits (upstream: validateResourceRequirements).
pub fn resources(v: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for kind in ["limits", "requests"] {
        let path = format!("{field}.{kind}");
        for (name, q) in entries(&v[kind]) {
            resource_name(name, &path, errors);
            match parsed(q) {
                Ok(n) if n < Quantity::default() => errors.push(FieldError::invalid(
                    format!("{path}[{name}]"),
                    &shown(q).into(),
                    "must be greater than or equal to 0",
                )),
                Ok(n) if is_integer_resource(name) && n.nanos % 1_000_000_000 != 0 => {
                    errors.push(FieldError::invalid(
                        format!("{path}[{name}]"),
                        &shown(q).into(),
                        "must be an integer",
                    ));
                }
                Ok(_) => {}
                Err(e) => errors.push(FieldError::invalid(format!("{path}[{name}]"), &shown(q).into(), &e)),
            }
        }
    }
    for (name, q) in entries(&v["requests"]) {
        let limit = &v["limits"][name];
        let path = format!("{field}.requests");
        let extended = is_integer_resource(name) || name.starts_with("hugepages-");
        match (parsed(q), parsed(limit)) {
            (Ok(r), Ok(l)) if !limit.is_null() => {
                if extended && r != l {
                    let why = format!("must be equal to {name} limit of {}", shown(limit));
                    errors.push(FieldError::invalid(path, &shown(q).into(), &why));
                } else if r > l {
                    let why = format!("must be less than or equal to {name} limit of {}", shown(limit));
                    errors.push(FieldError::invalid(path, &shown(q).into(), &why));
                }
            }
            _ if extended && limit.is_null() => {
                let at = format!("{field}.limits");
                errors.push(FieldError::required(
                    at,
                    "Limit must be set for non overcommitable resources",
                ));
            }
            _ => {}
        }
    }
}

fn is_standard(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-")
}

fn is_integer_resource(name: &str) -> bool {
    name.contains('/') && !name.split('/').next().unwrap_or_default().ends_with("kubernetes.io")
}

fn resource_name(name: &str, field: &str, errors: &mut Vec<FieldError>) {
    invalid_each(field, name, names::qualified_name(name), errors);
    if !name.contains('/') && !is_standard(name) {
        let why = "must be a standard resource type or fully qualified";
        errors.push(FieldError::invalid(field, &name.into(), why));
        let why = "must be a standard resource for containers";
        errors.push(FieldError::invalid(field, &name.into(), why));
    }
}

fn security(v: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for key in ["runAsUser", "runAsGroup"] {
        if v[key].as_i64().is_some_and(|n| n < 0 || n > i64::from(i32::MAX)) {
            let why = "must be between 0 and 2147483647, inclusive";
            errors.push(FieldError::invalid(format!("{field}.{key}"), &v[key], why));
        }
    }
    if v["allowPrivilegeEscalation"].as_bool() == Some(false) {
        if v["privileged"].as_bool() == Some(true) {
            let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(FieldError::invalid(field, v, why));
        }
        if items(&v["capabilities"]["add"]).iter().any(|c| c == "CAP_SYS_ADMIN") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(FieldError::invalid(field, v, why));
        }
    }
}
