//! Judges reads at old revisions: they see what was there at that revision, or are refused because it is compacted, and
//! neither is a matter of how far the compaction has come.

use super::replay::{Known, Replay};
use super::{Checker, Evidence, Judgement};
use crate::history::{History, Op, Outcome};
use crate::workload::past::{END, PREFIX};
use serde_json::{Value, json};

const WORKLOAD: &str = "past";
/// Findings of one kind that are told of.
const FINDINGS_MAX: usize = 10;
/// What the store says of a revision that is gone.
const REFUSAL: &str = "required revision has been compacted";

/// The checker `past`.
pub struct PastChecker;

impl Checker for PastChecker {
    fn name(&self) -> &'static str {
        WORKLOAD
    }

    fn check(&self, evidence: &Evidence) -> Judgement {
        let mut judgement = Judgement::new(self.name());
        let reads: Vec<(&Op, i64)> = evidence.history.ops.iter().filter_map(read_at).collect();
        if reads.is_empty() {
            return judgement;
        }
        let replay = Replay::build(evidence);
        let compactions = Compactions::of(&evidence.history);
        // Those of the nemesis are not operations: with them nothing is too early.
        let all_told = !evidence.faults.iter().any(|fault| fault.fault.contains("compact"));
        let mut told = 0;
        for (op, revision) in reads {
            let wrong = match &op.outcome {
                Outcome::Ok { value, .. } => {
                    judgement.count("reads", 1);
                    answered(op, revision, value, &replay, &compactions, &mut judgement)
                }
                Outcome::Fail { error } if error.contains(REFUSAL) => {
                    judgement.count("refusals", 1);
                    let asked = compactions.asked_before(op.return_ns);
                    (all_told && asked <= revision).then(|| {
                        let message = format!(
                            "a read at revision {revision} was refused as compacted, where nothing above {asked} was to be"
                        );
                        ("early-compaction", message)
                    })
                }
                Outcome::Fail { .. } | Outcome::Info { .. } => None,
            };
            if let Some((anomaly, message)) = wrong
                && told < FINDINGS_MAX
            {
                told += 1;
                judgement.fail(anomaly, message, vec![op.index], json!({"revision": revision}));
            }
        }
        judgement
    }
}

fn read_at(op: &Op) -> Option<(&Op, i64)> {
    let ours = op.workload == WORKLOAD && op.f == "read-at";
    op.value["revision"]
        .as_i64()
        .filter(|_| ours)
        .map(|revision| (op, revision))
}

/// What is wrong with an answer.
fn answered(
    op: &Op,
    revision: i64,
    value: &Value,
    replay: &Replay<'_>,
    compactions: &Compactions,
    judgement: &mut Judgement,
) -> Option<(&'static str, String)> {
    let compacted = compactions.done_before(op.call_ns);
    if revision < compacted {
        let message = format!("a read at revision {revision} was answered after revision {compacted} was compacted");
        return Some(("read-of-compacted", message));
    }
    let Known::Known(held) = replay.range(PREFIX, END, revision) else {
        judgement.count("reads-unknown", 1);
        return None;
    };
    let held: Vec<Value> = held
        .iter()
        .map(|(key, v)| json!([key, v.value, v.create_revision, v.mod_revision, v.version]))
        .collect();
    let got = value.as_array().map_or(&[][..], Vec::as_slice);
    if got == held {
        return None;
    }
    let missing: Vec<&Value> = held.iter().filter(|kv| !got.contains(kv)).collect();
    let extra: Vec<&Value> = got.iter().filter(|kv| !held.contains(kv)).collect();
    let message = format!("a read at revision {revision} lacks {missing:?} and has {extra:?} beyond what was there");
    Some(("wrong-past", message))
}

/// Compactions by the clients, of whichever workload.
struct Compactions {
    /// When each was asked for, when it was acknowledged, and its revision.
    all: Vec<(u64, Option<u64>, i64)>,
}

