//! Judges the sequence itself: the spectators agree, nothing acknowledged is missing from it, nothing refused stands in
//! it, and what members hold in the end is what it ends in.

use super::{Known, Replay};
use crate::checker::{Checker, Evidence, Judgement};
use crate::history::{FinalState, Op, Outcome};
use serde_json::{Value, json};

/// Findings of one kind that are told of.
const FINDINGS_MAX: usize = 20;

/// The checker `replay`; for every workload.
pub struct ReplayChecker;

impl Checker for ReplayChecker {
    fn name(&self) -> &'static str {
        "replay"
    }

    fn check(&self, evidence: &Evidence) -> Judgement {
        let mut judgement = Judgement::new(self.name());
        let replay = Replay::build(evidence);
        judgement.count("revisions", u64::try_from(replay.last()).unwrap_or(0));
        for &(from, through) in replay.gaps() {
            judgement.count("revisions-unknown", u64::try_from(through - from + 1).unwrap_or(0));
        }
        let highest = evidence.history.ops.iter().filter_map(Op::revision).max().unwrap_or(0);
        if replay.last() < highest {
            let last = replay.last();
            judgement.unknown(format!(
                "spectators know of revisions up to {last}, of {highest} that were answered"
            ));
        }
        for doubt in replay.doubts().iter().take(FINDINGS_MAX) {
            judgement.fail(
                doubt.anomaly,
                doubt.message.clone(),
                Vec::new(),
                json!({"revision": doubt.revision}),
            );
        }
        writes(&evidence.history.ops, &replay, &mut judgement);
        for state in &evidence.finals {
            final_state(state, &replay, &mut judgement);
        }
        judgement
    }
}

/// What an operation writes, when it takes effect: keys with their value, or `None` for a deletion. Only of workloads
/// whose operations tell it by themselves, and only what is unique within a key.
fn writes_of(op: &Op) -> Vec<(&str, Option<&str>)> {
    match op.workload.as_str() {
        "register" if op.f == "put" => {
            let key = op.key.as_deref();
            key.zip(op.value.as_str())
                .map(|(k, v)| (k, Some(v)))
                .into_iter()
                .collect()
        }
        "watch" => op
            .value
            .as_array()
            .map_or_else(Vec::new, |list| list.iter().filter_map(change).collect()),
        _ => Vec::new(),
    }
}

/// `["put", k, v]` or `["delete", k]`.
fn change(item: &Value) -> Option<(&str, Option<&str>)> {
    match item.get(0)?.as_str()? {
        "put" => Some((item.get(1)?.as_str()?, Some(item.get(2)?.as_str()?))),
        "delete" => Some((item.get(1)?.as_str()?, None)),
        _ => None,
    }
}

/// Acknowledged writes stand at their revision; refused ones nowhere.
fn writes(ops: &[Op], replay: &Replay<'_>, judgement: &mut Judgement) {
    let (mut lost, mut visible) = (0, 0);
    for op in ops {
        for (key, value) in writes_of(op) {
            match (&op.outcome, value) {
                (
                    Outcome::Ok {
                        revision: Some(revision),
                        ..
                    },
                    Some(value),
                ) => {
                    let Known::Known(events) = replay.events(*revision) else {
                        continue;
                    };
                    judgement.count("acknowledged-writes", 1);
                    if events.iter().any(|(k, v)| *k == key && v.value == Some(value)) {
                        continue;
                    }
                    lost += 1;
                    if lost <= FINDINGS_MAX {
                        let message = format!(
                            "{key:?} = {value:?} was acknowledged at revision {revision}, which the members have as {events:?}"
                        );
                        judgement.fail("lost-write", message, vec![op.index], json!({"revision": revision}));
                    }
                }
                (Outcome::Fail { error }, Some(value)) => {
                    if let Some(revision) = replay.written(key, value) {
                        visible += 1;
                        if visible <= FINDINGS_MAX {
                            let message =
                                format!("{key:?} = {value:?} was refused ({error}) and stands at revision {revision}");
                            judgement.fail("aborted-write", message, vec![op.index], json!({"revision": revision}));
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// What a member holds in the end is what the sequence has at that revision.
fn final_state(state: &FinalState, replay: &Replay<'_>, judgement: &mut Judgement) {
    let Known::Known(expected) = replay.range("\0", "\0", state.revision) else {
        // Keys one by one: a gap long ago does not hide what was written since.
        for kv in &state.kvs {
            if let Known::Known(held) = replay.at(&kv.key, state.revision) {
                compare(state, &kv.key, held, replay, judgement);
            }
        }
        judgement.count("final-states-known-in-part", 1);
        return;
    };
    judgement.count("final-states", 1);
    let mut keys: Vec<&str> = expected
        .iter()
        .map(|(k, _)| *k)
        .chain(state.kvs.iter().map(|kv| kv.key.as_str()))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let held = expected
            .binary_search_by(|(k, _)| (*k).cmp(key))
            .ok()
            .map(|i| expected[i].1);
        compare(state, key, held, replay, judgement);
    }
}

fn compare(
    state: &FinalState,
    key: &str,
    held: Option<super::Version<'_>>,
    replay: &Replay<'_>,
    judgement: &mut Judgement,
) {
    let kv = state
        .kvs
        .binary_search_by(|kv| kv.key.as_str().cmp(key))
        .ok()
        .map(|i| &state.kvs[i]);
    let same = match (kv, &held) {
        (None, None) => true,
        (Some(kv), Some(v)) => {
            v.value == Some(kv.value.as_str())
                && (v.mod_revision, v.create_revision, v.version, v.lease)
                    == (kv.mod_revision, kv.create_revision, kv.version, kv.lease)
        }
        _ => false,
    };
    let told = judgement
        .findings
        .iter()
        .filter(|f| f.anomaly == "final-state-differs")
        .count();
    if !same && told < FINDINGS_MAX {
        let message = format!(
            "member {} at revision {}: {key:?} is {kv:?}, the sequence of events has {held:?} (known through {})",
            state.node,
            state.revision,
            replay.last()
        );
        judgement.fail(
            "final-state-differs",
            message,
            Vec::new(),
            json!({"node": state.node, "key": key}),
        );
    }
}
