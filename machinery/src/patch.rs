//! JSON patch (RFC 6902, with upstream's limits), JSON merge patch (RFC 7386).
//!
//! JSON patch follows the library that upstream's server uses (evanphx/json-patch v4): negative indices count
//! from the end, `replace` of an absent member adds it, `test` takes absent for null. After an error the
//! object is in between: work on a copy.
use serde_json::Value;

/// Operations in one JSON patch (upstream: `maxJSONPatchOperations`).
pub const OPERATIONS_MAX: usize = 10_000;
/// Bytes that the `copy` operations of one JSON patch may add (upstream: the request body's limit).
pub const COPY_BYTES_MAX: usize = 3 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// 400 in upstream
    #[error("{0}")]
    BadRequest(String),
    /// 422 in upstream (a `test` that fails, a path that is not there)
    #[error("{0}")]
    Unprocessable(String),
    /// 413 in upstream
    #[error("{0}")]
    TooLarge(String),
}

pub fn json_patch(object: &mut Value, patch: &[u8]) -> Result<(), Error> {
    let operations: Vec<serde_json::Map<String, Value>> =
        serde_json::from_slice(patch).map_err(|e| Error::BadRequest(format!("invalid JSON patch: {e}")))?;
    if operations.len() > OPERATIONS_MAX {
        return Err(Error::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
            operations.len()
        )));
    }
    let mut copied = 0;
    for mut op in operations {
        let value = op.remove("value");
        let text = |key: &str| op.get(key).and_then(Value::as_str);
        let operation = Operation {
            path: text("path"),
            from: text("from"),
            value,
        };
        match text("op").unwrap_or("unknown") {
            "add" => operation.add(object),
            "remove" => operation.remove(object),
            "replace" => operation.replace(object),
            "move" => operation.relocate(object),
            "copy" => operation.copy(object, &mut copied),
            "test" => operation.test(object),
            other => Err(format!("Unexpected kind: {other}")),
        }
        .map_err(Error::Unprocessable)?;
    }
    Ok(())
}

/// Merges `patch` in; nulls remove.
pub fn merge_patch(object: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = Value::Object(serde_json::Map::new());
    }
    let Some(target) = object.as_object_mut() else { return };
    for (key, change) in changes {
        if change.is_null() {
            target.remove(key);
        } else {
            merge_patch(target.entry(key.as_str()).or_insert(Value::Null), change);
        }
    }
}

struct Operation<'a> {
    path: Option<&'a str>,
    from: Option<&'a str>,
    value: Option<Value>,
}

type Outcome = Result<(), String>;
const MISSING: &str = "missing value";

fn decode(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// The container that holds the last token of `path`, and that token.
fn find<'v>(root: &'v mut Value, path: &str) -> Option<(&'v mut Value, String)> {
    let (parents, key) = path.rsplit_once('/')?;
    let mut at = root;
    for token in parents.split('/').skip(1) {
        let token = decode(token);
        at = match at {
            Value::Object(m) => m.get_mut(&token)?,
            Value::Array(a) => {
                let i = position(&token, a.len()).ok()?;
                a.get_mut(i)?
            }
            _ => return None,
        };
    }
    (at.is_object() || at.is_array()).then(|| (at, decode(key)))
}

/// An index below `len`; negative ones count from the end.
fn position(token: &str, len: usize) -> Result<usize, String> {
    let i: i64 = token
        .parse()
        .map_err(|_| format!("strconv.Atoi: parsing {token:?}: invalid syntax"))?;
    let wrong = || format!("Unable to access invalid index: {i}: invalid index referenced");
    let at = if i < 0 {
        i.checked_add_unsigned(len as u64).ok_or_else(wrong)?
    } else {
        i
    };
    usize::try_from(at).ok().filter(|at| *at < len).ok_or_else(wrong)
}

