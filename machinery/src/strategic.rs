//! Strategic merge patch on the field table (upstream: apimachinery/pkg/util/strategicpatch).
//!
//! Maps are merged; lists are replaced, unless their field's patch strategy is `merge`: then lists of objects
//! are merged by the field's merge key, and lists of scalars as sets. Directives within the patch change that:
//! `$patch` (`replace`, `delete`, `merge`), `$retainKeys`, `$deleteFromPrimitiveList/<field>` and
//! `$setElementOrder/<field>`. After an error the object is in between: work on a copy.
mod list;
mod order;

use crate::patch::Error;
use crate::schema::{self, Field, Shape, TypeId};
use serde_json::{Map, Value};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const ELEMENT_ORDER: &str = "$setElementOrder";

type Object = Map<String, Value>;

/// What is known of the fields at a place of the tree.
#[derive(Clone, Copy)]
enum Place {
    Type(TypeId),
    /// A map with arbitrary keys, or something the table does not describe: maps merge, lists are replaced.
    Any,
}

impl Place {
    fn field(self, name: &str) -> Option<&'static Field> {
        match self {
            Place::Type(id) => schema::get(id).field(name),
            Place::Any => None,
        }
    }
    /// The place of the field's value, or of its items.
    fn below(self, name: &str) -> Place {
        match self.field(name) {
            // The value is a map, whose own values are never merged by their type: upstream has none of objects.
            Some(f) if f.shape == Shape::Map => Place::Any,
            Some(f) => f.message().map_or(Place::Any, Place::Type),
            None => Place::Any,
        }
    }
    /// `merge`, `replace` or nothing; `retainKeys` says something else.
    fn strategy(self, name: &str) -> &'static str {
        let all = self.field(name).map_or(&[][..], |f| f.patch_strategy);
        all.iter().find(|s| **s != "retainKeys").copied().unwrap_or("")
    }
    fn merge_key(self, name: &str) -> &'static str {
        self.field(name).and_then(|f| f.patch_merge_key).unwrap_or("")
    }
}

/// Applies `patch` to `object` of type `id`, with `$patch`, `$deleteFromPrimitiveList/…`,
/// `$setElementOrder/…` and `$retainKeys`.
pub fn apply(id: TypeId, object: &mut Value, patch: &Value) -> Result<(), Error> {
    let Value::Object(patch) = patch else {
        return Err(bad("invalid JSON document"));
    };
    let original = match object.take() {
        Value::Object(m) => m,
        Value::Null => Object::new(),
        _ => return Err(bad("invalid JSON document")),
    };
    *object = Value::Object(merge(original, patch.clone(), Place::Type(id))?);
    Ok(())
}

fn bad(message: impl Into<String>) -> Error {
    Error::BadRequest(message.into())
}

fn merge(mut original: Object, mut patch: Object, place: Place) -> Result<Object, Error> {
    if let Some(directive) = patch.remove(PATCH) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Object::new()),
            _ => Err(bad(format!(
                "unknown patch type: {} in map: {}",
                plain(&directive),
                Value::Object(patch)
            ))),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    order::merge_ordered_lists(&mut original, &mut patch, place)?;
    for (key, change) in patch {
        let deletes = key.starts_with(DELETE_FROM);
        let key = match deletes {
            true => directive_field(&key, "invalid patch format of primitive list")?,
            false => key,
        };
        merge_field(&mut original, key, change, deletes, place)?;
    }
    Ok(original)
}

/// `$directive/field` → `field`
fn directive_field(key: &str, wrong: &str) -> Result<String, Error> {
    let field = key.split_once('/').map(|(_, f)| f);
    field.map(str::to_owned).ok_or_else(|| bad(wrong))
}

fn merge_field(original: &mut Object, key: String, change: Value, deletes: bool, place: Place) -> Result<(), Error> {
    if change.is_null() {
        original.remove(&key);
        return Ok(());
    }
    let Some(slot) = original.get_mut(&key) else {
        if !deletes {
            take_as_is(original, key, change);
        }
        return Ok(());
    };
    match (slot, change) {
        (Value::Object(old), Value::Object(new)) if !deletes => {
            let old = std::mem::take(old);
            let merged = match place.strategy(&key) {
                "replace" => new,
                _ => merge(old, new, place.below(&key))?,
            };
            original.insert(key, Value::Object(merged));
        }
        (Value::Array(old), Value::Array(new)) => {
            let old = std::mem::take(old);
            let merged = list::merge_or_replace(old, new, &key, deletes, place)?;
            original.insert(key, Value::Array(merged));
        }
        (_, change) if !deletes => take_as_is(original, key, change),
        _ => {}
    }
    Ok(())
}

/// Sets what is not there yet, without the directives and nulls within.
fn take_as_is(original: &mut Object, key: String, mut change: Value) {
    if without_directives(&mut change) {
        original.insert(key, change);
    } else {
        original.remove(&key);
    }
}

/// Removes directives and null members; false when the value itself is a directive.
fn without_directives(value: &mut Value) -> bool {
    match value {
        Value::Object(m) => {
            if m.contains_key(PATCH) {
                return false;
            }
            m.retain(|k, v| !v.is_null() && !is_directive(k) && without_directives(v));
        }
        Value::Array(a) => a.retain_mut(without_directives),
        _ => {}
    }
    true
}

fn is_directive(key: &str) -> bool {
    key == RETAIN_KEYS || key.starts_with(DELETE_FROM) || key.starts_with(ELEMENT_ORDER)
}

/// `$retainKeys` names all that may remain; what the patch sets must be among it.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), Error> {
    const WRONG: &str = "invalid patch format of retainKeys";
    let Some(keys) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let Value::Array(keys) = keys else {
        return Err(bad(WRONG));
    };
    let kept = |k: &str| keys.iter().any(|v| v.as_str() == Some(k));
    let ordered = |k: &str| k.starts_with(DELETE_FROM) || k.starts_with(ELEMENT_ORDER);
    if patch.iter().any(|(k, v)| !v.is_null() && !ordered(k) && !kept(k)) {
        return Err(bad(WRONG));
    }
    original.retain(|k, _| kept(k));
    Ok(())
}

/// A value in a message: strings bare, as Go prints them.
fn plain(v: &Value) -> String {
    v.as_str().map_or_else(|| v.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests;
