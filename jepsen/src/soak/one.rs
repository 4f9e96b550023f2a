//! One run of a soak: a process of its own, and what it left.

use super::{Row, SoakSpec};
use crate::checker::Verdict;
use crate::history::{FaultRecord, Folder, History, Outcome, Phase};
use crate::runner::Ruling;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A run ends within this time beside that of its faults: it starts, recovers, reads and judges.
const BESIDE_MAX: Duration = Duration::from_secs(900);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Files of a green run that stay.
const STAY: &[&str] = &["meta.json", "plan.json", "verdict.json"];
/// Findings that are told of a run.
const FINDINGS_MAX: usize = 8;

pub(super) struct One<'a> {
    pub(super) spec: &'a SoakSpec,
    pub(super) seed: u64,
    pub(super) workloads: Vec<String>,
    pub(super) folder: PathBuf,
}

impl One<'_> {
    /// # Errors
    /// When the process cannot be started, or its folder cannot be made; a run that goes wrong is no error.
    pub(super) fn make(&self) -> io::Result<Row> {
        std::fs::create_dir_all(&self.folder)?;
        let log = File::create(self.folder.join("log"))?;
        let begun = Instant::now();
        // This very program, also when another was put in its place meanwhile.
        let child = Command::new("/proc/self/exe")
            .arg("run")
            .args(["--workload", &self.workloads.join(",")])
            .args(["--faults", &self.spec.faults.join(",")])
            .args(["--time", &format!("{}s", self.spec.run_time.as_secs())])
            .args(["--seed", &self.seed.to_string()])
            .arg("--folder")
            .arg(&self.folder)
            .args(&self.spec.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let status = wait(child, self.spec.run_time + BESIDE_MAX)?;
        let mut row = Row {
            seed: self.seed,
            workloads: self.workloads.clone(),
            seconds: begun.elapsed().as_secs(),
            ..Row::default()
        };
        match status {
            None => row.error = Some(format!("did not end within {BESIDE_MAX:?} beside its time")),
            Some(status) if status.code().is_some_and(|code| code < 3) => {
                if let Err(e) = look(&self.folder, &mut row) {
                    row.error = Some(e.to_string());
                }
            }
            Some(status) => row.error = Some(format!("{status}: {}", last_line(&self.folder))),
        }
        if row.error.is_some() {
            row.verdict = None;
        }
        if row.verdict == Some(Verdict::Pass) && !self.spec.keep {
            thin(&self.folder)?;
        }
        Ok(row)
    }
}

/// Waits for the end; a process that does not come to it is ended.
fn wait(mut child: Child, bound: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + bound;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(LOOK);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// What stands in the folder.
fn look(folder: &Path, row: &mut Row) -> io::Result<()> {
    let folder = Folder::open(folder)?;
    let ruling: Ruling = folder.read_json("verdict.json")?;
    row.faults = folder.meta()?.faults;
    row.verdict = Some(ruling.verdict);
    row.findings = findings(&ruling);
    count_ops(&folder.history()?, row);
    row.struck = struck(&folder.faults()?);
    Ok(())
}

/// What is wrong or unknown, each kind once with how often it was found.
fn findings(ruling: &Ruling) -> Vec<String> {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for judgement in &ruling.judgements {
        let found = judgement.findings.iter().map(|f| f.anomaly.clone());
        let open = judgement.unknown.iter().map(|why| format!("unknown: {why}"));
        for what in found.chain(open) {
            let line = format!("{}: {what}", judgement.checker);
            match counts.iter_mut().find(|(known, _)| *known == line) {
                Some((_, count)) => *count += 1,
                None => counts.push((line, 1)),
            }
        }
    }
    let line = |(line, count): (String, usize)| {
        if count > 1 {
            format!("{line} ({count} times)")
        } else {
            line
        }
    };
    counts.into_iter().take(FINDINGS_MAX).map(line).collect()
}

fn count_ops(history: &History, row: &mut Row) {
    for op in &history.ops {
        match op.outcome {
            Outcome::Ok { .. } => row.ok += 1,
            Outcome::Fail { .. } => row.fail += 1,
            Outcome::Info { .. } => row.info += 1,
        }
    }
}

/// How often each fault struck, and each effect was seen.
fn struck(faults: &[FaultRecord]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for record in faults {
        let name = match record.phase {
            Phase::Begin | Phase::Once => record.fault.clone(),
            Phase::Effect if record.fault != "status" => format!("effect {}", record.fault),
            Phase::Effect | Phase::End => continue,
        };
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// The last line that a run said.
fn last_line(folder: &Path) -> String {
    let log = std::fs::read(folder.join("log")).unwrap_or_default();
    let text = String::from_utf8_lossy(&log);
    text.lines().next_back().unwrap_or_default().to_owned()
}

/// Leaves of a folder only what tells of the run in short.
fn thin(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if STAY.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
