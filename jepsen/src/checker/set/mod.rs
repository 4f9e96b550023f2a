//! A set that only grows: what was added stays, appears once, and was added by somebody.
//!
//! An element is known to be there from the return of its `add`, or of the first read that has it, on; every read that
//! is called later must have it. Elements are single keys, or members of one list; each kind is a set of its own.

#[cfg(test)]
mod tests;

use super::{Checker, Evidence, Judgement};
use crate::history::{Op, Outcome};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// Name of the workload.
pub const WORKLOAD: &str = "set";
/// Elements that a message names.
const NAMED: usize = 10;

/// Judges the set workload: lost, stale, duplicated and phantom elements.
pub struct SetChecker;

impl Checker for SetChecker {
    fn name(&self) -> &'static str {
        "set"
    }

    fn check(&self, evidence: &Evidence) -> Judgement {
        let mut judgement = Judgement::new(self.name());
        let mut sets: BTreeMap<&str, Set<'_>> = BTreeMap::new();
        for op in evidence.history.ops.iter().filter(|op| op.workload == WORKLOAD) {
            if !sets.entry(flavour(op)).or_default().note(op) {
                judgement.unknown(format!(
                    "operation {} ({}) is not of the form of the set workload",
                    op.index, op.f
                ));
            }
        }
        let wanted = evidence.meta.workloads.iter().any(|name| name == WORKLOAD);
        if wanted && !sets.values().any(|set| set.acknowledged().next().is_some()) {
            judgement.unknown("nothing was added to a set".to_owned());
        }
        for (flavour, set) in sets {
            set.check(flavour, &mut judgement);
        }
        judgement
    }
}

/// Which set: the one in a list under one key, or the one of single keys.
fn flavour(op: &Op) -> &'static str {
    match op.key.as_deref() {
        Some(key) if key.ends_with("list") => "list",
        _ => "keys",
    }
}

/// How the addition of an element ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    Acknowledged,
    Failed,
    Open,
}

impl Added {
    fn of(op: &Op) -> Added {
        match op.outcome {
            Outcome::Ok { .. } => Added::Acknowledged,
            Outcome::Fail { .. } => Added::Failed,
            Outcome::Info { .. } => Added::Open,
        }
    }
}

/// A set: who added what, and who read what.
#[derive(Default)]
pub(super) struct Set<'a> {
    adds: HashMap<i64, (&'a Op, Added)>,
    reads: Vec<(&'a Op, Vec<i64>)>,
}

/// A read, in the numbering of elements by the time from which they are known.
struct Read<'a> {
    op: &'a Op,
    return_ns: u64,
    has: Vec<u64>,
}

impl<'a> Set<'a> {
    /// Takes an operation; `false` when it is of another form.
    pub(super) fn note(&mut self, op: &'a Op) -> bool {
        match op.f.as_str() {
            "add" => op
                .value
                .as_i64()
                .is_some_and(|element| self.add(element, op, Added::of(op))),
            "read" | "read-final" => match op.answer() {
                None => true,
                Some(answer) => self.read(op, answer),
            },
            _ => false,
        }
    }

    /// Takes the addition of an element; `false` when it was added before.
    pub(super) fn add(&mut self, element: i64, op: &'a Op, added: Added) -> bool {
        self.adds.insert(element, (op, added)).is_none()
    }

    /// Takes what a read answered; `false` when that is no list of numbers.
    pub(super) fn read(&mut self, op: &'a Op, answer: &Value) -> bool {
        elements(answer).is_some_and(|elements| {
            self.reads.push((op, elements));
            true
        })
    }

    /// Elements whose addition was acknowledged.
    pub(super) fn acknowledged(&self) -> impl Iterator<Item = (i64, &'a Op)> {
        let all = self.adds.iter().filter(|(_, (_, added))| *added == Added::Acknowledged);
        all.map(|(&element, &(op, _))| (element, op))
    }

    pub(super) fn check(&self, name: &str, judgement: &mut Judgement) {
        for (op, elements) in &self.reads {
            self.check_read(name, op, elements, judgement);
        }
        self.check_missing(name, judgement);
        judgement.count("elements added", self.acknowledged().count() as u64);
        judgement.count("reads", self.reads.len() as u64);
    }

    /// A read has each element once, and only what was added before it returned.
    fn check_read(&self, name: &str, op: &Op, elements: &[i64], judgement: &mut Judgement) {
        let mut sorted = elements.to_vec();
        sorted.sort_unstable();
        let mut twice: Vec<i64> = sorted
            .windows(2)
            .filter(|pair| pair[0] == pair[1])
            .map(|pair| pair[0])
            .collect();
        twice.dedup();
        if !twice.is_empty() {
            let message = format!("set {name}: read {} has more than once: {}", op.index, list(&twice));
            judgement.fail("duplicated", message, self.with_adds(op, &twice), Value::Null);
        }
        sorted.dedup();
        let return_ns = op.return_ns.unwrap_or(u64::MAX);
        let phantom: Vec<i64> = sorted
            .iter()
            .filter(|element| self.adds.get(element).is_none_or(|(add, _)| add.call_ns > return_ns))
            .copied()
            .collect();
        if !phantom.is_empty() {
            let message = format!(
                "set {name}: read {} has what nobody had added: {}",
                op.index,
                list(&phantom)
            );
            judgement.fail("phantom", message, self.with_adds(op, &phantom), Value::Null);
        }
        let failed: Vec<i64> = sorted
            .iter()
            .filter(|element| self.adds.get(element).is_some_and(|&(_, added)| added == Added::Failed))
            .copied()
            .collect();
        if !failed.is_empty() {
            let message = format!(
                "set {name}: read {} has what failed to be added: {}",
                op.index,
                list(&failed)
            );
            judgement.fail("aborted-read", message, self.with_adds(op, &failed), Value::Null);
        }
    }