/// What is there; `None` for an absent member of an object.
fn get<'v>(container: &'v Value, key: &str) -> Result<Option<&'v Value>, String> {
    match container {
        Value::Array(a) => position(key, a.len()).map(|i| a.get(i)),
        other => Ok(other.get(key)),
    }
}

fn insert(container: &mut Value, key: &str, value: Value) -> Outcome {
    match container {
        Value::Object(m) => {
            m.insert(key.to_owned(), value);
        }
        Value::Array(a) if key == "-" => a.push(value),
        Value::Array(a) => {
            let not_index = |_| {
                format!("value was not a proper array index: '{key}': strconv.Atoi: parsing {key:?}: invalid syntax")
            };
            key.parse::<i64>().map_err(not_index)?;
            // One more place than there are items: the one behind the last.
            let at = position(key, a.len() + 1)?;
            a.insert(at, value);
        }
        _ => return Err(MISSING.into()),
    }
    Ok(())
}

fn take(container: &mut Value, key: &str) -> Result<Value, String> {
    match container {
        Value::Object(m) => m
            .remove(key)
            .ok_or_else(|| format!("Unable to remove nonexistent key: {key}: {MISSING}")),
        Value::Array(a) => position(key, a.len()).map(|at| a.remove(at)),
        _ => Err(MISSING.into()),
    }
}

