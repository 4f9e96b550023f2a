//! JSON merge patches (RFC 7386) that say only what changed.
use keelson_client::api::Object;
use keelson_client::{Api, Patch, PatchParams, Result};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The patch that makes `new` of `old`; `None` when they are equal.
pub fn diff(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(o), Value::Object(n)) = (old, new) else {
        return Some(new.clone());
    };
    let mut out = Map::new();
    for (k, v) in n {
        match o.get(k) {
            Some(w) => {
                if let Some(d) = diff(w, v) {
                    out.insert(k.clone(), d);
                }
            }
            None => {
                out.insert(k.clone(), v.clone());
            }
        }
    }
    for k in o.keys().filter(|k| !n.contains_key(*k)) {
        out.insert(k.clone(), Value::Null);
    }
    Some(Value::Object(out))
}

fn value<T: Serialize>(t: &T) -> Value {
    serde_json::to_value(t).unwrap_or(Value::Null)
}

/// Writes the status of `object` from `old` to `new` if they differ; a conflict says that `object` was stale.
pub async fn write_status<K: Object, S: Serialize>(
    api: &Api<K>,
    object: &K,
    old: Option<&S>,
    new: &S,
) -> Result<Option<K>> {
    let old = old.map_or_else(|| json!({}), value);
    let Some(change) = diff(&old, &value(new)) else {
        return Ok(None);
    };
    let meta = object.metadata();
    let patch = json!({
        "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
        "status": change,
    });
    let name = meta.name.as_deref().unwrap_or_default();
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_names_what_changed_and_nulls_what_went() {
        let old = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": [1], "f": 1});
        let new = json!({"a": 1, "b": {"c": 2, "d": 4}, "e": [1, 2], "g": true});
        let want = json!({"b": {"d": 4}, "e": [1, 2], "f": null, "g": true});
        assert_eq!(diff(&old, &new), Some(want));
        assert_eq!(diff(&old, &old), None);
    }
}
