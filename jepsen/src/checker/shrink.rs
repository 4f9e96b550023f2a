//! A smaller history with the same anomaly: first workloads and keys are left out, then operations, as long as the checker still
//! finds it (delta debugging: halves first, then ever smaller pieces).
//!
//! Watches and final states stay as they are, so a checker that holds operations against them keeps what it needs.
//! What is left out as if it had never been recorded may itself make a reproach, such as a value that nobody wrote: only
//! pieces that leave the anomaly by its name, and bring no other with it, are left out.

use super::{Checker, Evidence, Verdict};
use crate::history::{History, Op};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How long it may take.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    pub checks: usize,
    pub time: Duration,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            checks: 400,
            time: Duration::from_secs(10),
        }
    }
}

/// The history of `evidence`, as small as the budget allows with `anomaly` still found by `checker`. It is whole when
/// the checker does not find that in it.
pub fn shrink(checker: &dyn Checker, evidence: &Evidence, anomaly: &str, budget: Budget) -> Vec<Op> {
    let mut shrinking = Shrinking {
        checker,
        anomaly,
        evidence: Evidence {
            meta: evidence.meta.clone(),
            history: History::default(),
            watches: evidence.watches.clone(),
            informers: evidence.informers.clone(),
            faults: evidence.faults.clone(),
            finals: evidence.finals.clone(),
        },
        known: BTreeSet::new(),
        left: budget.checks,
        until: Instant::now() + budget.time,
    };
    let mut ops = evidence.history.ops.clone();
    shrinking.known = shrinking.found(ops.clone()).unwrap_or_default();
    if !shrinking.known.contains(anomaly) {
        return ops;
    }
    let workloads: BTreeSet<String> = ops.iter().map(|op| op.workload.clone()).collect();
    let mut kept: Vec<String> = workloads.into_iter().collect();
    shrinking.reduce(&mut kept, |kept| {
        ops.iter().filter(|op| kept.contains(&op.workload)).cloned().collect()
    });
    ops.retain(|op| kept.contains(&op.workload));
    let keys: BTreeSet<Option<String>> = ops.iter().map(|op| op.key.clone()).collect();
    let mut kept: Vec<Option<String>> = keys.into_iter().collect();
    shrinking.reduce(&mut kept, |kept| {
        ops.iter().filter(|op| kept.contains(&op.key)).cloned().collect()
    });
    ops.retain(|op| kept.contains(&op.key));
    shrinking.reduce(&mut ops, <[Op]>::to_vec);
    ops
}

struct Shrinking<'a> {
    checker: &'a dyn Checker,
    anomaly: &'a str,
    /// The history in it is that which is tried.
    evidence: Evidence,
    /// Anomalies of the whole history.
    known: BTreeSet<String>,
    left: usize,
    until: Instant,
}

impl Shrinking<'_> {
    /// What the checker finds; `None` when the budget is used up.
    fn found(&mut self, ops: Vec<Op>) -> Option<BTreeSet<String>> {
        if self.left == 0 || Instant::now() > self.until {
            return None;
        }
        self.left -= 1;
        self.evidence.history.ops = ops;
        let judgement = self.checker.check(&self.evidence);
        if judgement.verdict != Verdict::Fail {
            return Some(BTreeSet::new());
        }
        Some(judgement.findings.into_iter().map(|finding| finding.anomaly).collect())
    }

    fn still_fails(&mut self, ops: Vec<Op>) -> bool {
        self.found(ops)
            .is_some_and(|found| found.contains(self.anomaly) && found.is_subset(&self.known))
    }

    /// Leaves out pieces of `items`, large ones first.
    fn reduce<T: Clone>(&mut self, items: &mut Vec<T>, ops: impl Fn(&[T]) -> Vec<Op>) {
        let mut piece = items.len().div_ceil(2);
        while piece > 0 && items.len() > 1 {
            let mut at = 0;
            let mut smaller = false;
            while at < items.len() {
                let end = (at + piece).min(items.len());
                let mut without = items.clone();
                without.drain(at..end);
                if !without.is_empty() && self.still_fails(ops(&without)) {
                    *items = without;
                    smaller = true;
                } else {
                    at = end;
                }
                if self.left == 0 || Instant::now() > self.until {
                    return;
                }
            }
            if !smaller || piece > items.len() {
                piece = if piece == 1 {
                    0
                } else {
                    piece.min(items.len()).div_ceil(2)
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::checker::register::{Replay, Search};
    use crate::checker::testing::{anomalies, evidence, history};
    use std::fmt::Write as _;

    /// Many good operations on two keys, and one stale read among them.
    fn long() -> Evidence {
        let mut text = String::new();
        for at in 0..150_u64 {
            let (key, t, revision) = (["a", "b"][usize::from(at % 2 == 1)], at * 100, at + 2);
            let _ = writeln!(text, r#"1 {t}..{} put {key} "v{at}" -> ok null @{revision}"#, t + 10);
            let read = if at == 120 { at - 2 } else { at };
            let _ = writeln!(
                text,
                r#"2 {}..{} get {key} -> ok {{"value":"v{read}","mod":{},"version":{}}} @{revision}"#,
                t + 20,
                t + 30,
                read + 2,
                read / 2 + 1
            );
        }
        evidence(history("register", &text))
    }

    #[test]
    fn a_stale_read_shrinks_to_what_shows_it() {
        let evidence = long();
        assert_eq!(anomalies(&Replay, &evidence), ["stale-read"]);
        // For the search a write, another, and the read; no version tells it that more came before.
        let left = shrink(&Search::default(), &evidence, "non-linearizable", Budget::default());
        assert_eq!(left.len(), 3, "{left:#?}");
        let mut small = evidence;
        small.history.ops = left;
        assert_eq!(anomalies(&Search::default(), &small), ["non-linearizable"]);
    }

    #[test]
    fn what_is_not_found_is_not_shrunk() {
        let evidence = long();
        assert_eq!(shrink(&Replay, &evidence, "lost-write", Budget::default()).len(), 300);
    }

    #[test]
    fn a_budget_ends_it() {
        let budget = Budget {
            checks: 3,
            time: Duration::from_secs(60),
        };
        let left = shrink(&Search::default(), &long(), "non-linearizable", budget);
        assert!((4..300).contains(&left.len()), "{}", left.len());
    }
}
