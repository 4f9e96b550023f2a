//! How defaults read and write JSON objects.
use serde_json::{Map, Value};

pub(super) type Object = Map<String, Value>;

/// Go's zero value, as JSON shows it.
pub(super) fn is_zero(v: &Value) -> bool {
    match v {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    }
}

pub(super) fn is_set(o: &Object, key: &str) -> bool {
    o.get(key).is_some_and(|v| !v.is_null())
}

/// For pointers: sets what is absent.
pub(super) fn absent(o: &mut Object, key: &str, value: impl Into<Value>) {
    if !is_set(o, key) {
        o.insert(key.to_owned(), value.into());
    }
}

/// For values: sets what is absent or zero.
pub(super) fn empty(o: &mut Object, key: &str, value: impl Into<Value>) {
    if o.get(key).is_none_or(is_zero) {
        o.insert(key.to_owned(), value.into());
    }
}

pub(super) fn text<'a>(o: &'a Object, key: &str) -> &'a str {
    o.get(key).and_then(Value::as_str).unwrap_or("")
}

pub(super) fn object<'a>(o: &'a Object, key: &str) -> Option<&'a Object> {
    o.get(key).and_then(Value::as_object)
}

/// An object, made when it is absent; `None` when something else is there.
pub(super) fn object_mut<'a>(o: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    crate::meta::child_mut(o, key)
}

/// The objects in a list.
pub(super) fn items<'a>(o: &'a Object, key: &str) -> impl Iterator<Item = &'a Object> {
    let list = o.get(key).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_object)
}

pub(super) fn items_mut<'a>(o: &'a mut Object, key: &str) -> impl Iterator<Item = &'a mut Object> {
    let list = o.get_mut(key).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// The labels at `template.metadata.labels`, when there are any.
pub(super) fn template_labels(spec: &Object) -> Option<Value> {
    let labels = object(spec, "template")
        .and_then(|t| object(t, "metadata"))
        .and_then(|m| m.get("labels"))?;
    labels.is_object().then(|| labels.clone())
}

/// Gives an object without labels those of its template.
pub(super) fn labels_from_template(o: &mut Object) {
    if let Some(labels) = object(o, "spec").and_then(template_labels)
        && let Some(meta) = object_mut(o, "metadata")
        && labels.as_object().is_some_and(|l| !l.is_empty())
    {
        empty(meta, "labels", labels);
    }
}