impl Compactions {
    fn of(history: &History) -> Compactions {
        let all = history.ops.iter().filter(|op| op.f == "compact" && !op.is_fail());
        let revision = |op: &Op| op.value["revision"].as_i64().or(op.value.as_i64());
        Compactions {
            all: all
                .filter_map(|op| Some((op.call_ns, op.return_ns.filter(|_| op.is_ok()), revision(op)?)))
                .collect(),
        }
    }

    /// The highest that may have been carried out by then.
    fn asked_before(&self, time_ns: Option<u64>) -> i64 {
        let before = |call: u64| time_ns.is_none_or(|time| call < time);
        let asked = self.all.iter().filter(|(call, ..)| before(*call));
        asked.map(|(.., revision)| *revision).max().unwrap_or(0)
    }

    /// The highest that was certainly carried out by then.
    fn done_before(&self, time_ns: u64) -> i64 {
        let done = self
            .all
            .iter()
            .filter(|(_, end, _)| end.is_some_and(|end| end < time_ns));
        done.map(|(.., revision)| *revision).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::golden::{Run, failed_with, passes};

    /// Revisions 2 to 5: `a` is written, `b` is written, `a` is written again, `b` is deleted. Revision 3 is compacted.
    fn run() -> Run {
        let mut run = Run::new();
        run.put("past/a", "1")
            .put("past/b", "2")
            .put("past/a", "3")
            .delete("past/b");
        run.spectators(2);
        run.ok(
            WORKLOAD,
            1,
            "compact",
            None,
            json!({"revision": 3, "physical": true}),
            Value::Null,
            Some(5),
        );
        run
    }

    fn read(run: &mut Run, revision: i64, answer: Value) {
        let asked = json!({"revision": revision});
        run.ok(WORKLOAD, 2, "read-at", None, asked, answer, Some(5));
    }

    fn refuse(run: &mut Run, revision: i64) {
        let op = run.fail(WORKLOAD, 2, "read-at", None, json!({"revision": revision}));
        op.outcome = Outcome::Fail {
            error: format!("etcdserver: mvcc: {REFUSAL}"),
        };
    }

    #[test]
    fn the_past_is_what_it_was_and_gone_below_the_edge() {
        let mut run = run();
        read(&mut run, 3, json!([["past/a", "1", 2, 2, 1], ["past/b", "2", 3, 3, 1]]));
        read(&mut run, 4, json!([["past/a", "3", 2, 4, 2], ["past/b", "2", 3, 3, 1]]));
        read(&mut run, 5, json!([["past/a", "3", 2, 4, 2]]));
        refuse(&mut run, 2);
        let evidence = run.evidence();
        passes(&PastChecker, &evidence);
        let stats = PastChecker.check(&evidence).stats;
        assert_eq!((stats["reads"], stats["refusals"]), (3, 1));
    }

    #[test]
    fn what_compaction_took_too_much_is_missed() {
        let mut run = run();
        read(&mut run, 3, json!([["past/b", "2", 3, 3, 1]]));
        failed_with(&PastChecker, &run.evidence(), "wrong-past");
    }

    #[test]
    fn a_state_of_another_revision_is_wrong() {
        let mut run = run();
        read(&mut run, 4, json!([["past/a", "1", 2, 2, 1], ["past/b", "2", 3, 3, 1]]));
        failed_with(&PastChecker, &run.evidence(), "wrong-past");
    }

    #[test]
    fn what_is_compacted_is_not_answered() {
        let mut run = run();
        read(&mut run, 2, json!([["past/a", "1", 2, 2, 1]]));
        failed_with(&PastChecker, &run.evidence(), "read-of-compacted");
    }

    #[test]
    fn the_edge_itself_is_not_refused() {
        let mut run = run();
        refuse(&mut run, 3);
        failed_with(&PastChecker, &run.evidence(), "early-compaction");
    }
}
