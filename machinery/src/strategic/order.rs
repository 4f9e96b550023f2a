//! The order of merged lists: that of `$setElementOrder`, then that of the patch, then that of the live list
//! (design: preserve-order-in-strategic-merge-patch).
use super::list::{Items, kind_of, merge_or_replace, no_merge_key};
use super::{ELEMENT_ORDER, Error, Object, PATCH, Place, bad, directive_field, without_directives};
use serde_json::Value;

/// What is compared: the merge key's value of an object, a scalar itself.
fn identity<'a>(item: &'a Value, key: &str) -> Option<&'a Value> {
    if key.is_empty() { Some(item) } else { item.get(key) }
}

fn index(list: &[Value], item: &Value, key: &str) -> Option<usize> {
    let id = identity(item, key)?;
    list.iter().position(|v| identity(v, key) == Some(id))
}

/// Puts `merged` in order: items named in `first` keep the order they have there, the others that of `live`,
/// and both are interleaved by their places in `live` as far as that goes.
pub(super) fn arrange(merged: Vec<Value>, first: &[Value], live: &[Value], key: &str) -> Result<Vec<Value>, Error> {
    if !key.is_empty() {
        for item in merged.iter().chain(first) {
            if item.get(key).is_none() {
                return Err(no_merge_key(item, key));
            }
        }
    }
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|v| index(first, v, key).is_some());
    named.sort_by_key(|v| index(first, v, key));
    others.sort_by_key(|v| index(live, v, key).unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    while let (Some(n), Some(o)) = (named.peek(), others.peek()) {
        let before = match (index(live, o, key), index(live, n, key)) {
            (Some(o), Some(n)) => o < n,
            _ => false,
        };
        out.extend(if before { others.next() } else { named.next() });
    }
    out.extend(named);
    out.extend(others);
    Ok(out)
}

/// Carries out each `$setElementOrder/<field>` together with the patch's list of that field, and removes both
/// from the patch.
pub(super) fn merge_ordered_lists(original: &mut Object, patch: &mut Object, place: Place) -> Result<(), Error> {
    const WRONG: &str = "invalid patch format of setElementOrder list";
    let directives: Vec<String> = patch.keys().filter(|k| k.starts_with(ELEMENT_ORDER)).cloned().collect();
    for directive in directives {
        let Some(Value::Array(order)) = patch.remove(&directive) else {
            return Err(bad(WRONG));
        };
        let field = directive_field(&directive, WRONG)?;
        let key = place.merge_key(&field);
        let list = |v: Option<&Value>| match v {
            None => Ok(None),
            Some(Value::Array(a)) => Ok(Some(a.clone())),
            // A null removes the list; it is left for the merge of the field.
            Some(Value::Null) => Ok(None),
            Some(_) => Err(bad(WRONG)),
        };
        let removed = patch.get(&field).is_some_and(Value::is_null);
        let live = list(original.get(&field))?;
        let change = list(patch.get(&field))?;
        check(change.as_deref().unwrap_or_default(), &order, key)?;
        let merged = match (&live, change) {
            _ if removed => continue,
            (None, None) => continue,
            (Some(live), None) => live.clone(),
            (None, Some(mut change)) => {
                change.retain_mut(without_directives);
                change
            }
            (Some(live), Some(change)) => merge_or_replace(live.clone(), change, &field, false, place)?,
        };
        kind_of(&[&merged])?;
        let merged = arrange(merged, &order, live.as_deref().unwrap_or_default(), key)?;
        original.insert(field.clone(), Value::Array(merged));
        patch.remove(&field);
    }
    Ok(())
}

/// The patch's items must stand in the order that the directive gives, and be named by it.
fn check(patch: &[Value], order: &[Value], key: &str) -> Result<(), Error> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    if !key.is_empty() && kind_of(&[patch])? != Items::Objects {
        return Err(bad("invalid patch format of setElementOrder list"));
    }
    let mut rest = order.iter();
    for item in patch.iter().filter(|i| i.get(PATCH).is_none()) {
        let id = identity(item, key).ok_or_else(|| no_merge_key(item, key))?;
        if !rest.any(|o| identity(o, key) == Some(id)) {
            let (patch, order) = (Value::from(patch), Value::from(order));
            return Err(bad(format!(
                "The order in patch list:\n{patch}\n doesn't match {ELEMENT_ORDER} list:\n{order}\n"
            )));
        }
    }
    Ok(())
}
