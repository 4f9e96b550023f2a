//! Checkers: each reads what a run recorded and says whether a promise was kept.

pub mod cluster;
pub mod elle;
#[cfg(test)]
pub mod golden;
pub mod integrity;
pub mod kube;
pub mod lease;
pub mod linear;
pub mod liveness;
pub mod lock;
pub mod past;
pub mod register;
pub mod replay;
pub mod set;
pub mod shrink;
pub mod terms;
#[cfg(test)]
pub(crate) mod testing;
pub mod watch;

use crate::history::{FaultRecord, FinalState, Folder, History, InformerRecord, Meta, WatchRecord};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;

/// What is said of a run. The order is that of weight: the worst of several counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Pass,
    /// It cannot be told: too little happened, or the search took too long.
    Unknown,
    Fail,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The anomaly by its name in the field: `lost-update`, `G1c`, `stale-read`.
    pub anomaly: String,
    /// One sentence with the keys, values and revisions.
    pub message: String,
    /// Operations that show it, by the index of their `invoke`.
    pub ops: Vec<u64>,
    /// What a report can draw: a cycle, the longest partial linearizations.
    #[serde(default)]
    pub detail: Value,
}

/// Findings of one anomaly that a judgement keeps: more say nothing new.
pub const FINDINGS_MAX: usize = 16;

/// What one checker says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    pub checker: String,
    pub verdict: Verdict,
    pub findings: Vec<Finding>,
    /// Why it is unknown.
    pub unknown: Vec<String>,
    /// Counts: what was looked at.
    pub stats: BTreeMap<String, u64>,
}

impl Judgement {
    /// Nothing wrong so far.
    pub fn new(checker: &str) -> Judgement {
        Judgement {
            checker: checker.to_owned(),
            verdict: Verdict::Pass,
            findings: Vec::new(),
            unknown: Vec::new(),
            stats: BTreeMap::new(),
        }
    }

    /// A broken promise: the verdict is `Fail`. Of one anomaly the first [`FINDINGS_MAX`] are kept and all are counted.
    pub fn fail(&mut self, anomaly: &str, message: String, ops: Vec<u64>, detail: Value) {
        self.verdict = Verdict::Fail;
        self.count(&format!("found {anomaly}"), 1);
        if self.findings.iter().filter(|f| f.anomaly == anomaly).count() >= FINDINGS_MAX {
            return;
        }
        self.findings.push(Finding {
            anomaly: anomaly.to_owned(),
            message,
            ops,
            detail,
        });
    }

    /// Cannot be told, unless something else is wrong.
    pub fn unknown(&mut self, why: String) {
        self.verdict = self.verdict.max(Verdict::Unknown);
        self.unknown.push(why);
    }

    /// Adds to a count.
    pub fn count(&mut self, what: &str, by: u64) {
        *self.stats.entry(what.to_owned()).or_default() += by;
    }
}

/// Everything that a run recorded.
pub struct Evidence {
    pub meta: Meta,
    pub history: History,
    pub watches: BTreeMap<String, Vec<WatchRecord>>,
    pub informers: BTreeMap<String, Vec<InformerRecord>>,
    pub faults: Vec<FaultRecord>,
    pub finals: Vec<FinalState>,
}

impl Evidence {
    /// Reads the folder of a run.
    ///
    /// # Errors
    /// Those of the file system, and `InvalidData` for what is not a record of a run.
    pub fn read(folder: &Folder) -> io::Result<Evidence> {
        Ok(Evidence {
            meta: folder.meta()?,
            history: folder.history()?,
            watches: folder.watches()?,
            informers: folder.informers()?,
            faults: folder.faults()?,
            finals: folder.finals()?,
        })
    }
}

/// One promise, and how it is judged.
pub trait Checker: Sync {
    /// Its name in verdicts.
    fn name(&self) -> &'static str;

    /// Judges what was recorded. It finds what it needs by the names of the workloads.
    fn check(&self, evidence: &Evidence) -> Judgement;
}

/// All checkers: each judges every run, and finds nothing to judge where its workload was not done.
pub fn all() -> Vec<Box<dyn Checker>> {
    // One a line, so that two who add one do not meet.
    vec![
        Box::new(replay::check::ReplayChecker),
        Box::new(watch::WatchChecker),
        Box::new(elle::ElleAppend),
        Box::new(elle::ElleWr),
        Box::new(kube::KubeChecker),
        Box::new(cluster::ClusterChecker),
        Box::new(liveness::LivenessChecker),
        Box::new(liveness::minimums::MinimumsChecker),
        Box::new(past::PastChecker),
        Box::new(terms::TermsChecker),
        Box::new(register::Replay),
        Box::new(register::Search::default()),
        Box::new(set::SetChecker),
        Box::new(lease::LeaseChecker),
        Box::new(lock::LockChecker),
        Box::new(integrity::IntegrityChecker),
    ]
}
