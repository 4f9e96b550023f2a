//! HorizontalPodAutoscaler between v1 and v2 (upstream: pkg/apis/autoscaling/v1/conversion.go). What v1
//! has no field for travels in annotations, in the form that v1 gave metrics.
use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

/// Places of a metric source's parts: JSON pointer in v2, name in v1. `target` holds what is wanted.
type Places = &'static [(&'static str, &'static str)];

fn spec_places(source: &str) -> Places {
    match source {
        "object" => &[
            ("/describedObject", "target"),
            ("/metric/name", "metricName"),
            ("/metric/selector", "selector"),
            ("/target/value", "targetValue"),
            ("/target/averageValue", "averageValue"),
        ],
        "pods" => &[
            ("/metric/name", "metricName"),
            ("/metric/selector", "selector"),
            ("/target/averageValue", "targetAverageValue"),
        ],
        "external" => &[
            ("/metric/name", "metricName"),
            ("/metric/selector", "metricSelector"),
            ("/target/value", "targetValue"),
            ("/target/averageValue", "targetAverageValue"),
        ],
        // resource, containerResource
        _ => &[
            ("/name", "name"),
            ("/container", "container"),
            ("/target/averageUtilization", "targetAverageUtilization"),
            ("/target/averageValue", "targetAverageValue"),
        ],
    }
}
fn status_places(source: &str) -> Places {
    match source {
        "object" => &[
            ("/describedObject", "target"),
            ("/metric/name", "metricName"),
            ("/metric/selector", "selector"),
            ("/current/value", "currentValue"),
            ("/current/averageValue", "averageValue"),
        ],
        "pods" => &[
            ("/metric/name", "metricName"),
            ("/metric/selector", "selector"),
            ("/current/averageValue", "currentAverageValue"),
        ],
        "external" => &[
            ("/metric/name", "metricName"),
            ("/metric/selector", "metricSelector"),
            ("/current/value", "currentValue"),
            ("/current/averageValue", "currentAverageValue"),
        ],
        _ => &[
            ("/name", "name"),
            ("/container", "container"),
            ("/current/averageUtilization", "currentAverageUtilization"),
            ("/current/averageValue", "currentAverageValue"),
        ],
    }
}

/// The member of a metric that its type names: `ContainerResource` → `containerResource`.
fn source_name(metric: &Value) -> String {
    let kind = metric["type"].as_str().unwrap_or_default();
    let mut chars = kind.chars();
    chars
        .next()
        .map(|c| c.to_ascii_lowercase())
        .into_iter()
        .chain(chars)
        .collect()
}

fn to_v1(metric: &Value, places: fn(&str) -> Places) -> Value {
    let name = source_name(metric);
    let source = &metric[&name];
    let parts = places(&name).iter();
    let found = parts.filter_map(|(from, to)| Some(((*to).to_owned(), source.pointer(from)?.clone())));
    json!({"type": metric["type"], name: Value::Object(found.collect())})
}

fn to_v2(metric: &Value, places: fn(&str) -> Places) -> Value {
    let name = source_name(metric);
    let mut source = Object::new();
    for (to, from) in places(&name) {
        let Some(value) = metric[&name].get(*from).filter(|v| !v.is_null()) else {
            continue;
        };
        let mut path = to.trim_start_matches('/').split('/');
        let (Some(first), second) = (path.next(), path.next()) else {
            continue;
        };
        match second {
            None => {
                source.insert(first.to_owned(), value.clone());
            }
            Some(second) => {
                source.entry(first).or_insert_with(|| json!({}))[second] = value.clone();
            }
        }
    }
    if let Some(target) = source.get_mut("target") {
        let kind = if target.get("averageUtilization").is_some() {
            "Utilization"
        } else if target.get("averageValue").is_some() {
            "AverageValue"
        } else {
            "Value"
        };
        target["type"] = kind.into();
    }
    json!({"type": metric["type"], name: source})
}

/// The utilization that v1 has a field for.
fn cpu(metric: &Value, at: &str) -> Option<Value> {
    let is_cpu = metric["type"] == "Resource" && metric["resource"]["name"] == "cpu";
    metric["resource"]
        .pointer(at)
        .filter(|v| is_cpu && !v.is_null())
        .cloned()
}

