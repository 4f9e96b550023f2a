//! Quality-of-service class (upstream: pkg/apis/core/v1/helper/qos).
use super::super::tree::{entries, items};
use keelson_machinery::quantity::Quantity;
use serde_json::Value;
use std::collections::BTreeMap;

fn quantity(v: &Value) -> Option<Quantity> {
    let q = match v {
        Value::String(s) => Quantity::parse(s).ok()?,
        Value::Number(n) => Quantity::parse(&n.to_string()).ok()?,
        _ => return None,
    };
    (q > Quantity::default()).then_some(q)
}

/// Guaranteed, Burstable or BestEffort.
pub fn class(pod: &Value) -> &'static str {
    let (mut requests, mut limits) = (BTreeMap::<&str, i128>::new(), BTreeMap::<&str, i128>::new());
    let mut guaranteed = true;
    let spec = &pod["spec"];
    let tracked = |name: &str| matches!(name, "cpu" | "memory");
    if spec["resources"].is_object() {
        for (of, sums) in [("requests", &mut requests), ("limits", &mut limits)] {
            for (name, q) in entries(&spec["resources"][of]) {
                if let (true, Some(q)) = (tracked(name), quantity(q)) {
                    sums.insert(name, q.nanos);
                }
            }
        }
        guaranteed = limits.len() == 2;
    } else {
        for c in items(&spec["containers"]).iter().chain(items(&spec["initContainers"])) {
            for (name, q) in entries(&c["resources"]["requests"]) {
                if let (true, Some(q)) = (tracked(name), quantity(q)) {
                    *requests.entry(name).or_default() += q.nanos;
                }
            }
            let mut found = 0;
            for (name, q) in entries(&c["resources"]["limits"]) {
                if let (true, Some(q)) = (tracked(name), quantity(q)) {
                    found += 1;
                    *limits.entry(name).or_default() += q.nanos;
                }
            }
            guaranteed &= found == 2;
        }
    }
    if requests.is_empty() && limits.is_empty() {
        return "BestEffort";
    }
    if guaranteed && requests.len() == limits.len() && requests.iter().all(|(k, v)| limits.get(k) == Some(v)) {
        return "Guaranteed";
    }
    "Burstable"
}
