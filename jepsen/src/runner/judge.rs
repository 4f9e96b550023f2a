//! The verdict over the folder of a run.

use super::RunError;
use crate::checker::{self, Checker, Evidence, Judgement, Verdict};
use crate::history::Folder;
use serde::{Deserialize, Serialize};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Checkers that judge at the same time.
const THREADS: usize = 4;

/// `verdict.json`: what all checkers say, and the worst of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ruling {
    pub verdict: Verdict,
    pub judgements: Vec<Judgement>,
}

impl Ruling {
    pub fn of(judgements: Vec<Judgement>) -> Ruling {
        Ruling {
            // Nobody has judged: nothing can be said.
            verdict: judgements.iter().map(|j| j.verdict).max().unwrap_or(Verdict::Unknown),
            judgements,
        }
    }

    /// What is wrong or unknown, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for judgement in &self.judgements {
            for finding in &judgement.findings {
                lines.push(format!(
                    "FAIL    {}: {}: {}",
                    judgement.checker, finding.anomaly, finding.message
                ));
            }
            for why in &judgement.unknown {
                lines.push(format!("unknown {}: {why}", judgement.checker));
            }
        }
        lines
    }
}

/// Reads what was recorded, asks all checkers, and writes `verdict.json`.
///
/// # Errors
/// When the folder cannot be read or written.
pub fn judge(folder: &Folder) -> Result<Ruling, RunError> {
    let path = folder.path().display().to_string();
    let evidence = Evidence::read(folder).map_err(RunError::io(format!("read {path}")))?;
    let ruling = Ruling::of(ask_all(&evidence, &checker::all()));
    folder
        .write_json("verdict.json", &ruling)
        .map_err(RunError::io(format!("write {path}/verdict.json")))?;
    Ok(ruling)
}

/// All judgements, in the order of the checkers.
fn ask_all(evidence: &Evidence, checkers: &[Box<dyn Checker>]) -> Vec<Judgement> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Judgement)>> = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((at, checker)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    checkers.get(at).map(|checker| (at, checker))
                } {
                    let judgement = ask(evidence, checker.as_ref());
                    let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    done.push((at, judgement));
                }
            });
        }
    });
    let mut all = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, judgement)| judgement).collect()
}

/// A checker that panics has not judged: that is unknown, never green.
fn ask(evidence: &Evidence, checker: &dyn Checker) -> Judgement {
    catch_unwind(AssertUnwindSafe(|| checker.check(evidence))).unwrap_or_else(|_| {
        let mut judgement = Judgement::new(checker.name());
        judgement.unknown("the checker panicked".to_owned());
        judgement
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_counts_and_nothing_is_not_green() {
        assert_eq!(Ruling::of(Vec::new()).verdict, Verdict::Unknown);
        let good = Judgement::new("a");
        let mut open = Judgement::new("b");
        open.unknown("too little".to_owned());
        let mut bad = Judgement::new("c");
        bad.fail("stale-read", "x".to_owned(), Vec::new(), serde_json::Value::Null);
        assert_eq!(Ruling::of(vec![good.clone()]).verdict, Verdict::Pass);
        assert_eq!(Ruling::of(vec![open.clone(), good]).verdict, Verdict::Unknown);
        let ruling = Ruling::of(vec![bad, open]);
        assert_eq!(ruling.verdict, Verdict::Fail);
        assert_eq!(ruling.lines().len(), 2);
    }
}
