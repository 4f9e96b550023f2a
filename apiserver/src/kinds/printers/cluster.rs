//! Nodes, namespaces, events and configuration.
use super::{Row, age, created_since, entries, items, name, or, text};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) fn node(o: &Value, now: Timestamp) -> Row {
    let ready = items(&o["status"]["conditions"]).iter().rfind(|c| c["type"] == "Ready");
    let mut status = match ready {
        Some(c) if c["status"] == "True" => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if o["spec"]["unschedulable"].as_bool() == Some(true) {
        status.push_str(",SchedulingDisabled");
    }
    let roles: BTreeSet<&str> = entries(&o["metadata"]["labels"])
        .filter_map(|(k, v)| match k.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if k == "kubernetes.io/role" => Some(text(v)),
            None => None,
        })
        .filter(|r| !r.is_empty())
        .collect();
    let roles = if roles.is_empty() {
        "<none>".to_owned()
    } else {
        roles.into_iter().collect::<Vec<_>>().join(",")
    };
    let address = |kind: &str| -> Value {
        let found = items(&o["status"]["addresses"]).iter().find(|a| a["type"] == kind);
        found.map_or("<none>", |a| text(&a["address"])).into()
    };
    let info = &o["status"]["nodeInfo"];
    Row::of(vec![
        name(o),
        status.into(),
        roles.into(),
        created_since(o, now),
        text(&info["kubeletVersion"]).into(),
        address("InternalIP"),
        address("ExternalIP"),
        or(&info["osImage"], "<unknown>").into(),
        or(&info["kernelVersion"], "<unknown>").into(),
        or(&info["containerRuntimeVersion"], "<unknown>").into(),
    ])
}

pub(super) fn namespace(o: &Value, now: Timestamp) -> Row {
    Row::of(vec![name(o), text(&o["status"]["phase"]).into(), created_since(o, now)])
}

pub(super) fn config_map(o: &Value, now: Timestamp) -> Row {
    let count = entries(&o["data"]).count() + entries(&o["binaryData"]).count();
    Row::of(vec![name(o), count.into(), created_since(o, now)])
}

pub(super) fn secret(o: &Value, now: Timestamp) -> Row {
    let count = entries(&o["data"]).count();
    Row::of(vec![
        name(o),
        text(&o["type"]).into(),
        count.into(),
        created_since(o, now),
    ])
}

/// Events of both groups: events.k8s.io has other names for the same fields.
pub(super) fn event(o: &Value, now: Timestamp) -> Row {
    let either = |a: &str, b: &str| if o[a].is_null() { &o[b] } else { &o[a] };
    let about = either("involvedObject", "regarding");
    let source = either("source", "deprecatedSource");
    let first = match either("firstTimestamp", "deprecatedFirstTimestamp") {
        Value::Null => age::since(&o["eventTime"], now),
        t => age::since(t, now),
    };
    let last = match either("lastTimestamp", "deprecatedLastTimestamp") {
        Value::Null => first.clone(),
        t => age::since(t, now),
    };
    let series = &o["series"];
    let (last, count) = if series.is_object() {
        (
            age::since(&series["lastObservedTime"], now),
            series["count"].as_i64().unwrap_or(0),
        )
    } else {
        (last, either("count", "deprecatedCount").as_i64().unwrap_or(0).max(1))
    };
    let kind = text(&about["kind"]).to_lowercase();
    let target = match text(&about["name"]) {
        "" => kind,
        n => format!("{kind}/{n}"),
    };
    let component = or(
        &source["component"],
        or(&o["reportingComponent"], text(&o["reportingController"])),
    );
    let host = or(&source["host"], text(&o["reportingInstance"]));
    let from = if host.is_empty() {
        component.to_owned()
    } else {
        format!("{component}, {host}")
    };
    Row::of(vec![
        last.into(),
        text(&o["type"]).into(),
        text(&o["reason"]).into(),
        target.into(),
        text(&about["fieldPath"]).into(),
        from.into(),
        text(either("message", "note")).trim().into(),
        first.into(),
        count.into(),
        name(o),
    ])
}

pub(super) fn resource_quota(o: &Value, now: Timestamp) -> Row {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    let used = &o["status"]["used"];
    for (resource, hard) in entries(&o["status"]["hard"]) {
        let list = if resource.starts_with("limits.") {
            &mut limits
        } else {
            &mut requests
        };
        list.push(format!("{resource}: {}/{}", or(&used[resource], "0"), text(hard)));
    }
    Row::of(vec![
        name(o),
        requests.join(", ").into(),
        limits.join(", ").into(),
        created_since(o, now),
    ])
}

pub(super) fn component_status(o: &Value, _now: Timestamp) -> Row {
    let healthy = items(&o["conditions"]).iter().find(|c| c["type"] == "Healthy");
    let (status, message, error) = match healthy {
        Some(c) if c["status"] == "True" => ("Healthy", text(&c["message"]), text(&c["error"])),
        Some(c) => ("Unhealthy", text(&c["message"]), text(&c["error"])),
        None => ("Unknown", "", ""),
    };
    Row::of(vec![name(o), status.into(), message.into(), error.into()])
}