impl Operation<'_> {
    fn path(&self, what: &str) -> Result<&str, String> {
        self.path
            .ok_or_else(|| format!("{what} operation failed to decode path: {MISSING}"))
    }
    fn from(&self, what: &str) -> Result<&str, String> {
        self.from
            .ok_or_else(|| format!("{what} operation failed to decode from: {MISSING}"))
    }
    fn value(self) -> Value {
        self.value.unwrap_or(Value::Null)
    }

    fn add(self, root: &mut Value) -> Outcome {
        let path = self.path("add")?;
        let (at, key) = find(root, path)
            .ok_or_else(|| format!("add operation does not apply: doc is missing path: {path:?}: {MISSING}"))?;
        let failed = |e| format!("error in add for path: '{path}': {e}");
        insert(at, &key, self.value.clone().unwrap_or(Value::Null)).map_err(failed)
    }

    fn remove(self, root: &mut Value) -> Outcome {
        let path = self.path("remove")?;
        let (at, key) = find(root, path)
            .ok_or_else(|| format!("remove operation does not apply: doc is missing path: {path:?}: {MISSING}"))?;
        take(at, &key)
            .map(drop)
            .map_err(|e| format!("error in remove for path: '{path}': {e}"))
    }

    fn replace(self, root: &mut Value) -> Outcome {
        let path = self.path("replace")?.to_owned();
        if path.is_empty() {
            let value = self.value();
            if !(value.is_object() || value.is_array()) {
                return Err("replace operation value must be object or array".into());
            }
            *root = value;
            return Ok(());
        }
        let (at, key) = find(root, &path)
            .ok_or_else(|| format!("replace operation does not apply: doc is missing path: {path}: {MISSING}"))?;
        match at {
            Value::Array(a) => {
                let i = position(&key, a.len())
                    .map_err(|_| format!("replace operation does not apply: doc is missing key: {path}: {MISSING}"))?;
                if let Some(slot) = a.get_mut(i) {
                    *slot = self.value();
                }
                Ok(())
            }
            other => insert(other, &key, self.value()),
        }
    }

    fn relocate(self, root: &mut Value) -> Outcome {
        let from = self.from("move")?;
        let (at, key) = find(root, from)
            .ok_or_else(|| format!("move operation does not apply: doc is missing from path: {from}: {MISSING}"))?;
        let value = take(at, &key).map_err(|e| format!("error in move for path: '{key}': {e}"))?;
        let path = self.path("move")?;
        let (at, key) = find(root, path).ok_or_else(|| {
            format!("move operation does not apply: doc is missing destination path: {path}: {MISSING}")
        })?;
        insert(at, &key, value).map_err(|e| format!("error in move for path: '{path}': {e}"))
    }

    fn copy(self, root: &mut Value, copied: &mut usize) -> Outcome {
        let from = self.from("copy")?;
        let (at, key) = find(root, from)
            .ok_or_else(|| format!("copy operation does not apply: doc is missing from path: {from}: {MISSING}"))?;
        let value = get(at, &key)
            .map_err(|e| format!("error in copy for from: '{from}': {e}"))?
            .cloned()
            .unwrap_or(Value::Null);
        let path = self.path("copy")?;
        let (at, key) = find(root, path).ok_or_else(|| {
            format!("copy operation does not apply: doc is missing destination path: {path}: {MISSING}")
        })?;
        *copied += serde_json::to_vec(&value).map_or(0, |v| v.len());
        if *copied > COPY_BYTES_MAX {
            return Err(format!(
                "Unable to complete the copy, the accumulated size increase of {copied} is over the limit {COPY_BYTES_MAX}"
            ));
        }
        insert(at, &key, value).map_err(|e| format!("error while adding value during copy: {e}"))
    }

    fn test(self, root: &mut Value) -> Outcome {
        let path = self.path("test")?;
        let failed = || format!("testing value {path} failed: test failed");
        let want = self.value.as_ref().unwrap_or(&Value::Null);
        if path.is_empty() {
            return if root == want { Ok(()) } else { Err(failed()) };
        }
        let (at, key) = find(root, path)
            .ok_or_else(|| format!("test operation does not apply: is missing path: {path}: {MISSING}"))?;
        let is = get(at, &key).map_err(|e| format!("error in test for path: '{path}': {e}"))?;
        if is.unwrap_or(&Value::Null) == want {
            Ok(())
        } else {
            Err(failed())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn apply(mut object: Value, patch: Value) -> Result<Value, String> {
        json_patch(&mut object, patch.to_string().as_bytes())
            .map(|()| object)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn every_operation() {
        for (object, patch, want) in [
            (
                json!({"a": 1}),
                json!([{"op": "add", "path": "/b", "value": [1]}]),
                json!({"a": 1, "b": [1]}),
            ),
            (
                json!({"a": [1, 3]}),
                json!([{"op": "add", "path": "/a/1", "value": 2}]),
                json!({"a": [1, 2, 3]}),
            ),
            (
                json!({"a": [1]}),
                json!([{"op": "add", "path": "/a/-", "value": 2}]),
                json!({"a": [1, 2]}),
            ),
            (
                json!({"a": [1]}),
                json!([{"op": "add", "path": "/a/1", "value": 2}]),
                json!({"a": [1, 2]}),
            ),
            (
                json!({"a": [1, 2]}),
                json!([{"op": "remove", "path": "/a/-1"}]),
                json!({"a": [1]}),
            ),
            (
                json!({"a/b": {"~": 1}}),
                json!([{"op": "remove", "path": "/a~1b/~0"}]),
                json!({"a/b": {}}),
            ),
            (
                json!({"a": 1}),
                json!([{"op": "replace", "path": "/b", "value": 2}]),
                json!({"a": 1, "b": 2}),
            ),
            (
                json!({"a": [1]}),
                json!([{"op": "replace", "path": "/a/0", "value": 2}]),
                json!({"a": [2]}),
            ),
            (
                json!({"a": 1}),
                json!([{"op": "replace", "path": "", "value": {"c": 1}}]),
                json!({"c": 1}),
            ),
            (
                json!({"a": 1, "b": {}}),
                json!([{"op": "move", "from": "/a", "path": "/b/c"}]),
                json!({"b": {"c": 1}}),
            ),
            (
                json!({"a": {"x": 1}}),
                json!([{"op": "copy", "from": "/a", "path": "/b"}]),
                json!({"a": {"x": 1}, "b": {"x": 1}}),
            ),
            (
                json!({"a": null}),
                json!([{"op": "test", "path": "/a", "value": null}, {"op": "test", "path": "/z"}]),
                json!({"a": null}),
            ),
            (
                json!({"a": {"b": [1]}}),
                json!([{"op": "test", "path": "/a", "value": {"b": [1]}}]),
                json!({"a": {"b": [1]}}),
            ),
        ] {
            assert_eq!(apply(object.clone(), patch.clone()).unwrap(), want, "{object} {patch}");
        }
    }

    #[test]
    fn failures_are_worded_as_upstream() {
        for (object, patch, want) in [
            (
                json!({}),
                json!([{"op": "test", "path": "/a", "value": 1}]),
                "testing value /a failed: test failed",
            ),
            (
                json!({}),
                json!([{"op": "add", "path": "/a/b", "value": 1}]),
                "add operation does not apply: doc is missing path: \"/a/b\": missing value",
            ),
            (
                json!({}),
                json!([{"op": "remove", "path": "/a"}]),
                "error in remove for path: '/a': Unable to remove nonexistent key: a: missing value",
            ),
            (
                json!({"a": []}),
                json!([{"op": "replace", "path": "/a/0", "value": 1}]),
                "replace operation does not apply: doc is missing key: /a/0: missing value",
            ),
            (
                json!({"a": []}),
                json!([{"op": "add", "path": "/a/2", "value": 1}]),
                "error in add for path: '/a/2': Unable to access invalid index: 2: invalid index referenced",
            ),
            (
                json!({"a": 1}),
                json!([{"op": "add", "path": "/a/b", "value": 1}]),
                "add operation does not apply: doc is missing path: \"/a/b\": missing value",
            ),
            (
                json!({}),
                json!([{"op": "jump", "path": "/a"}]),
                "Unexpected kind: jump",
            ),
            (json!({}), json!([{"path": "/a"}]), "Unexpected kind: unknown"),
            (
                json!({"a": [1]}),
                json!([{"op": "remove", "path": "/a/-9223372036854775808"}]),
                "error in remove for path: '/a/-9223372036854775808': Unable to access invalid index: -9223372036854775808: invalid index referenced",
            ),
        ] {
            assert_eq!(apply(object, patch.clone()).unwrap_err(), want, "{patch}");
        }
    }

    #[test]
    fn limits_and_malformed_patches() {
        let many: Vec<Value> = (0..=OPERATIONS_MAX)
            .map(|_| json!({"op": "test", "path": "/a"}))
            .collect();
        let e = json_patch(&mut json!({}), json!(many).to_string().as_bytes()).unwrap_err();
        assert!(matches!(&e, Error::TooLarge(_)));
        assert_eq!(
            e.to_string(),
            "The allowed maximum operations in a JSON patch is 10000, got 10001"
        );
        assert!(matches!(
            json_patch(&mut json!({}), b"{}").unwrap_err(),
            Error::BadRequest(_)
        ));
        let big = "x".repeat(COPY_BYTES_MAX);
        let e = apply(json!({"a": big}), json!([{"op": "copy", "from": "/a", "path": "/b"}])).unwrap_err();
        assert!(e.contains("over the limit"), "{e}");
    }

    #[test]
    fn merge() {
        for (object, patch, want) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b", "b": 1}), json!({"a": null}), json!({"b": 1})),
            (json!({"a": ["b"]}), json!({"a": [null]}), json!({"a": [null]})),
            (
                json!({"a": {"b": 1}}),
                json!({"a": {"b": null, "c": {"d": null, "e": 2}}}),
                json!({"a": {"c": {"e": 2}}}),
            ),
            (json!({"a": 1}), json!({"a": {"b": null}}), json!({"a": {}})),
            (json!({"a": 1}), json!([1]), json!([1])),
        ] {
            let mut o = object.clone();
            merge_patch(&mut o, &patch);
            assert_eq!(o, want, "{object} {patch}");
        }
    }
}
