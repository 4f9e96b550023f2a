//! Locks and elections: one holder at a time, by revisions.
//!
//! Who holds a lock has the key with the lowest create revision under the lock's name; so much is the store's promise.
//! It is judged against the sequence of states that the spectators saw: whoever was told that it holds the lock had
//! such a key at the revision of the answer. That a holder which slept may be overtaken is no fault of the store; what
//! it writes with a guard on its key (`fenced-write`) must not get through then, and nothing of what did is lost. What
//! is written without the guard (`unfenced-write`) is the control: its losses are counted, not held against anyone.

mod fence;
#[cfg(test)]
mod tests;

use super::replay::{Known, Replay};
use super::{Checker, Evidence, Judgement};
use crate::history::Op;
use serde_json::Value;

/// Names of the workloads.
pub const WORKLOADS: [&str; 2] = ["lock", "election"];

/// Judges locks and elections.
pub struct LockChecker;

impl Checker for LockChecker {
    fn name(&self) -> &'static str {
        "lock"
    }

    fn check(&self, evidence: &Evidence) -> Judgement {
        let mut judgement = Judgement::new(self.name());
        let is_ours = |op: &&Op| WORKLOADS.contains(&op.workload.as_str());
        let ops: Vec<&Op> = evidence.history.ops.iter().filter(is_ours).collect();
        let replay = Replay::build(evidence);
        let later = later(&ops);
        let mut held = 0;
        for op in ops.iter().filter(|op| op.is_ok()) {
            let understood = match op.f.as_str() {
                "acquire" => {
                    held += 1;
                    check_holder(op, op.revision(), &replay, &mut judgement)
                }
                // The revision of the answer is that of the candidacy, at which others may have led.
                "campaign" => {
                    held += 1;
                    let after = later.partition_point(|&(call_ns, _)| op.return_ns.is_none_or(|ns| call_ns <= ns));
                    let first = later.get(after).map(|&(_, revision)| revision);
                    first.is_none() || check_elected(op, first, &replay, &mut judgement)
                }
                "leader" => {
                    op.answer().is_some_and(Value::is_null) || check_holder(op, op.revision(), &replay, &mut judgement)
                }
                _ => true,
            };
            if !understood {
                judgement.unknown(format!(
                    "operation {} ({}) is not of the form of its workload",
                    op.index, op.f
                ));
            }
        }
        fence::check(evidence, &ops, &replay, &mut judgement);
        judgement.count("holders", held);
        for name in WORKLOADS
            .iter()
            .filter(|name| evidence.meta.workloads.iter().any(|w| w == *name))
        {
            let acquired =
                |op: &&&Op| op.workload == **name && op.is_ok() && matches!(op.f.as_str(), "acquire" | "campaign");
            if !ops.iter().any(|op| acquired(&op)) {
                judgement.unknown(format!("nobody ever held anything in the workload {name}"));
            }
        }
        if held > 0 && replay.last() <= 1 {
            judgement.unknown("no spectator saw who held locks".to_owned());
        }
        judgement
    }
}

/// The key by which somebody holds a lock.
pub(super) struct Ownership<'a> {
    pub key: &'a str,
    pub create: i64,
}

impl<'a> Ownership<'a> {
    /// From an answer or arguments.
    pub(super) fn of(value: &'a Value) -> Option<Ownership<'a>> {
        let field = |names: &[&str]| names.iter().find_map(|name| value.get(*name));
        Some(Ownership {
            key: field(&["owner key", "owner", "key"])?.as_str()?,
            create: field(&["create_revision", "create", "rev"])?.as_i64()?,
        })
    }

    /// Whether it was there at a revision, where that is known.
    pub(super) fn exists(&self, replay: &Replay<'_>, revision: i64) -> Option<bool> {
        let now = replay.at(self.key, revision).known()?;
        Some(now.is_some_and(|version| version.create_revision == self.create))
    }
}

/// The name under which a key contends.
fn prefix(key: &str) -> &str {
    key.rfind('/').map_or("", |at| &key[..=at])
}

/// By the time of their calls: the lowest revision that was answered to whoever called then or later.
fn later(ops: &[&Op]) -> Vec<(u64, i64)> {
    let mut all: Vec<(u64, i64)> = ops.iter().filter_map(|op| Some((op.call_ns, op.revision()?))).collect();
    all.sort_unstable();
    let mut lowest = i64::MAX;
    for (_, revision) in all.iter_mut().rev() {
        lowest = lowest.min(*revision);
        *revision = lowest;
    }
    all
}

/// Who was told that it, or somebody, holds the lock: that was so at the revision of the answer.
fn check_holder(op: &Op, revision: Option<i64>, replay: &Replay<'_>, judgement: &mut Judgement) -> bool {
    let Some(own) = op.answer().and_then(Ownership::of) else {
        return false;
    };
    let revision = revision.unwrap_or(own.create).max(own.create);
    if own.exists(replay, revision) == Some(false) {
        let message = format!(
            "operation {} ({}) at revision {revision} names {} of revision {} as the holder, which did not exist then",
            op.index, op.f, own.key, own.create
        );
        judgement.fail("expired-holder", message, vec![op.index], Value::Null);
        return true;
    }
    check_alone(op, &own, revision, replay, judgement);
    true
}

/// Who was elected had nobody before it any more, at the latest when somebody else called after that.
fn check_elected(op: &Op, later: Option<i64>, replay: &Replay<'_>, judgement: &mut Judgement) -> bool {
    let Some(own) = op.answer().and_then(Ownership::of) else {
        return false;
    };
    if let Some(later) = later {
        check_alone(op, &own, later.max(own.create), replay, judgement);
    }
    true
}

/// Nobody else has an older key at a revision.
fn check_alone(op: &Op, own: &Ownership<'_>, revision: i64, replay: &Replay<'_>, judgement: &mut Judgement) {
    let prefix = prefix(own.key);
    let end = format!("{}0", prefix.trim_end_matches('/'));
    for key in replay.keys_in(prefix, &end).filter(|key| *key != own.key) {
        if let Known::Known(Some(other)) = replay.at(key, revision)
            && other.create_revision < own.create
        {
            let message = format!(
                "operation {} ({}) names {} of revision {} as the holder, and at revision {revision} {key} of revision {} held it",
                op.index, op.f, own.key, own.create, other.create_revision
            );
            judgement.fail("overlapping-holders", message, vec![op.index], Value::Null);
            return;
        }
    }
}
