//! One run, by a process of its own, and what its verdict says.

use super::build::Programs;
use super::{GateError, Program, Row};
use crate::checker::{Judgement, Verdict};
use crate::history::Folder;
use keelson_bugs::Bug;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Bytes of what a run said that an error shows.
const TAIL_BYTES: usize = 2_000;

/// A run that is to be made.
pub(super) struct Attempt<'a> {
    pub row: &'a Row,
    pub bug: Option<Bug>,
    pub programs: &'a Programs,
    pub seed: u64,
    pub time: Duration,
    /// Parent of its folder.
    pub out: PathBuf,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// None: no run came about.
    pub verdict: Option<Verdict>,
    /// Checker and anomaly of each finding.
    pub findings: Vec<(String, String)>,
    pub folder: Option<PathBuf>,
    /// What it said, when it came to no verdict.
    pub said: String,
}

impl Seen {
    /// The first finding that the row waits for, as `checker: anomaly`.
    pub(super) fn expected(&self, row: &Row) -> Option<String> {
        let found = self.findings.iter().find(|(checker, anomaly)| {
            row.expect
                .iter()
                .any(|(c, names)| c == checker && names.contains(&anomaly.as_str()))
        });
        found.map(|(checker, anomaly)| format!("{checker}: {anomaly}"))
    }
}

/// The part of `verdict.json` that is looked at.
#[derive(Deserialize)]
struct Ruled {
    verdict: Verdict,
    judgements: Vec<Judgement>,
}

impl Attempt<'_> {
    /// # Errors
    /// When the run cannot be started at all; a run that fails is no error.
    pub(super) fn make(&self) -> Result<Seen, GateError> {
        let own = std::env::current_exe().map_err(GateError::io("find this program"))?;
        // A folder of its own, so that there is no doubt which run's it is.
        let out = self.out.join(format!("seed-{}", self.seed));
        if out.exists() {
            std::fs::remove_dir_all(&out).map_err(GateError::io(format!("clear {}", out.display())))?;
        }
        std::fs::create_dir_all(&out).map_err(GateError::io(format!("make {}", out.display())))?;
        let ended = self
            .command(&own, &out)
            .stdin(Stdio::null())
            .output()
            .map_err(GateError::io(format!("run {}", own.display())))?;
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&ended.stdout),
            String::from_utf8_lossy(&ended.stderr)
        );
        let log = out.join("log");
        std::fs::write(&log, &said).map_err(GateError::io(format!("write {}", log.display())))?;
        let folder = folder_in(&out)?;
        let ruled: Option<Ruled> = match folder.as_deref().map(Folder::open) {
            Some(Ok(folder)) if folder.file("verdict.json").is_file() => Some(
                folder
                    .read_json("verdict.json")
                    .map_err(GateError::io("read a verdict"))?,
            ),
            _ => None,
        };
        let cut = said.ceil_char_boundary(said.len().saturating_sub(TAIL_BYTES));
        Ok(Seen {
            verdict: ruled.as_ref().map(|ruled| ruled.verdict),
            findings: ruled.map_or_else(Vec::new, |ruled| {
                let each = |j: Judgement| {
                    let checker = j.checker;
                    j.findings.into_iter().map(move |f| (checker.clone(), f.anomaly))
                };
                ruled.judgements.into_iter().flat_map(each).collect()
            }),
            folder,
            said: said[cut..].to_owned(),
        })
    }

    fn command(&self, own: &Path, out: &Path) -> Command {
        let row = self.row;
        let bugged = self.bug.is_some();
        let mut command = Command::new(own);
        command
            .arg("run")
            .args(["--workload", &row.workloads.join(",")])
            .args(["--faults", &row.faults.join(",")])
            .args(["--time", &format!("{}s", self.time.as_secs().max(1))])
            .args(["--seed", &self.seed.to_string()])
            .args(["--nodes", &row.nodes.to_string()])
            .args(row.flags.iter().map(|flag| format!("--flag={flag}")))
            .arg("--binary")
            .arg(self.programs.of(row.program, bugged))
            .arg("--out")
            .arg(out)
            .arg("--quiet");
        if let Program::Keelson = row.program {
            command.arg("--keelson").arg(self.programs.of(row.program, bugged));
        }
        for (name, value) in row.options {
            command.args([format!("--{name}"), (*value).to_owned()]);
        }
        if let Some(bug) = self.bug {
            command.args(["--bug", bug.name()]);
        }
        command
    }
}

/// The folder of the one run that was made there, if one was.
fn folder_in(out: &Path) -> Result<Option<PathBuf>, GateError> {
    let reading = || GateError::io(format!("read {}", out.display()));
    for entry in std::fs::read_dir(out).map_err(reading())? {
        let path = entry.map_err(reading())?.path();
        if path.join("meta.json").is_file() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
