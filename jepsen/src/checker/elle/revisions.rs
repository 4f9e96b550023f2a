//! Transactions against the sequence of states: each saw the state before its revision, and its writes stand at it.

use super::append::Told;
use super::intern::Names;
use super::txn::Txn;
use crate::checker::Judgement;
use crate::checker::replay::{Known, Replay, Version};
use serde_json::json;
use std::fmt::Debug;

/// What a read sees, and how it stands in the store.
pub(super) trait Stored: Debug {
    /// Whether this is what a key holds.
    fn is(&self, stored: Option<&str>) -> bool;

    /// Whether a value was made by writing this last.
    fn was_written(value: i64, stored: &str) -> bool;
}

impl Stored for Vec<i64> {
    fn is(&self, stored: Option<&str>) -> bool {
        stored
            .map_or(Ok(Vec::new()), serde_json::from_str)
            .is_ok_and(|list: Vec<i64>| list == *self)
    }

    fn was_written(value: i64, stored: &str) -> bool {
        serde_json::from_str(stored).is_ok_and(|list: Vec<i64>| list.contains(&value))
    }
}

impl Stored for Option<i64> {
    fn is(&self, stored: Option<&str>) -> bool {
        stored.map(str::to_owned) == self.map(|v| v.to_string())
    }

    fn was_written(value: i64, stored: &str) -> bool {
        stored == value.to_string()
    }
}

/// Judges what spectators know of.
pub(super) fn check<S: Stored>(txns: &[Txn<S>], names: &Names, replay: &Replay<'_>, judgement: &mut Judgement) {
    let mut told = Told::default();
    for txn in txns.iter().filter(|t| t.is_committed()) {
        let Some(revision) = txn.revision else { continue };
        let mut writes = false;
        for (key, value) in txn.writes() {
            writes = true;
            let name = names.get(key).unwrap_or_default();
            let Known::Known(held) = replay.at(name, revision) else {
                continue;
            };
            judgement.count("writes-at-revision", 1);
            let is_there =
                |v: Version<'_>| v.mod_revision == revision && v.value.is_some_and(|v| S::was_written(value, v));
            if !held.is_some_and(is_there) && told.may("lost-write") {
                let message = format!(
                    "{} wrote {value} to {name:?} at {revision}, which holds {held:?}",
                    txn.op
                );
                judgement.fail(
                    "lost-write",
                    message,
                    vec![txn.op],
                    json!({"key": name, "revision": revision}),
                );
            }
        }
        // One that writes makes a new state, and sees the one before; others see that of their revision.
        let seen_at = if writes { revision - 1 } else { revision };
        for (key, seen) in txn.external_reads() {
            let name = names.get(key).unwrap_or_default();
            let Known::Known(held) = replay.at(name, seen_at) else {
                continue;
            };
            judgement.count("reads-at-revision", 1);
            if !seen.is(held.and_then(|v| v.value)) && told.may("wrong-read") {
                let message = format!(
                    "{} read {name:?} at {seen_at} as {seen:?}, the store held {held:?}",
                    txn.op
                );
                judgement.fail(
                    "wrong-read",
                    message,
                    vec![txn.op],
                    json!({"key": name, "revision": seen_at}),
                );
            }
        }
    }
}
