//! Autoscalers, budgets, classes, leases and the API server's own configuration.
use super::{Row, created_since, items, name, number, or, selector, text};
use jiff::Timestamp;
use serde_json::Value;

/// Name and age.
pub(super) fn plain(o: &Value, now: Timestamp) -> Row {
    Row::of(vec![name(o), created_since(o, now)])
}

/// A number or a percentage as given.
fn int_or_string(v: &Value) -> Value {
    match v {
        Value::Null => "N/A".into(),
        Value::String(s) => s.as_str().into(),
        n => n.to_string().into(),
    }
}

pub(super) fn disruption_budget(o: &Value, now: Timestamp) -> Row {
    Row::of(vec![
        name(o),
        int_or_string(&o["spec"]["minAvailable"]),
        int_or_string(&o["spec"]["maxUnavailable"]),
        number(&o["status"]["disruptionsAllowed"]),
        created_since(o, now),
    ])
}

/// `cpu: 10%/80%`; the current value stands at the same place in the status.
fn metric(spec: &Value, status: &Value) -> String {
    let (kind, key) = match text(&spec["type"]) {
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "External" => ("external", false),
        _ => return "<unknown type>".into(),
    };
    let (target, current) = (&spec[kind]["target"], &status[kind]["current"]);
    let label = if key {
        format!("{}: ", text(&spec[kind]["name"]))
    } else {
        String::new()
    };
    let average = text(&target["averageValue"]);
    if !average.is_empty() {
        let suffix = if matches!(kind, "external" | "object") {
            " (avg)"
        } else {
            ""
        };
        return format!("{label}{}/{average}{suffix}", or(&current["averageValue"], "<unknown>"));
    }
    if key {
        let percent = |v: &Value, none: &str| v.as_i64().map_or_else(|| none.to_owned(), |n| format!("{n}%"));
        let now = percent(&current["averageUtilization"], "<unknown>");
        return format!("{label}{now}/{}", percent(&target["averageUtilization"], "<auto>"));
    }
    format!(
        "{label}{}/{}",
        or(&current["value"], "<unknown>"),
        or(&target["value"], "0")
    )
}

pub(super) fn autoscaler(o: &Value, now: Timestamp) -> Row {
    const SHOWN_MAX: usize = 2;
    let (spec, status) = (&o["spec"], &o["status"]);
    let reference = &spec["scaleTargetRef"];
    let specs = items(&spec["metrics"]);
    // autoscaling/v1 knows the processor only.
    let v1 = spec["targetCPUUtilizationPercentage"].as_i64().map(|target| {
        let current = status["currentCPUUtilizationPercentage"].as_i64();
        let current = current.map_or_else(|| "<unknown>".to_owned(), |n| format!("{n}%"));
        format!("cpu: {current}/{target}%")
    });
    let shown: Vec<String> = specs
        .iter()
        .take(SHOWN_MAX)
        .enumerate()
        .map(|(i, s)| metric(s, &status["currentMetrics"][i]))
        .collect();
    let targets = match (v1, specs.len()) {
        (Some(cpu), _) => cpu,
        (None, 0) => "<none>".into(),
        (None, n) if n > SHOWN_MAX => format!("{} + {} more...", shown.join(", "), n - SHOWN_MAX),
        _ => shown.join(", "),
    };
    let min = spec["minReplicas"].as_i64();
    Row::of(vec![
        name(o),
        format!("{}/{}", text(&reference["kind"]), text(&reference["name"])).into(),
        targets.into(),
        min.map_or_else(|| "<unset>".to_owned(), |n| n.to_string()).into(),
        number(&spec["maxReplicas"]),
        number(&status["currentReplicas"]),
        created_since(o, now),
    ])
}

pub(super) fn lease(o: &Value, now: Timestamp) -> Row {
    let holder = text(&o["spec"]["holderIdentity"]).into();
    Row::of(vec![name(o), holder, created_since(o, now)])
}

pub(super) fn priority_class(o: &Value, now: Timestamp) -> Row {
    Row::of(vec![
        name(o),
        number(&o["value"]),
        o["globalDefault"].as_bool().unwrap_or(false).into(),
        created_since(o, now),
        text(&o["preemptionPolicy"]).into(),
    ])
}

pub(super) fn runtime_class(o: &Value, now: Timestamp) -> Row {
    Row::of(vec![name(o), text(&o["handler"]).into(), created_since(o, now)])
}

pub(super) fn webhooks(o: &Value, now: Timestamp) -> Row {
    Row::of(vec![name(o), items(&o["webhooks"]).len().into(), created_since(o, now)])
}

pub(super) fn admission_policy(o: &Value, now: Timestamp) -> Row {
    let p = &o["spec"]["paramKind"];
    let kind = if p.is_object() {
        format!("{}/{}", text(&p["apiVersion"]), text(&p["kind"]))
    } else {
        "<unset>".into()
    };
    let rules = items(&o["spec"]["validations"]).len();
    Row::of(vec![name(o), rules.into(), kind.into(), created_since(o, now)])
}

pub(super) fn admission_binding(o: &Value, now: Timestamp) -> Row {
    let p = &o["spec"]["paramRef"];
    let parameter = match (text(&p["name"]), text(&p["namespace"])) {
        ("", _) if p["selector"].is_object() => selector(&p["selector"]).unwrap_or_default(),
        ("", _) => "<unset>".into(),
        (name, "") => format!("*/{name}"),
        (name, namespace) => format!("{namespace}/{name}"),
    };
    let policy = text(&o["spec"]["policyName"]).into();
    Row::of(vec![name(o), policy, parameter.into(), created_since(o, now)])
}

pub(super) fn flow_schema(o: &Value, now: Timestamp) -> Row {
    let spec = &o["spec"];
    let dangling = items(&o["status"]["conditions"])
        .iter()
        .find(|c| c["type"] == "Dangling");
    Row::of(vec![
        name(o),
        text(&spec["priorityLevelConfiguration"]["name"]).into(),
        number(&spec["matchingPrecedence"]),
        or(&spec["distinguisherMethod"]["type"], "<none>").into(),
        created_since(o, now),
        dangling.map_or("?", |c| text(&c["status"])).into(),
    ])
}

pub(super) fn priority_level(o: &Value, now: Timestamp) -> Row {
    let limited = &o["spec"]["limited"];
    let queuing = &limited["limitResponse"]["queuing"];
    let given = |v: &Value| if v.is_null() { "<none>".into() } else { v.clone() };
    Row::of(vec![
        name(o),
        text(&o["spec"]["type"]).into(),
        given(&limited["nominalConcurrencyShares"]),
        given(&queuing["queues"]),
        given(&queuing["handSize"]),
        given(&queuing["queueLengthLimit"]),
        created_since(o, now),
    ])
}

pub(super) fn api_service(o: &Value, now: Timestamp) -> Row {
    let s = &o["spec"]["service"];
    let service = if s.is_object() {
        format!("{}/{}", text(&s["namespace"]), text(&s["name"]))
    } else {
        "Local".into()
    };
    let available = items(&o["status"]["conditions"])
        .iter()
        .find(|c| c["type"] == "Available");
    let available = match available {
        Some(c) if c["status"] == "True" => "True".to_owned(),
        Some(c) => format!("{} ({})", text(&c["status"]), text(&c["reason"])),
        None => "Unknown".to_owned(),
    };
    Row::of(vec![name(o), service.into(), available.into(), created_since(o, now)])
}
