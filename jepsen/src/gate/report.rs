//! What is told of a gate: lines while it goes on, a table at its end, `gate.json`.

use super::attempt::Seen;
use super::{GateError, Row};
use crate::checker::Verdict;
use crate::history::Folder;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// How a bug was hunted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hunt {
    pub bug: String,
    pub workloads: Vec<String>,
    pub faults: Vec<String>,
    pub nodes: u8,
    pub budget_s: u64,
    /// Runs that were made, the one that caught it among them.
    pub runs: u64,
    /// The finding that caught it, as `checker: anomaly`.
    pub caught: Option<String>,
    /// Seed of that run.
    pub seed: Option<u64>,
    /// From the start of the first run to the verdict of that one.
    pub seconds_to_detect: Option<f64>,
    /// What the other runs came to: seed and verdict, findings that nobody waited for, or why there was no verdict.
    pub others: Vec<String>,
}

/// What the clean build came to under the same conditions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clean {
    /// The bug that this is the control of.
    pub bug: String,
    pub runs: u64,
    /// The worst verdict; a run without one counts as unknown.
    pub verdict: Verdict,
    /// Whatever is not a pass.
    pub others: Vec<String>,
}

/// The whole gate: `gate.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub hunts: Vec<Hunt>,
    pub clean: Vec<Clean>,
}

impl Outcome {
    /// Fail: a bug was missed, or the clean build has one.
    pub fn verdict(&self) -> Verdict {
        let clean = self.clean.iter().map(|c| c.verdict).max().unwrap_or(Verdict::Pass);
        if self.hunts.iter().all(|hunt| hunt.caught.is_some()) {
            clean
        } else {
            Verdict::Fail
        }
    }

    pub(super) fn write(&self, out: &Path) -> Result<(), GateError> {
        let folder = Folder::create(out).map_err(GateError::io(format!("make {}", out.display())))?;
        folder
            .write_json("gate.json", self)
            .map_err(GateError::io("write gate.json"))
    }
}

impl Hunt {
    pub(super) fn new(row: &Row) -> Hunt {
        Hunt {
            bug: row.bug.name().to_owned(),
            workloads: row.workloads.iter().map(|w| (*w).to_owned()).collect(),
            faults: row.faults.iter().map(|f| (*f).to_owned()).collect(),
            nodes: row.nodes,
            budget_s: row.budget.as_secs(),
            runs: 0,
            caught: None,
            seed: None,
            seconds_to_detect: None,
            others: Vec::new(),
        }
    }

    pub(super) fn note(&mut self, seen: &Seen, seed: u64) {
        self.runs += 1;
        self.others.push(told(seen, seed));
    }

    /// By the run that was noted last.
    pub(super) fn caught(&mut self, anomaly: String, seed: u64, after: Duration) {
        self.others.pop();
        self.caught = Some(anomaly);
        self.seed = Some(seed);
        self.seconds_to_detect = Some((after.as_secs_f64() * 10.0).round() / 10.0);
    }
}

impl Clean {
    pub(super) fn new(row: &Row) -> Clean {
        Clean {
            bug: row.bug.name().to_owned(),
            runs: 0,
            verdict: Verdict::Pass,
            others: Vec::new(),
        }
    }

    pub(super) fn note(&mut self, seen: &Seen, seed: u64) {
        self.runs += 1;
        let verdict = seen.verdict.unwrap_or(Verdict::Unknown);
        self.verdict = self.verdict.max(verdict);
        if verdict != Verdict::Pass {
            self.others.push(told(seen, seed));
        }
    }
}

/// A run in a line.
fn told(seen: &Seen, seed: u64) -> String {
    let place = seen
        .folder
        .as_ref()
        .map_or_else(String::new, |folder| format!(" in {}", folder.display()));
    let mut findings: Vec<String> = seen.findings.iter().map(|(c, a)| format!("{c}: {a}")).collect();
    findings.dedup();
    match seen.verdict {
        None => format!("seed {seed}: no verdict{place}: {}", seen.said.trim()),
        Some(verdict) => format!("seed {seed}: {}{place} [{}]", word(verdict), findings.join(", ")),
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Unknown => "unknown",
        Verdict::Fail => "fail",
    }
}

/// What a hunt came to.
pub(super) fn line(hunt: &Hunt) -> String {
    match (&hunt.caught, hunt.seconds_to_detect, hunt.seed) {
        (Some(anomaly), Some(seconds), Some(seed)) => format!(
            "caught  {:<30} {anomaly}, seed {seed}, {seconds:.0} s, run {}",
            hunt.bug, hunt.runs
        ),
        _ => format!(
            "MISSED  {:<30} in {} runs\n  {}",
            hunt.bug,
            hunt.runs,
            hunt.others.join("\n  ")
        ),
    }
}

pub(super) fn clean_line(clean: &Clean) -> String {
    let verdict = word(clean.verdict);
    let line = format!("clean   {:<30} {verdict} in {} runs", clean.bug, clean.runs);
    clean.others.iter().fold(line, |all, other| format!("{all}\n  {other}"))
}

/// How each bug is hunted.
pub(super) fn list(rows: &[Row]) {
    for row in rows {
        println!("{}\n  {}", row.bug.name(), row.bug.description());
        println!(
            "  workload {}, faults {}, {} members, {} s",
            row.workloads.join(","),
            row.faults.join(","),
            row.nodes,
            row.budget.as_secs()
        );
    }
}

/// The table, as `README.md` has it.
pub(super) fn table(outcome: &Outcome) {
    println!("| bug | workload | faults | seed | time to detect | found as |");
    println!("|---|---|---|---|---|---|");
    for hunt in &outcome.hunts {
        let seed = hunt.seed.map_or_else(|| "-".to_owned(), |seed| seed.to_string());
        let time = hunt
            .seconds_to_detect
            .map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.0} s"));
        println!(
            "| {} | {} | {} | {seed} | {time} | {} |",
            hunt.bug,
            hunt.workloads.join(", "),
            hunt.faults.join(", "),
            hunt.caught.as_deref().unwrap_or("MISSED")
        );
    }
    let caught = outcome.hunts.iter().filter(|hunt| hunt.caught.is_some()).count();
    println!("{caught} of {} bugs caught", outcome.hunts.len());
    if !outcome.clean.is_empty() {
        let runs: u64 = outcome.clean.iter().map(|c| c.runs).sum();
        let green = outcome.clean.iter().filter(|c| c.verdict == Verdict::Pass).count();
        println!(
            "clean build: green under {green} of {} rows, {runs} runs",
            outcome.clean.len()
        );
    }
}
