//! Lists: of objects by merge key, of scalars as sets.
use super::{Error, PATCH, Place, bad, merge, order, plain, without_directives};
use serde_json::Value;

/// What the items of some lists are; all must be of one kind.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Items {
    None,
    Objects,
    Scalars,
}

pub(super) fn kind_of(lists: &[&[Value]]) -> Result<Items, Error> {
    let mut kind = None;
    for item in lists.iter().copied().flatten() {
        let this = match item {
            Value::Array(_) => return Err(Error::Unprocessable("lists of lists are not supported".into())),
            Value::Object(_) => (Items::Objects, 0),
            Value::Null => (Items::Scalars, 1),
            Value::Bool(_) => (Items::Scalars, 2),
            Value::Number(_) => (Items::Scalars, 3),
            Value::String(_) => (Items::Scalars, 4),
        };
        if *kind.get_or_insert(this) != this {
            let all = serde_json::to_string(lists).unwrap_or_default();
            return Err(bad(format!("list element types are not identical: {all}")));
        }
    }
    Ok(kind.map_or(Items::None, |k| k.0))
}

/// Merges the list where the field's strategy says so (or `deletes`: the patch lists what to remove), else replaces it.
pub(super) fn merge_or_replace(
    original: Vec<Value>,
    mut patch: Vec<Value>,
    field: &str,
    deletes: bool,
    place: Place,
) -> Result<Vec<Value>, Error> {
    if deletes || place.strategy(field) == "merge" {
        return merge_lists(original, patch, field, deletes, place);
    }
    patch.retain_mut(without_directives);
    Ok(patch)
}

fn merge_lists(
    original: Vec<Value>,
    patch: Vec<Value>,
    field: &str,
    deletes: bool,
    place: Place,
) -> Result<Vec<Value>, Error> {
    let key = place.merge_key(field);
    match kind_of(&[&original, &patch])? {
        Items::None => Ok(original),
        Items::Scalars if deletes => Ok(original.into_iter().filter(|v| !patch.contains(v)).collect()),
        Items::Scalars => {
            let mut merged = original.clone();
            for v in &patch {
                if !merged.contains(v) {
                    merged.push(v.clone());
                }
            }
            order::arrange(merged, &patch, &original, "")
        }
        Items::Objects if key.is_empty() => Err(bad(format!("cannot merge lists without merge key for {field}"))),
        Items::Objects => {
            let (kept, additions) = special_items(original, patch, key)?;
            let place = place.below(field);
            let mut merged = kept.clone();
            for item in &additions {
                merge_item(&mut merged, item, key, place)?;
            }
            order::arrange(merged, &additions, &kept, key)
        }
    }
}

/// Carries out the items with `$patch`; gives what remains of the original and of the patch.
fn special_items(mut original: Vec<Value>, patch: Vec<Value>, key: &str) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let mut plain_items = Vec::new();
    let mut replace = false;
    for item in patch {
        let Some(directive) = item.get(PATCH) else {
            plain_items.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                let value = item.get(key).ok_or_else(|| no_merge_key(&item, key))?;
                original.retain(|o| o.get(key) != Some(value));
            }
            Some("replace") => replace = true,
            Some("merge") => return Err(bad("merging lists cannot yet be specified in the patch")),
            _ => {
                return Err(bad(format!("unknown patch type: {} in map: {item}", plain(directive))));
            }
        }
    }
    Ok(match replace {
        true => (plain_items, Vec::new()),
        false => (original, plain_items),
    })
}

fn merge_item(merged: &mut Vec<Value>, item: &Value, key: &str, place: Place) -> Result<(), Error> {
    let value = item.get(key).ok_or_else(|| no_merge_key(item, key))?;
    match merged.iter_mut().find(|o| o.get(key) == Some(value)) {
        Some(Value::Object(old)) => {
            let change = item.as_object().cloned().unwrap_or_default();
            *old = merge(std::mem::take(old), change, place)?;
        }
        _ => {
            let mut fresh = item.clone();
            without_directives(&mut fresh);
            merged.push(fresh);
        }
    }
    Ok(())
}

pub(super) fn no_merge_key(item: &Value, key: &str) -> Error {
    bad(format!("map: {item} does not contain declared merge key: {key}"))
}
