//! A pod's spec, on its own or within a template (upstream: ValidatePodSpec).
use super::super::{meta, names, tree};
use super::{container, volumes};
use keelson_machinery::status::FieldError;
use serde_json::Value;
use tree::{invalid_each, items, text};

pub fn validate(spec: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let at = |name: &str| format!("{field}.{name}");
    let names = volumes::volumes(&spec["volumes"], &at("volumes"), e);
    container::regular(spec, &at("containers"), &names, e);
    container::init(spec, &at("initContainers"), &names, e);
    container::ephemeral(spec, &at("ephemeralContainers"), &names, e);
    host_network(spec, field, e);
    container::one_of(
        &spec["restartPolicy"],
        at("restartPolicy"),
        &["Always", "OnFailure", "Never"],
        e,
    );
    container::one_of(
        &spec["dnsPolicy"],
        at("dnsPolicy"),
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        e,
    );
    meta::labels(&spec["nodeSelector"], &at("nodeSelector"), e);
    for (key, check) in [
        ("serviceAccountName", names::dns_subdomain as fn(&str) -> Vec<String>),
        ("nodeName", names::dns_subdomain),
        ("hostname", names::dns_label),
        ("subdomain", names::dns_label),
        ("priorityClassName", names::dns_subdomain),
        ("runtimeClassName", names::dns_subdomain),
    ] {
        let value = text(&spec[key]);
        if !value.is_empty() {
            invalid_each(&at(key), value, check(value), e);
        }
    }
    if let Some(n) = spec["activeDeadlineSeconds"].as_i64()
        && !(1..=i64::from(i32::MAX)).contains(&n)
    {
        let why = "must be between 1 and 2147483647, inclusive";
        e.push(FieldError::invalid(at("activeDeadlineSeconds"), &n.into(), why));
    }
    tolerations(&spec["tolerations"], &at("tolerations"), e);
    for (i, s) in items(&spec["imagePullSecrets"]).iter().enumerate() {
        if text(&s["name"]).is_empty() && s.as_object().is_some_and(|o| o.len() > 1) {
            e.push(FieldError::required(
                format!("{}[{i}].name", at("imagePullSecrets")),
                "",
            ));
        }
    }
    affinity(&spec["affinity"], &at("affinity"), e);
    spread(&spec["topologySpreadConstraints"], &at("topologySpreadConstraints"), e);
    if text(&spec["dnsPolicy"]) == "None" && items(&spec["dnsConfig"]["nameservers"]).is_empty() {
        let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        e.push(FieldError::required(at("dnsConfig.nameservers"), why));
    }
    for (i, g) in items(&spec["readinessGates"]).iter().enumerate() {
        let name = text(&g["conditionType"]);
        let path = format!("{}[{i}].conditionType", at("readinessGates"));
        invalid_each(&path, name, names::qualified_name(name), e);
    }
    errors
}

fn host_network(spec: &Value, field: &str, errors: &mut Vec<FieldError>) {
    if spec["hostNetwork"].as_bool() != Some(true) {
        return;
    }
    for list in ["containers", "initContainers"] {
        for (i, c) in items(&spec[list]).iter().enumerate() {
            for (j, p) in items(&c["ports"]).iter().enumerate() {
                let (host, own) = (p["hostPort"].as_i64().unwrap_or(0), p["containerPort"].as_i64());
                if host != 0 && Some(host) != own {
                    errors.push(FieldError::invalid(
                        format!("{field}.{list}[{i}].ports[{j}].hostPort"),
                        &host.into(),
                        "must match `containerPort` when `hostNetwork` is true",
                    ));
                }
            }
        }
    }
}

pub fn tolerations(v: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for (i, t) in items(v).iter().enumerate() {
        let path = format!("{field}[{i}]");
        let (key, operator, value) = (text(&t["key"]), text(&t["operator"]), text(&t["value"]));
        if !key.is_empty() {
            invalid_each(&format!("{path}.key"), key, names::qualified_name(key), errors);
        }
        if key.is_empty() && operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(format!("{path}.operator"), &operator.into(), why));
        }
        if !t["tolerationSeconds"].is_null() && text(&t["effect"]) != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(
                format!("{path}.effect"),
                &text(&t["effect"]).into(),
                why,
            ));
        }
        match operator {
            "" | "Equal" => {
                let wrong = names::label_value(value);
                if !wrong.is_empty() {
                    let at = format!("{path}.operator");
                    errors.push(FieldError::invalid(at, &value.into(), &wrong.join(";")));
                }
            }
            "Exists" if !value.is_empty() => {
                let why = "value must be empty when `operator` is 'Exists'";
                errors.push(FieldError::invalid(format!("{path}.operator"), &value.into(), why));
            }
            "Exists" => {}
            _ => {
                let at = format!("{path}.operator");
                errors.push(FieldError::not_supported(at, &t["operator"], &["Equal", "Exists"]));
            }
        }
        effect(&t["effect"], format!("{path}.effect"), true, errors);
    }
}

/// A taint's effect.
pub fn effect(v: &Value, field: String, may_be_empty: bool, errors: &mut Vec<FieldError>) {
    match text(v) {
        "NoSchedule" | "PreferNoSchedule" | "NoExecute" => {}
        "" if may_be_empty => {}
        "" => errors.push(FieldError::required(field, "")),
        _ => errors.push(FieldError::not_supported(
            field,
            v,
            &["NoSchedule", "PreferNoSchedule", "NoExecute"],
        )),
    }
}

fn affinity(v: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let required = &v["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let at = format!("{field}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
    if required.is_object() {
        if items(&required["nodeSelectorTerms"]).is_empty() {
            let why = "must have at least one node selector term";
            errors.push(FieldError::required(at.clone(), why));
        }
        for (i, t) in items(&required["nodeSelectorTerms"]).iter().enumerate() {
            expressions(&t["matchExpressions"], &format!("{at}[{i}].matchExpressions"), errors);
        }
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let list = "requiredDuringSchedulingIgnoredDuringExecution";
        for (i, t) in items(&v[kind][list]).iter().enumerate() {
            if text(&t["topologyKey"]).is_empty() {
                let at = format!("{field}.{kind}.{list}[{i}].topologyKey");
                errors.push(FieldError::required(at, "can not be empty"));
            }
        }
    }
}

fn expressions(v: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for (i, r) in items(v).iter().enumerate() {
        let path = format!("{field}[{i}]");
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
            "Gt" | "Lt" if values != 1 => errors.push(FieldError::required(
                format!("{path}.values"),
                "must be specified single value when `operator` is 'Lt' or 'Gt'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
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

fn spread(v: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for (i, c) in items(v).iter().enumerate() {
        let path = format!("{field}[{i}]");
        if c["maxSkew"].as_i64().unwrap_or(0) <= 0 {
            let why = "must be greater than zero";
            errors.push(FieldError::invalid(format!("{path}.maxSkew"), &c["maxSkew"], why));
        }
        if text(&c["topologyKey"]).is_empty() {
            errors.push(FieldError::required(format!("{path}.topologyKey"), "can not be empty"));
        }
        if !matches!(text(&c["whenUnsatisfiable"]), "DoNotSchedule" | "ScheduleAnyway") {
            errors.push(FieldError::not_supported(
                format!("{path}.whenUnsatisfiable"),
                &c["whenUnsatisfiable"],
                &["DoNotSchedule", "ScheduleAnyway"],
            ));
        }
    }
}