    /// A read and the operations that added the elements it is about.
    fn with_adds(&self, op: &Op, elements: &[i64]) -> Vec<u64> {
        let adds = elements
            .iter()
            .take(NAMED)
            .filter_map(|element| self.adds.get(element))
            .map(|(add, _)| add.index);
        std::iter::once(op.index).chain(adds).collect()
    }

    /// Elements by the time from which everybody must see them.
    fn known(&self) -> Vec<(u64, i64)> {
        let mut known: HashMap<i64, u64> = HashMap::new();
        let acknowledged = self
            .acknowledged()
            .filter_map(|(element, op)| Some((element, op.return_ns?)));
        let seen = self
            .reads
            .iter()
            .flat_map(|(op, elements)| elements.iter().filter_map(|&element| Some((element, op.return_ns?))));
        for (element, ns) in acknowledged.chain(seen) {
            let since = known.entry(element).or_insert(ns);
            *since = ns.min(*since);
        }
        let mut known: Vec<(u64, i64)> = known.into_iter().map(|(element, ns)| (ns, element)).collect();
        known.sort_unstable();
        known
    }

    /// What is known must be in every later read. What is missing for good is lost; what comes back was stale.
    fn check_missing(&self, name: &str, judgement: &mut Judgement) {
        let known = self.known();
        let places: HashMap<i64, usize> = known
            .iter()
            .enumerate()
            .map(|(at, &(_, element))| (element, at))
            .collect();
        let mut reads: Vec<Read<'_>> = self
            .reads
            .iter()
            .map(|(op, elements)| {
                let mut has = vec![0; known.len().div_ceil(64)];
                for place in elements.iter().filter_map(|element| places.get(element)) {
                    has[place / 64] |= 1 << (place % 64);
                }
                Read {
                    op,
                    return_ns: op.return_ns.unwrap_or(u64::MAX),
                    has,
                }
            })
            .collect();
        reads.sort_by_key(|read| read.op.call_ns);
        // Per element the call of the last read that has it, and the reads that miss it.
        let mut last_seen_ns = vec![0_u64; known.len()];
        let mut missing: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (number, read) in reads.iter().enumerate() {
            let due = known.partition_point(|&(ns, _)| ns < read.op.call_ns);
            for (word, has) in read.has.iter().enumerate() {
                let wanted = mask(due, word) & !has;
                for place in bits(wanted).map(|bit| 64 * word + bit) {
                    missing.entry(place).or_default().push(number);
                }
                for place in bits(*has).map(|bit| 64 * word + bit) {
                    last_seen_ns[place] = read.op.call_ns;
                }
            }
        }
        self.name_missing(name, &known, &reads, &last_seen_ns, &missing, judgement);
        let last_call_ns = reads.last().map_or(0, |read| read.op.call_ns);
        let unread = known.len() - known.partition_point(|&(ns, _)| ns < last_call_ns);
        judgement.count("elements never read back", unread as u64);
    }

    fn name_missing(
        &self,
        name: &str,
        known: &[(u64, i64)],
        reads: &[Read<'_>],
        last_seen_ns: &[u64],
        missing: &BTreeMap<usize, Vec<usize>>,
        judgement: &mut Judgement,
    ) {
        // By read: what it misses and another has later, and what nobody has later.
        let mut stale: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
        let mut lost: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
        for (&place, missed) in missing {
            let Some(&first) = missed.first() else { continue };
            let comes_back = last_seen_ns[place] > reads[first].return_ns;
            let found = if comes_back { &mut stale } else { &mut lost };
            found.entry(first).or_default().push(known[place].1);
        }
        for (anomaly, found, what) in [
            ("lost", lost, "and no later read has"),
            ("stale", stale, "though a later read has"),
        ] {
            for (read, elements) in found {
                let op = reads[read].op;
                let message = format!(
                    "set {name}: read {} misses what was there before it was called, {what} it: {}",
                    op.index,
                    list(&elements)
                );
                judgement.fail(anomaly, message, self.with_adds(op, &elements), Value::Null);
            }
        }
    }
}

/// Those of the first `due` elements that are in a word.
fn mask(due: usize, word: usize) -> u64 {
    match due.saturating_sub(64 * word) {
        0 => 0,
        64.. => u64::MAX,
        bits => (1 << bits) - 1,
    }
}

fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros() as usize;
        word &= word.wrapping_sub(1);
        (bit < 64).then_some(bit)
    })
}

/// The answer of a read: a list of numbers.
pub(super) fn elements(answer: &Value) -> Option<Vec<i64>> {
    answer.as_array()?.iter().map(Value::as_i64).collect()
}

/// Some of them, for a message.
fn list(elements: &[i64]) -> String {
    let named: Vec<String> = elements.iter().take(NAMED).map(i64::to_string).collect();
    let more = elements.len().saturating_sub(NAMED);
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    named.join(", ") + &rest
}
