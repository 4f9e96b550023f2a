//! Writes: each directly follows what it was to follow, and stands in the store as it was acknowledged.

use super::Told;
use super::truth::{Object, Truth};
use crate::checker::replay::Known;
use crate::history::{Op, Outcome};
use std::collections::{HashMap, HashSet};

pub(super) fn check(ops: &[&Op], truth: &Truth<'_>, told: &mut Told) {
    let mut refused: HashMap<u64, &Op> = HashMap::new();
    // A value that was refused may be tried again.
    let mut tried: HashSet<u64> = HashSet::new();
    for op in ops {
        let Some(name) = op.key.as_deref() else { continue };
        let v = op.value["v"].as_u64();
        match (op.f.as_str(), &op.outcome) {
            ("create" | "update" | "patch", Outcome::Fail { .. }) => refused.extend(v.map(|v| (v, *op))),
            ("create" | "update" | "patch", Outcome::Ok { revision, .. }) => {
                tried.extend(v);
                if let Some(rv) = revision {
                    written(op, name, *rv, truth, told);
                }
            }
            ("create" | "update" | "patch", Outcome::Info { .. }) => tried.extend(v),
            ("delete", Outcome::Ok { value, .. }) => {
                deleted(op, name, value["uid"].as_str().unwrap_or_default(), truth, told);
            }
            _ => {}
        }
    }
    refused.retain(|v, _| !tried.contains(v));
    for change in &truth.changes {
        let Some(op) = change.after.and_then(|o| refused.get(&o.v)) else {
            continue;
        };
        if op.key.as_deref() == Some(change.name) {
            let message = format!(
                "{:?} has {} at {}, which was refused",
                change.name, op.value["v"], change.rv
            );
            told.fail("aborted-write", message, vec![op.index], &truth.prefix);
        }
    }
}

fn written(op: &Op, name: &str, rv: i64, truth: &Truth<'_>, told: &mut Told) {
    let Known::Known(object) = truth.at(name, rv) else {
        return;
    };
    told.judgement.count("writes", 1);
    let v = op.value["v"].as_u64().unwrap_or_default();
    let color = op.value["color"].as_str().unwrap_or_default();
    if object.is_none_or(|o| (o.rv, o.v, o.color) != (rv, v, color)) {
        let message = format!(
            "{} of {name:?} with {v} {color:?} was acknowledged at {rv}, the store has {object:?}",
            op.f
        );
        told.fail("lost-write", message, vec![op.index], &truth.prefix);
        return;
    }
    let Known::Known(before) = truth.at(name, rv - 1) else {
        return;
    };
    let wanted = op.value["rv"].as_str().unwrap_or_default();
    if op.f == "create" {
        if let Some(before) = before {
            let message = format!("{name:?} was created at {rv} over what stood there since {}", before.rv);
            told.fail("created-over", message, vec![op.index], &truth.prefix);
        }
    } else if !wanted.is_empty() && before.is_none_or(|b| b.rv.to_string() != wanted) {
        let before = before.map_or_else(|| "nothing".to_owned(), |b| b.rv.to_string());
        let message = format!(
            "{} of {name:?} with resourceVersion {wanted} was done at {rv}, upon {before}",
            op.f
        );
        told.fail("precondition-ignored", message, vec![op.index], &truth.prefix);
    }
}

/// A deletion tells no revision: it is found by the uid of what was deleted.
fn deleted(op: &Op, name: &str, uid: &str, truth: &Truth<'_>, told: &mut Told) {
    if uid.is_empty() || !truth.covers(2, truth.last()) {
        return;
    }
    told.judgement.count("deletions", 1);
    let versions = truth.versions(name);
    let last = versions
        .iter()
        .rposition(|v| Object::of(*v).is_some_and(|o| o.has_uid(uid)));
    let next = last.and_then(|at| versions.get(at + 1));
    if !next.is_some_and(|v| v.is_deleted()) {
        let message = format!("{name:?} with uid {uid} was told to be deleted, and was not");
        told.fail("lost-delete", message, vec![op.index], &truth.prefix);
        return;
    }
    let wanted = op.value["rv"].as_str().unwrap_or_default();
    let before = last.map_or(0, |at| versions[at].mod_revision);
    if !wanted.is_empty() && before.to_string() != wanted {
        let message = format!("deletion of {name:?} with resourceVersion {wanted} was done upon {before}");
        told.fail("precondition-ignored", message, vec![op.index], &truth.prefix);
    }
    let wanted = op.value["uid"].as_str().unwrap_or_default();
    if !wanted.is_empty() && wanted != uid {
        let message = format!("deletion of {name:?} with uid {wanted} was done to {uid}");
        told.fail("precondition-ignored", message, vec![op.index], &truth.prefix);
    }
}
