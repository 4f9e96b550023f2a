//! Reading JSON trees without ceremony: absent and mistyped read as empty.
use keelson_machinery::status::FieldError;
use serde_json::{Map, Value};

pub fn text(v: &Value) -> &str {
    v.as_str().unwrap_or_default()
}

pub fn items(v: &Value) -> &[Value] {
    v.as_array().map(Vec::as_slice).unwrap_or_default()
}

pub fn entries(v: &Value) -> impl Iterator<Item = (&String, &Value)> {
    v.as_object().into_iter().flatten()
}

/// The object at `key`, made when absent. `None` when `v` or what is there is no object.
pub fn child<'a>(v: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    let slot = v.as_object_mut()?.entry(key).or_insert(Value::Null);
    if slot.is_null() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut()
}

/// Sets `v.parent.key`; does nothing when `parent` is no object.
pub fn set(v: &mut Value, parent: &str, key: &str, value: Value) {
    if let Some(m) = child(v, parent) {
        m.insert(key.to_owned(), value);
    }
}

pub fn remove(v: &mut Value, parent: &str, key: &str) {
    if let Some(m) = v.get_mut(parent).and_then(Value::as_object_mut) {
        m.remove(key);
    }
}

/// Moves `from[key]` over `to[key]`, or removes it where `from` has none.
pub fn keep(to: &mut Value, from: &Value, key: &str) {
    if let Some(m) = to.as_object_mut() {
        match from.get(key) {
            Some(v) => m.insert(key.to_owned(), v.clone()),
            None => m.remove(key),
        };
    }
}

/// [`keep`] one level down.
pub fn keep_in(to: &mut Value, from: &Value, parent: &str, key: &str) {
    match from.get(parent).and_then(|p| p.get(key)) {
        Some(v) => set(to, parent, key, v.clone()),
        None => remove(to, parent, key),
    }
}

/// Upstream's semantic equality on trees: absent, null, empty lists and empty maps are the same.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.iter().all(|(k, v)| same(v, y.get(k).unwrap_or(&Value::Null)))
                && y.iter().all(|(k, v)| x.contains_key(k) || is_empty(v))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(a, b)| same(a, b)),
        _ => a == b || (is_empty(a) && is_empty(b)),
    }
}

pub fn is_empty(v: &Value) -> bool {
    match v {
        Value::Null => true,
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.values().all(is_empty),
        _ => false,
    }
}

/// The checks' complaints about `value` as Invalid errors of one field.
pub fn invalid_each(field: &str, value: &str, messages: Vec<String>, errors: &mut Vec<FieldError>) {
    for m in messages {
        errors.push(FieldError::invalid(field, &Value::from(value), &m));
    }
}

pub fn immutable(field: &str, new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if !same(new, old) {
        errors.push(FieldError::invalid(field, new, "field is immutable"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn empty_and_absent_are_the_same() {
        assert!(same(&json!({"a": 1, "b": []}), &json!({"a": 1})));
        assert!(same(&json!({"a": 1}), &json!({"a": 1, "c": {"d": null}})));
        assert!(!same(&json!({"a": 1}), &json!({"a": 2})));
        assert!(!same(&json!([1]), &json!([1, 2])));
        assert!(!same(&json!({"a": false}), &json!({})));
    }
}
