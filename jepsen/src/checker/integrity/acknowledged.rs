//! Nothing acknowledged is missing in the end.

use crate::checker::{Evidence, Judgement};
use crate::history::{FinalKv, Op};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Workloads whose operations tell what they write, to keys that do not end with a lease.
const WORKLOADS: [&str; 7] = ["register", "append", "wr", "set", "watch", "integrity", "past"];

/// What was acknowledged of a key.
#[derive(Default)]
struct Acknowledged<'a> {
    /// Revision and operation of the last write, and its value where that is plain.
    last: Option<(i64, &'a Op, Option<&'a str>)>,
    /// Revision up to which it may have been deleted.
    deleted: i64,
    /// Elements that were appended to its list.
    appended: Vec<(i64, &'a Op)>,
}

/// Holds what was acknowledged against what each member has.
pub(super) fn check(evidence: &Evidence, judgement: &mut Judgement) {
    let mut keys: BTreeMap<String, Acknowledged<'_>> = BTreeMap::new();
    for op in evidence
        .history
        .ops
        .iter()
        .filter(|op| WORKLOADS.contains(&op.workload.as_str()))
    {
        note(op, &mut keys);
    }
    judgement.count(
        "keys with acknowledged writes",
        keys.values().filter(|key| key.last.is_some()).count() as u64,
    );
    for state in &evidence.finals {
        let has: HashMap<&str, &FinalKv> = state.kvs.iter().map(|kv| (kv.key.as_str(), kv)).collect();
        for (key, acknowledged) in &keys {
            let at = Held {
                node: state.node,
                revision: state.revision,
                key,
                kv: has.get(key.as_str()).copied(),
            };
            at.check_last(acknowledged, judgement);
            at.check_list(acknowledged, judgement);
        }
    }
}

/// The key as the store has it: those of a workload begin with its name.
fn full(op: &Op, key: &str) -> String {
    let prefix = format!("{}/", op.workload);
    if key.starts_with(&prefix) {
        key.to_owned()
    } else {
        prefix + key
    }
}

fn note<'a>(op: &'a Op, keys: &mut BTreeMap<String, Acknowledged<'a>>) {
    let mut write = |key: &str, value: Option<&'a str>| {
        let Some(revision) = op.revision() else { return };
        let held = keys.entry(full(op, key)).or_default();
        if held.last.is_none_or(|(last, ..)| revision > last) {
            held.last = Some((revision, op, value));
        }
    };
    let done = op.answer().is_some_and(|answer| *answer != Value::Bool(false));
    match (op.f.as_str(), op.key.as_deref()) {
        ("put", Some(key)) if done => write(key, op.value.as_str()),
        ("cas" | "cas-mod", Some(key)) if done => write(key, op.value.get("to").and_then(Value::as_str)),
        ("add", key) if done => {
            let Some(element) = op.value.as_i64() else { return };
            match key {
                Some(list) if list.ends_with("list") => {
                    keys.entry(full(op, list)).or_default().appended.push((element, op))
                }
                Some(key) => write(key, None),
                None => write(&element.to_string(), None),
            }
        }
        ("delete", Some(key)) if !op.is_fail() => delete(op, key, keys),
        ("txn", _) if !op.is_fail() => {
            for step in op.value.as_array().into_iter().flatten() {
                let name = |at: usize| step.get(at).and_then(Value::as_str);
                let Some(key) = name(1) else { continue };
                match name(0) {
                    Some("append") if done => {
                        if let Some(element) = step.get(2).and_then(Value::as_i64) {
                            keys.entry(full(op, key)).or_default().appended.push((element, op));
                        }
                    }
                    Some("delete") => delete(op, key, keys),
                    Some("w" | "put") if done => {
                        if let Some(revision) = op.revision() {
                            let held = keys.entry(full(op, key)).or_default();
                            if held.last.is_none_or(|(last, ..)| revision > last) {
                                held.last = Some((revision, op, None));
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// What ended indefinitely may delete at any time.
fn delete<'a>(op: &'a Op, key: &str, keys: &mut BTreeMap<String, Acknowledged<'a>>) {
    let held = keys.entry(full(op, key)).or_default();
    held.deleted = held.deleted.max(op.revision().unwrap_or(i64::MAX));
}

/// A key as one member has it in the end.
struct Held<'a> {
    node: usize,
    revision: i64,
    key: &'a str,
    kv: Option<&'a FinalKv>,
}

impl Held<'_> {
    /// The last acknowledged write is there, or a later one, or a deletion came after it.
    fn check_last(&self, acknowledged: &Acknowledged<'_>, judgement: &mut Judgement) {
        let Some((revision, op, value)) = acknowledged.last.filter(|&(revision, ..)| revision <= self.revision) else {
            return;
        };
        let problem = match self.kv {
            None if acknowledged.deleted > revision => return,
            None => "does not have the key".to_owned(),
            Some(kv) if kv.mod_revision < revision => format!("has it as of revision {}", kv.mod_revision),
            Some(kv) if kv.mod_revision == revision && value.is_some_and(|value| value != kv.value) => {
                format!("has another value of that revision: {:?}", super::short(&kv.value))
            }
            Some(_) => return,
        };
        let message = format!(
            "{} was written by operation {} ({}) at revision {revision}, and member {} {problem} at revision {}",
            self.key, op.index, op.f, self.node, self.revision
        );
        judgement.fail("lost-write", message, vec![op.index], Value::Null);
    }

    /// Everything that was appended to a list is in it.
    fn check_list(&self, acknowledged: &Acknowledged<'_>, judgement: &mut Judgement) {
        if acknowledged.appended.is_empty() || acknowledged.deleted > 0 {
            return;
        }
        let list = self
            .kv
            .and_then(|kv| serde_json::from_str::<Vec<i64>>(&kv.value).ok())
            .unwrap_or_default();
        let has: HashSet<i64> = list.into_iter().collect();
        let lost: Vec<&(i64, &Op)> = acknowledged
            .appended
            .iter()
            .filter(|(element, op)| {
                !has.contains(element) && op.revision().is_none_or(|revision| revision <= self.revision)
            })
            .collect();
        if let Some((first, op)) = lost.first() {
            let message = format!(
                "{} lacks {} acknowledged elements on member {}, {first} of operation {} first",
                self.key,
                lost.len(),
                self.node,
                op.index
            );
            let ops = lost.iter().take(16).map(|(_, op)| op.index).collect();
            judgement.fail("lost-append", message, ops, Value::Null);
        }
    }
}
