//! Judges what members say of leaders: in a term there is one at most, and no member goes back to an earlier term, not
//! even over a crash.
//!
//! Only of answers that name a leader: before it has heard one, a member that starts may say what it likes. A real etcd
//! tells the term of what it has applied, which may be behind its leader's; of that nothing is judged.

use super::{Checker, Evidence, Judgement};
use crate::history::Op;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The workload that asks.
const WORKLOAD: &str = "terms";
/// Findings of one kind that are told of.
const FINDINGS_MAX: usize = 5;

/// The checker `terms`.
pub struct TermsChecker;

/// What a member said.
struct Said<'a> {
    op: &'a Op,
    term: u64,
    leader: &'a str,
}

impl Checker for TermsChecker {
    fn name(&self) -> &'static str {
        WORKLOAD
    }

    fn check(&self, evidence: &Evidence) -> Judgement {
        let mut judgement = Judgement::new(self.name());
        if evidence.meta.target == "etcd" {
            return judgement;
        }
        let said: Vec<Said<'_>> = evidence.history.ops.iter().filter_map(said).collect();
        judgement.count("answers", said.len() as u64);
        rewinds(&said, &mut judgement);
        let terms = leaders(&said, &mut judgement);
        judgement.count("terms", terms as u64);
        judgement
    }
}

fn said(op: &Op) -> Option<Said<'_>> {
    if op.workload != WORKLOAD {
        return None;
    }
    let answer = op.answer()?;
    let leader = answer["leader"].as_str().filter(|leader| *leader != "0")?;
    Some(Said {
        op,
        term: answer["term"].as_u64()?,
        leader,
    })
}

/// Of each member the highest term of all answers that had come before the next one was asked for.
fn rewinds(said: &[Said<'_>], judgement: &mut Judgement) {
    let mut highest: BTreeMap<usize, &Said<'_>> = BTreeMap::new();
    let mut told = 0;
    // One client asks each member, one question after the other.
    for now in said {
        let Some(before) = highest.get(&now.op.node).copied() else {
            highest.insert(now.op.node, now);
            continue;
        };
        let earlier = before.op.return_ns.is_some_and(|end| end < now.op.call_ns);
        if earlier && now.term < before.term && told < FINDINGS_MAX {
            told += 1;
            let message = format!(
                "member {} followed leader {} in term {}, and later leader {} in term {}",
                now.op.node, before.leader, before.term, now.leader, now.term
            );
            judgement.fail("term-rewind", message, vec![before.op.index, now.op.index], Value::Null);
        }
        if now.term >= before.term {
            highest.insert(now.op.node, now);
        }
    }
}

/// Returns how many terms were seen.
fn leaders(said: &[Said<'_>], judgement: &mut Judgement) -> usize {
    let mut of_term: BTreeMap<u64, &Said<'_>> = BTreeMap::new();
    let mut told = 0;
    for now in said {
        let first = *of_term.entry(now.term).or_insert(now);
        if first.leader != now.leader && told < FINDINGS_MAX {
            told += 1;
            let message = format!(
                "in term {} member {} had leader {}, member {} leader {}",
                now.term, first.op.node, first.leader, now.op.node, now.leader
            );
            let detail = json!({"term": now.term});
            judgement.fail("two-leaders", message, vec![first.op.index, now.op.index], detail);
        }
    }
    of_term.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::golden::{Run, failed_with, passes};

    fn run(said: &[(usize, u64, &str)]) -> Evidence {
        let mut run = Run::new();
        for (node, term, leader) in said {
            let answer = json!({"term": term, "leader": leader, "member": "1"});
            let op = run.ok(WORKLOAD, *node as u64, "status", None, Value::Null, answer, None);
            op.node = *node;
        }
        run.evidence()
    }

    #[test]
    fn terms_go_up_with_one_leader_each() {
        let good = run(&[
            (1, 2, "7"),
            (2, 2, "7"),
            (1, 2, "0"),
            (2, 5, "9"),
            (1, 5, "9"),
            (1, 1, "0"),
        ]);
        passes(&TermsChecker, &good);
        assert_eq!(TermsChecker.check(&good).stats["terms"], 2);
    }

    #[test]
    fn a_member_that_goes_back_is_told() {
        failed_with(
            &TermsChecker,
            &run(&[(1, 5, "7"), (2, 4, "9"), (1, 4, "9")]),
            "term-rewind",
        );
    }

    #[test]
    fn two_leaders_of_a_term_are_told() {
        failed_with(&TermsChecker, &run(&[(1, 5, "7"), (2, 5, "9")]), "two-leaders");
    }

    #[test]
    fn of_a_real_etcd_nothing_is_judged() {
        let mut etcd = run(&[(1, 5, "7"), (2, 5, "9")]);
        etcd.meta.target = "etcd".to_owned();
        passes(&TermsChecker, &etcd);
    }
}
