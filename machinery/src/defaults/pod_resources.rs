//! Requests and limits of a whole Pod (KEP-2837; upstream: `defaultHugePagePodLimits`, `defaultPodRequests`).
use super::fields::{Object, items, object, object_mut, text};
use crate::quantity::{Format, Quantity};
use serde_json::Value;
use std::collections::BTreeMap;

const HUGE_PAGES: &str = "hugepages-";

fn is_supported(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with(HUGE_PAGES)
}

type Amounts = BTreeMap<String, (Quantity, Format)>;

fn read(container: &Object, what: &str) -> Amounts {
    let list = object(container, "resources").and_then(|r| object(r, what));
    let parsed = |(name, amount): (&String, &Value)| {
        let text = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
        Some((name.clone(), Quantity::parse_with_format(text.trim()).ok()?))
    };
    list.into_iter().flatten().filter_map(parsed).collect()
}

fn add(to: &mut Amounts, from: &Amounts) {
    for (name, (amount, format)) in from {
        let entry = to.entry(name.clone()).or_insert((Quantity::ZERO, *format));
        entry.0 = entry.0 + *amount;
    }
}

/// What the containers need together: the sum, or more where an init container needs more; restartable init
/// containers run beside all that come after them.
fn aggregate(spec: &Object, what: &str) -> Amounts {
    let mut sum = Amounts::new();
    for c in items(spec, "containers") {
        add(&mut sum, &read(c, what));
    }
    let (mut sidecars, mut initial) = (Amounts::new(), Amounts::new());
    for c in items(spec, "initContainers") {
        let own = read(c, what);
        let at_once = if text(c, "restartPolicy") == "Always" {
            add(&mut sum, &own);
            add(&mut sidecars, &own);
            sidecars.clone()
        } else {
            let mut beside = own;
            add(&mut beside, &sidecars);
            beside
        };
        raise(&mut initial, at_once);
    }
    raise(&mut sum, initial);
    sum
}

fn raise(to: &mut Amounts, from: Amounts) {
    for (name, amount) in from {
        let entry = to.entry(name).or_insert(amount);
        if amount.0 > entry.0 {
            *entry = amount;
        }
    }
}

fn is_empty(resources: &Object, what: &str) -> bool {
    object(resources, what).is_none_or(serde_json::Map::is_empty)
}

fn put(resources: &mut Object, what: &str, found: Vec<(String, Value)>) {
    if found.is_empty() {
        return;
    }
    if let Some(list) = object_mut(resources, what) {
        for (name, amount) in found {
            list.entry(name).or_insert(amount);
        }
    }
}

/// Only where the Pod itself has resources.
pub(super) fn apply(spec: &mut Object) {
    let Some(resources) = object(spec, "resources") else {
        return;
    };
    if is_empty(resources, "limits") && is_empty(resources, "requests") {
        return;
    }
    let as_value = |(name, (amount, format)): (String, (Quantity, Format))| (name, Value::from(amount.to_text(format)));
    let requested = |name: &str| object(resources, "requests").is_some_and(|r| r.contains_key(name));
    let limits: Vec<_> = aggregate(spec, "limits")
        .into_iter()
        .filter(|(n, _)| n.starts_with(HUGE_PAGES) && !requested(n))
        .map(as_value)
        .collect();
    let requests: Vec<_> = aggregate(spec, "requests")
        .into_iter()
        .filter(|(n, _)| is_supported(n) && !n.starts_with(HUGE_PAGES))
        .map(as_value)
        .collect();
    let Some(resources) = object_mut(spec, "resources") else {
        return;
    };
    put(resources, "limits", limits);
    if is_empty(resources, "limits") {
        return;
    }
    put(resources, "requests", requests);
    let limits = object(resources, "limits").cloned().unwrap_or_default();
    put(
        resources,
        "requests",
        limits.into_iter().filter(|(n, _)| is_supported(n)).collect(),
    );
}
