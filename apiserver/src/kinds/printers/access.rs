//! Role bindings and certificate requests.
use super::{Row, age, created_since, items, name, or, text};
use jiff::Timestamp;
use serde_json::Value;

pub(super) fn binding(o: &Value, now: Timestamp) -> Row {
    let role = format!("{}/{}", text(&o["roleRef"]["kind"]), text(&o["roleRef"]["name"]));
    let of = |kind: &str| -> Value {
        let matching = items(&o["subjects"]).iter().filter(|s| s["kind"] == kind);
        let names: Vec<String> = matching
            .map(|s| match text(&s["namespace"]) {
                ns if kind == "ServiceAccount" && !ns.is_empty() => format!("{ns}/{}", text(&s["name"])),
                _ => text(&s["name"]).to_owned(),
            })
            .collect();
        names.join(", ").into()
    };
    Row::of(vec![
        name(o),
        role.into(),
        created_since(o, now),
        of("User"),
        of("Group"),
        of("ServiceAccount"),
    ])
}

pub(super) fn signing_request(o: &Value, now: Timestamp) -> Row {
    let (spec, status) = (&o["spec"], &o["status"]);
    let has = |kind: &str| items(&status["conditions"]).iter().any(|c| c["type"] == kind);
    let mut condition = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (_, true) => "Approved",
        _ => "Pending",
    }
    .to_owned();
    if has("Failed") {
        condition.push_str(",Failed");
    }
    if !text(&status["certificate"]).is_empty() {
        condition.push_str(",Issued");
    }
    let duration = spec["expirationSeconds"].as_i64();
    Row::of(vec![
        name(o),
        created_since(o, now),
        or(&spec["signerName"], "<none>").into(),
        text(&spec["username"]).into(),
        duration.map_or_else(|| "<none>".to_owned(), age::human).into(),
        condition.into(),
    ])
}
