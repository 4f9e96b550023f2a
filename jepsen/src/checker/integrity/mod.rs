//! Members hold the same in the end, at every revision at which their hashes were asked, and nothing acknowledged is
//! missing. This needs no spectator: it takes what clients were answered and what members hold.

mod acknowledged;
#[cfg(test)]
mod tests;

use super::{Checker, Evidence, Judgement};
use crate::history::{FinalKv, FinalState};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// Keys that a message names.
const NAMED: usize = 5;

/// Judges what members hold.
pub struct IntegrityChecker;

impl Checker for IntegrityChecker {
    fn name(&self) -> &'static str {
        "integrity"
    }

    fn check(&self, evidence: &Evidence) -> Judgement {
        let mut judgement = Judgement::new(self.name());
        check_hashes(evidence, &mut judgement);
        let mut states: Vec<&FinalState> = evidence.finals.iter().collect();
        states.sort_by_key(|state| state.revision);
        for pair in states.windows(2) {
            check_pair(pair[0], pair[1], &mut judgement);
        }
        acknowledged::check(evidence, &mut judgement);
        judgement.count("final states", states.len() as u64);
        let on_store = evidence.meta.workloads.iter().any(|name| !name.starts_with("kube"));
        if on_store && states.len() < evidence.meta.nodes {
            judgement.unknown(format!(
                "the final states of {} of {} members were read",
                states.len(),
                evidence.meta.nodes
            ));
        }
        judgement
    }
}

/// A hash that a member told, with the bounds that it was computed between.
struct Told {
    bounds: (i64, i64),
    hash: u64,
    node: usize,
    op: Option<u64>,
}

/// Hashes between the same bounds are equal on all members.
fn check_hashes(evidence: &Evidence, judgement: &mut Judgement) {
    let finals = evidence.finals.iter().map(|state| Told {
        bounds: (state.compact_revision, state.hash_revision),
        hash: u64::from(state.hash),
        node: state.node,
        op: None,
    });
    let mut all: Vec<Told> = finals.collect();
    for op in evidence.history.ops.iter().filter(|op| op.f == "hash") {
        let Some(answer) = op.answer() else { continue };
        let field = |name: &str| answer.get(name).and_then(Value::as_i64);
        let (Some(hash), Some(revision), Some(compact)) = (field("hash"), field("revision"), field("compact")) else {
            judgement.unknown(format!("operation {} is not of the form of a hash", op.index));
            continue;
        };
        all.push(Told {
            bounds: (compact, revision),
            hash: hash.cast_unsigned(),
            node: op.node,
            op: Some(op.index),
        });
    }
    judgement.count("hashes", all.len() as u64);
    let mut first: HashMap<(i64, i64), &Told> = HashMap::new();
    for told in &all {
        let before = *first.entry(told.bounds).or_insert(told);
        if before.node != told.node {
            judgement.count("hashes compared", 1);
        }
        if before.hash != told.hash {
            let (compact, revision) = told.bounds;
            let message = format!(
                "at revision {revision}, compacted at {compact}, member {} has the hash {:08x} and member {} {:08x}",
                before.node, before.hash, told.node, told.hash
            );
            judgement.fail(
                "hash-mismatch",
                message,
                before.op.into_iter().chain(told.op).collect(),
                Value::Null,
            );
        }
    }
}

/// Two members hold the same, but for what changed since the revision of the one that is behind.
fn check_pair(behind: &FinalState, ahead: &FinalState, judgement: &mut Judgement) {
    let old: BTreeMap<&str, &FinalKv> = behind.kvs.iter().map(|kv| (kv.key.as_str(), kv)).collect();
    let new: BTreeMap<&str, &FinalKv> = ahead.kvs.iter().map(|kv| (kv.key.as_str(), kv)).collect();
    let mut differ: Vec<String> = Vec::new();
    for (key, kv) in &new {
        if kv.mod_revision <= behind.revision && old.get(key) != Some(kv) {
            differ.push(describe(key, old.get(key).copied(), Some(kv)));
        }
    }
    if behind.revision == ahead.revision {
        let missing = old.iter().filter(|(key, _)| !new.contains_key(*key));
        differ.extend(missing.map(|(key, kv)| describe(key, Some(kv), None)));
    }
    if !differ.is_empty() {
        let message = format!(
            "members {} and {} differ in {} keys at revision {}: {}",
            behind.node,
            ahead.node,
            differ.len(),
            behind.revision,
            differ.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ")
        );
        judgement.fail("divergent-state", message, Vec::new(), Value::Null);
    }
}

/// What two members have of a key.
fn describe(key: &str, one: Option<&FinalKv>, other: Option<&FinalKv>) -> String {
    let text = |kv: Option<&FinalKv>| {
        kv.map_or_else(
            || "nothing".to_owned(),
            |kv| {
                format!(
                    "{:?} (mod {}, version {}, lease {})",
                    short(&kv.value),
                    kv.mod_revision,
                    kv.version,
                    kv.lease
                )
            },
        )
    };
    format!("{key}: {} and {}", text(one), text(other))
}

/// The beginning of a value.
fn short(value: &str) -> &str {
    let end = value.char_indices().nth(40).map_or(value.len(), |(at, _)| at);
    &value[..end]
}
