//! Small readers and writers of object metadata in JSON trees. Readers give the empty value for what is
//! absent or of the wrong type; writers make what lacks.
use serde_json::{Map, Value};

fn text<'a>(o: &'a Value, field: &str) -> &'a str {
    o.get("metadata")
        .and_then(|m| m.get(field))
        .and_then(Value::as_str)
        .unwrap_or("")
}

pub fn name(o: &Value) -> &str {
    text(o, "name")
}
pub fn namespace(o: &Value) -> &str {
    text(o, "namespace")
}
pub fn uid(o: &Value) -> &str {
    text(o, "uid")
}
pub fn resource_version(o: &Value) -> &str {
    text(o, "resourceVersion")
}
pub fn generate_name(o: &Value) -> &str {
    text(o, "generateName")
}
pub fn deletion_timestamp(o: &Value) -> Option<&str> {
    Some(text(o, "deletionTimestamp")).filter(|t| !t.is_empty())
}
pub fn generation(o: &Value) -> i64 {
    o.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0)
}
pub fn label<'a>(o: &'a Value, key: &str) -> Option<&'a str> {
    o.get("metadata")?.get("labels")?.get(key)?.as_str()
}
pub fn annotation<'a>(o: &'a Value, key: &str) -> Option<&'a str> {
    o.get("metadata")?.get("annotations")?.get(key)?.as_str()
}
pub fn finalizers(o: &Value) -> Vec<&str> {
    let list = o.pointer("/metadata/finalizers").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The `metadata` object, made when it is absent; `None` when `o` is no object.
pub fn metadata_mut(o: &mut Value) -> Option<&mut Map<String, Value>> {
    child_mut(o.as_object_mut()?, "metadata")
}
/// An object below `parent`, made when it is absent or null; `None` when something else is there.
pub fn child_mut<'a>(parent: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    let v = parent.entry(key).or_insert(Value::Null);
    if v.is_null() {
        *v = Value::Object(Map::new());
    }
    v.as_object_mut()
}
/// Sets a field of `metadata`.
pub fn set(o: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(m) = metadata_mut(o) {
        m.insert(field.to_owned(), value.into());
    }
}
pub fn unset(o: &mut Value, field: &str) -> Option<Value> {
    o.get_mut("metadata")?.as_object_mut()?.remove(field)
}
pub fn set_label(o: &mut Value, key: &str, value: &str) {
    if let Some(labels) = metadata_mut(o).and_then(|m| child_mut(m, "labels")) {
        labels.insert(key.to_owned(), value.into());
    }
}
pub fn set_annotation(o: &mut Value, key: &str, value: &str) {
    if let Some(a) = metadata_mut(o).and_then(|m| child_mut(m, "annotations")) {
        a.insert(key.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_and_writes() {
        let mut o = json!({"metadata": {"name": "n", "labels": null, "finalizers": ["a", 3]}});
        assert_eq!((name(&o), namespace(&o), finalizers(&o)), ("n", "", vec!["a"]));
        set_label(&mut o, "k", "v");
        set(&mut o, "generation", 2);
        assert_eq!((label(&o, "k"), generation(&o)), (Some("v"), 2));
        assert_eq!(unset(&mut o, "name"), Some("n".into()));
        let mut empty = json!({});
        set_annotation(&mut empty, "a", "b");
        assert_eq!(annotation(&empty, "a"), Some("b"));
        let mut none = json!(3);
        set(&mut none, "x", 1);
        assert_eq!(none, json!(3));
    }
}
