//! Reads of one object.

use super::Told;
use super::truth::{Floor, Object, Truth};
use crate::checker::replay::Known;
use crate::history::{Op, Outcome, Seen};

pub(super) fn check(ops: &[&Op], truth: &Truth<'_>, floor: &Floor, told: &mut Told) {
    for op in ops.iter().filter(|op| op.f == "get") {
        let (Outcome::Ok { value, .. }, Some(name)) = (&op.outcome, op.key.as_deref()) else {
            continue;
        };
        let Ok(seen) = serde_json::from_value::<Option<Seen>>(value.clone()) else {
            told.judgement
                .unknown(format!("the answer of {} is not understood", op.index));
            continue;
        };
        told.judgement.count("gets", 1);
        let least = match op.value["rv"].as_str().unwrap_or_default() {
            "" => floor.before(op.call_ns),
            rv => rv.parse().unwrap_or(0),
        };
        match seen {
            Some(seen) => found(op, name, &seen, least, truth, told),
            None => absent(op, name, least, truth, told),
        }
    }
}

fn found(op: &Op, name: &str, seen: &Seen, least: i64, truth: &Truth<'_>, told: &mut Told) {
    if !is_version(name, seen, truth) {
        let message = format!(
            "{} shows {seen:?}, the store has {:?}",
            op.index,
            truth.at(name, seen.rv)
        );
        told.fail("wrong-object", message, vec![op.index], &truth.prefix);
        return;
    }
    let versions = truth.versions(name);
    let next = versions.get(versions.partition_point(|v| v.mod_revision <= seen.rv));
    if let Some(next) = next.filter(|n| n.mod_revision <= least) {
        let message = format!(
            "{} shows {name:?} at {}, which was overwritten at {}; it must not be older than {least}",
            op.index, seen.rv, next.mod_revision
        );
        told.fail("stale-get", message, vec![op.index], &truth.prefix);
    }
}

/// Whether the object was so at its resourceVersion, as far as is known.
pub(super) fn is_version(name: &str, seen: &Seen, truth: &Truth<'_>) -> bool {
    match truth.at(name, seen.rv) {
        Known::Known(object) => object.is_some_and(|o| o.rv == seen.rv && o.is_shown_by(seen)),
        Known::Unknown => true,
    }
}

/// It must have been absent at that revision or later.
fn absent(op: &Op, name: &str, least: i64, truth: &Truth<'_>, told: &mut Told) {
    if !truth.covers(least.max(2), truth.last()) {
        return;
    }
    let Known::Known(Some(held)) = truth.at(name, least) else {
        return;
    };
    if truth
        .versions(name)
        .iter()
        .any(|v| v.mod_revision > least && Object::of(*v).is_none())
    {
        return;
    }
    let message = format!(
        "{} shows {name:?} as absent, which stands there since {}; it must not be older than {least}",
        op.index, held.rv
    );
    told.fail("stale-get", message, vec![op.index], &truth.prefix);
}
