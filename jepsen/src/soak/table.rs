//! What came of the runs of a soak.

use super::SoakSpec;
use crate::checker::Verdict;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::Path;

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub seed: u64,
    pub workloads: Vec<String>,
    /// Kinds of faults that its plan was drawn from.
    pub faults: Vec<String>,
    /// How often each fault struck, and each effect was seen.
    pub struck: BTreeMap<String, u64>,
    /// Operations by their end.
    pub ok: u64,
    pub fail: u64,
    pub info: u64,
    /// Of the whole run, with its judgement.
    pub seconds: u64,
    /// `None` when there is none: see the error.
    pub verdict: Option<Verdict>,
    /// What is wrong or unknown, in short.
    pub findings: Vec<String>,
    pub error: Option<String>,
}

impl Row {
    fn word(&self) -> &'static str {
        match self.verdict {
            Some(Verdict::Pass) => "pass",
            Some(Verdict::Unknown) => "unknown",
            Some(Verdict::Fail) => "FAIL",
            None => "ERROR",
        }
    }

    /// It in one line.
    pub fn line(&self) -> String {
        let mut line = format!(
            "{:<7} seed {:<9} {:>4} s, {:>6} ok {:>5} fail {:>4} info  {} under {}",
            self.word(),
            self.seed,
            self.seconds,
            self.ok,
            self.fail,
            self.info,
            self.workloads.join("+"),
            self.faults.join("+"),
        );
        for what in self.findings.iter().chain(&self.error) {
            // Writing to a text does not fail.
            let _ = write!(line, "\n        {what}");
        }
        line
    }
}

/// `soak.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Soak {
    pub seed: u64,
    /// Arguments of all runs.
    pub arguments: Vec<String>,
    pub began: String,
    pub seconds: u64,
    pub rows: Vec<Row>,
}

impl Soak {
    pub(super) fn new(spec: &SoakSpec) -> Soak {
        Soak {
            seed: spec.seed,
            arguments: spec.arguments.clone(),
            began: jiff::Timestamp::now().to_string(),
            seconds: 0,
            rows: Vec::new(),
        }
    }

    /// # Errors
    /// Those of the file system.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        // Whoever reads it meanwhile finds the one before.
        let part = folder.join("soak.json.part");
        std::fs::write(&part, text)?;
        std::fs::rename(&part, folder.join("soak.json"))
    }

    /// The worst of all; a run without a verdict makes it unknown, and so does there being none.
    pub fn verdict(&self) -> Verdict {
        let each = self.rows.iter().map(|row| row.verdict.unwrap_or(Verdict::Unknown));
        each.max().unwrap_or(Verdict::Unknown)
    }

    /// The tables: by workload, by fault, and the runs that are not green.
    pub fn markdown(&self) -> String {
        let mut by_workload: BTreeMap<&str, [u64; 5]> = BTreeMap::new();
        let mut by_fault: BTreeMap<&str, u64> = BTreeMap::new();
        for row in &self.rows {
            for name in &row.workloads {
                let counts = by_workload.entry(name).or_default();
                counts[0] += 1;
                counts[match row.verdict {
                    Some(Verdict::Pass) => 1,
                    Some(Verdict::Fail) => 2,
                    Some(Verdict::Unknown) => 3,
                    None => 4,
                }] += 1;
            }
            for (name, count) in &row.struck {
                *by_fault.entry(name).or_default() += count;
            }
        }
        let sum = |of: fn(&Row) -> u64| self.rows.iter().map(of).sum::<u64>();
        let count = |verdict| self.rows.iter().filter(|row| row.verdict == verdict).count();
        let mut text = format!(
            "{} runs in {} s from seed {}: {} pass, {} fail, {} unknown, {} without verdict; {} operations ok, {} fail, \
             {} info\n",
            self.rows.len(),
            self.seconds,
            self.seed,
            count(Some(Verdict::Pass)),
            count(Some(Verdict::Fail)),
            count(Some(Verdict::Unknown)),
            count(None),
            sum(|row| row.ok),
            sum(|row| row.fail),
            sum(|row| row.info),
        );
        text += "\n| workload | runs | pass | fail | unknown | error |\n|---|---|---|---|---|---|\n";
        for (name, [runs, pass, fail, unknown, error]) in by_workload {
            text += &format!("| {name} | {runs} | {pass} | {fail} | {unknown} | {error} |\n");
        }
        text += "\n| fault or effect | times |\n|---|---|\n";
        for (name, times) in by_fault {
            text += &format!("| {name} | {times} |\n");
        }
        let rest = self.rows.iter().filter(|row| row.verdict != Some(Verdict::Pass));
        rest.for_each(|row| text += &format!("\n{}", row.line()));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_run_counts_and_an_error_is_not_green() {
        let mut soak = Soak {
            seed: 1,
            arguments: Vec::new(),
            began: String::new(),
            seconds: 0,
            rows: Vec::new(),
        };
        assert_eq!(soak.verdict(), Verdict::Unknown);
        let row = |verdict| Row {
            verdict,
            workloads: vec!["register".to_owned()],
            ..Row::default()
        };
        soak.rows.push(row(Some(Verdict::Pass)));
        assert_eq!(soak.verdict(), Verdict::Pass);
        soak.rows.push(row(None));
        assert_eq!(soak.verdict(), Verdict::Unknown);
        soak.rows.push(row(Some(Verdict::Fail)));
        assert_eq!(soak.verdict(), Verdict::Fail);
        assert!(soak.markdown().contains("| register | 3 | 1 | 1 | 0 | 1 |"));
    }
}
