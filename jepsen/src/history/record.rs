//! Operations: how they are written down, and how the lines become calls with a result.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;

/// What a line tells of its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It is about to be sent.
    Invoke,
    /// It took effect, and this is the answer.
    Ok,
    /// It certainly did not take effect.
    Fail,
    /// It may have taken effect or may yet do so. The process is not used again.
    Info,
}

/// A line of `history.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Position in the file, from 0.
    pub index: u64,
    /// Which client: it has one operation at a time.
    pub process: u64,
    /// The member that it asks, numbered from 1; 0 for none in particular.
    pub node: usize,
    /// Which workload it belongs to.
    pub workload: String,
    pub kind: Kind,
    /// What is done: `put`, `get`, `cas`, `txn`, `add`, as the workload names it.
    pub f: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Arguments of an `invoke`, the answer of an `ok`; the workload tells their form.
    #[serde(default)]
    pub value: Value,
    /// Revision of the answer's header, or of the write, where the store told one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    pub time_ns: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An operation with its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// Index of its `invoke` line: what findings name.
    pub index: u64,
    pub process: u64,
    pub node: usize,
    pub workload: String,
    pub f: String,
    pub key: Option<String>,
    /// The arguments.
    pub value: Value,
    pub call_ns: u64,
    /// `None` when the end is not known: it may take effect at any time after the call.
    pub return_ns: Option<u64>,
    pub outcome: Outcome,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Ok { value: Value, revision: Option<i64> },
    Fail { error: String },
    Info { error: String },
}

impl Op {
    /// The answer, when it took effect.
    pub fn answer(&self) -> Option<&Value> {
        match &self.outcome {
            Outcome::Ok { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The revision that was answered.
    pub fn revision(&self) -> Option<i64> {
        match &self.outcome {
            Outcome::Ok { revision, .. } => *revision,
            _ => None,
        }
    }

    pub fn is_ok(&self) -> bool {
        matches!(self.outcome, Outcome::Ok { .. })
    }

    pub fn is_fail(&self) -> bool {
        matches!(self.outcome, Outcome::Fail { .. })
    }

    pub fn is_info(&self) -> bool {
        matches!(self.outcome, Outcome::Info { .. })
    }
}

/// All operations of a run, in the order of their calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    pub ops: Vec<Op>,
}

impl History {
    /// Joins each `invoke` with the end of the same process. One without an end ended indefinitely.
    ///
    /// # Errors
    /// A sentence that names the line: an end without a beginning, or two operations of one process at once.
    pub fn from_records(records: impl IntoIterator<Item = Record>) -> Result<History, String> {
        let mut ops: Vec<Op> = Vec::new();
        let mut open: HashMap<u64, usize> = HashMap::new();
        for record in records {
            if record.kind == Kind::Invoke {
                if open.insert(record.process, ops.len()).is_some() {
                    return Err(format!(
                        "line {}: process {} begins a second operation before the first has ended",
                        record.index, record.process
                    ));
                }
                ops.push(Op {
                    index: record.index,
                    process: record.process,
                    node: record.node,
                    workload: record.workload,
                    f: record.f,
                    key: record.key,
                    value: record.value,
                    call_ns: record.time_ns,
                    return_ns: None,
                    outcome: Outcome::Info {
                        error: "the run ended before the operation did".to_owned(),
                    },
                });
                continue;
            }
            let Some(at) = open.remove(&record.process) else {
                return Err(format!(
                    "line {}: process {} ends an operation that it did not begin",
                    record.index, record.process
                ));
            };
            let op = &mut ops[at];
            let error = record.error.unwrap_or_default();
            (op.outcome, op.return_ns) = match record.kind {
                Kind::Ok => (
                    Outcome::Ok {
                        value: record.value,
                        revision: record.revision,
                    },
                    Some(record.time_ns),
                ),
                Kind::Fail => (Outcome::Fail { error }, Some(record.time_ns)),
                Kind::Info | Kind::Invoke => (Outcome::Info { error }, None),
            };
        }
        Ok(History { ops })
    }

    /// The operations of one workload.
    pub fn of(&self, workload: &str) -> Vec<&Op> {
        self.ops.iter().filter(|op| op.workload == workload).collect()
    }
}
