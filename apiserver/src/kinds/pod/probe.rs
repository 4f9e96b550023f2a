//! Probes, lifecycle hooks and the actions they share.
use super::super::{names, tree};
use keelson_machinery::status::FieldError;
use serde_json::Value;
use tree::{invalid_each, items, text};

const HANDLERS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];

pub fn lifecycle(v: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for hook in ["postStart", "preStop"] {
        if v[hook].is_object() {
            handler(&v[hook], &format!("{field}.{hook}"), errors);
        }
    }
}

/// All three probes of a container that may have them.
pub fn all(container: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let p = &container[kind];
        if !p.is_object() {
            continue;
        }
        let path = format!("{field}.{kind}");
        handler(p, &path, errors);
        for key in [
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ] {
            if p[key].as_i64().is_some_and(|n| n < 0) {
                let why = "must be greater than or equal to 0";
                errors.push(FieldError::invalid(format!("{path}.{key}"), &p[key], why));
            }
        }
        let grace = &p["terminationGracePeriodSeconds"];
        let at = format!("{path}.terminationGracePeriodSeconds");
        if grace.as_i64().is_some_and(|n| n <= 0) {
            errors.push(FieldError::invalid(at, grace, "must be greater than 0"));
        } else if kind == "readinessProbe" && !grace.is_null() {
            errors.push(FieldError::invalid(at, grace, "must not be set for readinessProbes"));
        }
        let successes = p["successThreshold"].as_i64().unwrap_or(1);
        if kind != "readinessProbe" && successes != 1 {
            let at = format!("{path}.successThreshold");
            errors.push(FieldError::invalid(at, &successes.into(), "must be 1"));
        }
    }
}

fn handler(v: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let mut found = 0;
    for kind in HANDLERS {
        if !v[kind].is_object() {
            continue;
        }
        let path = format!("{field}.{kind}");
        found += 1;
        if found > 1 {
            errors.push(FieldError::forbidden(path, "may not specify more than 1 handler type"));
            continue;
        }
        action(kind, &v[kind], &path, errors);
    }
    if found == 0 {
        errors.push(FieldError::required(field, "must specify a handler type"));
    }
}

fn action(kind: &str, a: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match kind {
        "exec" if items(&a["command"]).is_empty() => {
            errors.push(FieldError::required(format!("{path}.command"), ""));
        }
        "httpGet" => {
            if text(&a["path"]).is_empty() {
                errors.push(FieldError::required(format!("{path}.path"), ""));
            }
            port(&a["port"], &format!("{path}.port"), errors);
            let scheme = text(&a["scheme"]);
            if !matches!(scheme, "HTTP" | "HTTPS") {
                let at = format!("{path}.scheme");
                errors.push(FieldError::not_supported(at, &a["scheme"], &["HTTP", "HTTPS"]));
            }
            for h in items(&a["httpHeaders"]) {
                let name = text(&h["name"]);
                if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                    let why = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
                    errors.push(FieldError::invalid(format!("{path}.httpHeaders"), &name.into(), why));
                }
            }
        }
        "tcpSocket" => port(&a["port"], &format!("{path}.port"), errors),
        "grpc" => port(&a["port"], &format!("{path}.port"), errors),
        "sleep" if a["seconds"].as_i64().unwrap_or(0) < 0 => {
            let why = "must be greater than 0 and less than terminationGracePeriodSeconds";
            errors.push(FieldError::invalid(path, &a["seconds"], why));
        }
        _ => {}
    }
}

/// A number, or the name of a container port.
pub fn port(v: &Value, field: &str, errors: &mut Vec<FieldError>) {
    match v {
        Value::String(s) => invalid_each(field, s, names::port_name(s), errors),
        _ => {
            let n = v.as_i64().unwrap_or(0);
            for m in names::port_number(n) {
                errors.push(FieldError::invalid(field, &n.into(), &m));
            }
        }
    }
}