fn taken(object: &mut Object, part: &str, name: &str) -> Option<Value> {
    object
        .get_mut(part)?
        .as_object_mut()?
        .remove(name)
        .filter(|v| !v.is_null())
}
fn set(object: &mut Object, part: &str, name: &str, value: Value) {
    if let Some(part) = object.entry(part).or_insert_with(|| json!({})).as_object_mut() {
        part.insert(name.to_owned(), value);
    }
}
fn items(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// Takes the annotations of this conversion away, and the whole map when nothing else is in it.
fn take_annotations(object: &mut Object) -> Object {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return Object::new();
    };
    let Some(all) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else {
        return Object::new();
    };
    let mut found = Object::new();
    for name in [METRICS, CURRENT_METRICS, BEHAVIOR, CONDITIONS] {
        if let Some(value) = all.remove(name) {
            found.insert(name.to_owned(), value);
        }
    }
    if all.is_empty() {
        metadata.remove("annotations");
    }
    found
}
fn annotate(object: &mut Object, name: &str, value: &Value) {
    let metadata = object.entry("metadata").or_insert_with(|| json!({}));
    if let Some(metadata) = metadata.as_object_mut() {
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(name.to_owned(), value.to_string().into());
        }
    }
}
fn annotated(annotations: &Object, name: &str) -> Option<Value> {
    serde_json::from_str(annotations.get(name)?.as_str()?).ok()
}

/// Upstream writes the behavior as its internal type, whose fields have Go's names.
fn recased(value: &Value, case: fn(&char) -> char) -> Value {
    match value {
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| {
                let mut chars = key.chars();
                let first = chars.next().map(|c| case(&c));
                (first.into_iter().chain(chars).collect(), recased(value, case))
            });
            Value::Object(entries.collect())
        }
        Value::Array(items) => items.iter().map(|i| recased(i, case)).collect(),
        other => other.clone(),
    }
}

pub(super) fn v2_to_v1(object: &mut Object) {
    take_annotations(object);
    let metrics = items(taken(object, "spec", "metrics"));
    let mut others = Vec::new();
    for metric in &metrics {
        match cpu(metric, "/target/averageUtilization") {
            Some(value) => set(object, "spec", "targetCPUUtilizationPercentage", value),
            None => others.push(to_v1(metric, spec_places)),
        }
    }
    let current = items(taken(object, "status", "currentMetrics"));
    if let Some(value) = current.iter().find_map(|m| cpu(m, "/current/averageUtilization")) {
        set(object, "status", "currentCPUUtilizationPercentage", value);
    }
    if !others.is_empty() {
        annotate(object, METRICS, &Value::Array(others));
    }
    if !current.is_empty() {
        let current = current.iter().map(|m| to_v1(m, status_places)).collect();
        annotate(object, CURRENT_METRICS, &current);
    }
    if let Some(behavior) = taken(object, "spec", "behavior") {
        annotate(object, BEHAVIOR, &recased(&behavior, char::to_ascii_uppercase));
    }
    let conditions = items(taken(object, "status", "conditions"));
    if !conditions.is_empty() {
        annotate(object, CONDITIONS, &Value::Array(conditions));
    }
}

pub(super) fn v1_to_v2(object: &mut Object) {
    let annotations = take_annotations(object);
    let wanted = taken(object, "spec", "targetCPUUtilizationPercentage");
    taken(object, "status", "currentCPUUtilizationPercentage");
    let mut metrics: Vec<Value> = items(annotated(&annotations, METRICS))
        .iter()
        .map(|m| to_v2(m, spec_places))
        .collect();
    if let Some(value) = wanted {
        let target = json!({"type": "Utilization", "averageUtilization": value});
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    if !metrics.is_empty() {
        set(object, "spec", "metrics", Value::Array(metrics));
    }
    let current: Vec<Value> = items(annotated(&annotations, CURRENT_METRICS))
        .iter()
        .map(|m| to_v2(m, status_places))
        .collect();
    if !current.is_empty() {
        set(object, "status", "currentMetrics", Value::Array(current));
    }
    if let Some(behavior) = annotated(&annotations, BEHAVIOR) {
        set(object, "spec", "behavior", recased(&behavior, char::to_ascii_lowercase));
    }
    if let Some(conditions) = annotated(&annotations, CONDITIONS) {
        set(object, "status", "conditions", conditions);
    }
}
