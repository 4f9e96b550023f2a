//! What holders write: with a guard on their key nothing comes from who lost the lock, and nothing is lost.

use super::Ownership;
use crate::checker::replay::Replay;
use crate::checker::set::{Added, Set, elements};
use crate::checker::{Evidence, Judgement};
use crate::history::Op;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// Keys of the sets begin so; the last part of the lock's name follows.
const FENCED: &str = "lock/fenced-";
const UNFENCED: &str = "lock/unfenced-";

/// Which set: whether it is fenced, and the last part of its lock's name.
type Name<'a> = (bool, &'a str);

/// Judges the writes, and the sets that are made of them.
pub(super) fn check(evidence: &Evidence, ops: &[&Op], replay: &Replay<'_>, judgement: &mut Judgement) {
    let mut sets: BTreeMap<Name<'_>, Set<'_>> = BTreeMap::new();
    for &op in ops {
        let key = op.key.as_deref().unwrap_or_default();
        let lock = key.rsplit('/').next().unwrap_or_default();
        let understood = match op.f.as_str() {
            "fenced-write" => {
                check_guard(op, replay, judgement);
                note(op, sets.entry((true, lock)).or_default())
            }
            "proclaim" => {
                check_guard(op, replay, judgement);
                true
            }
            "unfenced-write" => note(op, sets.entry((false, lock)).or_default()),
            "read" | "read-final" => match (op.answer(), name(key)) {
                (Some(answer), Some(name)) => sets.entry(name).or_default().read(op, answer),
                _ => true,
            },
            _ => true,
        };
        if !understood {
            judgement.unknown(format!(
                "operation {} ({}) is not of the form of the lock workload",
                op.index, op.f
            ));
        }
    }
    for (&(fenced, lock), set) in &sets {
        if fenced {
            set.check(&format!("{FENCED}{lock}"), judgement);
            for lost in lost(evidence, (fenced, lock), set) {
                let message = format!(
                    "member {} holds {FENCED}{lock} in the end without {} acknowledged elements, {} first",
                    lost.node,
                    lost.elements.len(),
                    lost.elements[0].0
                );
                let ops = lost.elements.iter().take(16).map(|&(_, op)| op).collect();
                judgement.fail("lost", message, ops, Value::Null);
            }
        } else {
            judgement.count("unfenced writes", set.acknowledged().count() as u64);
            let most = lost(evidence, (fenced, lock), set)
                .into_iter()
                .map(|lost| lost.elements.len())
                .max();
            judgement.count("unfenced writes lost (the control)", most.unwrap_or(0) as u64);
        }
    }
}

/// The set that a key holds.
fn name(key: &str) -> Option<Name<'_>> {
    let fenced = key.strip_prefix(FENCED).map(|lock| (true, lock));
    fenced.or_else(|| key.strip_prefix(UNFENCED).map(|lock| (false, lock)))
}

/// What a member lacks in the end.
struct Lost {
    node: usize,
    /// Acknowledged elements with their operations; at least one.
    elements: Vec<(i64, u64)>,
}

/// What each member lacks of a set, for those that lack something.
fn lost(evidence: &Evidence, of: Name<'_>, set: &Set<'_>) -> Vec<Lost> {
    let mut all = Vec::new();
    for state in &evidence.finals {
        let kv = state.kvs.iter().find(|kv| name(&kv.key) == Some(of));
        let has = kv.and_then(|kv| elements(&serde_json::from_str(&kv.value).ok()?));
        let has: HashSet<i64> = has.unwrap_or_default().into_iter().collect();
        let missing = set.acknowledged().filter(|(element, _)| !has.contains(element));
        let mut missing: Vec<(i64, u64)> = missing.map(|(element, op)| (element, op.index)).collect();
        missing.sort_unstable();
        if !missing.is_empty() {
            all.push(Lost {
                node: state.node,
                elements: missing,
            });
        }
    }
    all
}

/// Takes a write into its set.
fn note<'a>(op: &'a Op, set: &mut Set<'a>) -> bool {
    let element = op
        .value
        .as_i64()
        .or_else(|| op.value.get("element").and_then(Value::as_i64));
    let Some(element) = element else { return false };
    let added = match op.answer() {
        // Refused by the guard.
        Some(Value::Bool(false)) => Added::Failed,
        Some(_) => Added::Acknowledged,
        None if op.is_fail() => Added::Failed,
        None => Added::Open,
    };
    set.add(element, op, added)
}

/// A write under a guard went through if, and only if, the key was there.
fn check_guard(op: &Op, replay: &Replay<'_>, judgement: &mut Judgement) {
    let (Some(answer), Some(revision), Some(own)) = (op.answer(), op.revision(), Ownership::of(&op.value)) else {
        return;
    };
    let done = *answer != Value::Bool(false);
    let at = if done { revision - 1 } else { revision };
    let Some(exists) = own.exists(replay, at) else { return };
    let what = format!("operation {} ({}) at revision {revision}", op.index, op.f);
    if done && !exists {
        let message = format!(
            "{what} went through, though its guard {} of revision {} was gone",
            own.key, own.create
        );
        judgement.fail("fencing-violation", message, vec![op.index], Value::Null);
    } else if !done && exists {
        let message = format!(
            "{what} was refused, though its guard {} of revision {} was there",
            own.key, own.create
        );
        judgement.fail("refused-update", message, vec![op.index], Value::Null);
    }
}
