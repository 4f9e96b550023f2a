//! Operations of the workloads `append` and `wr` as transactions.

use super::intern::Names;
use crate::history::{Op, Outcome};
use serde_json::Value;

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Committed,
    /// It certainly had no effect.
    Failed,
    /// It may have had one.
    Indefinite,
}

/// One step of a transaction. `S` is what a read sees: a list, or a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step<S> {
    /// An append, or a write.
    Write { key: u32, value: i64 },
    /// `seen` only when it is committed.
    Read { key: u32, seen: Option<S> },
}

impl<S> Step<S> {
    pub(super) fn key(&self) -> u32 {
        match self {
            Step::Write { key, .. } | Step::Read { key, .. } => *key,
        }
    }
}

/// A transaction.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Txn<S> {
    /// Index of the operation.
    pub op: u64,
    pub process: u64,
    pub call_ns: u64,
    pub return_ns: Option<u64>,
    pub status: Status,
    pub steps: Vec<Step<S>>,
    pub revision: Option<i64>,
}

impl<S> Txn<S> {
    pub(super) fn is_committed(&self) -> bool {
        self.status == Status::Committed
    }

    /// What it writes, in order.
    pub(super) fn writes(&self) -> impl Iterator<Item = (u32, i64)> + '_ {
        self.steps.iter().filter_map(|step| match step {
            Step::Write { key, value } => Some((*key, *value)),
            Step::Read { .. } => None,
        })
    }

    /// What it saw, in order.
    pub(super) fn reads(&self) -> impl Iterator<Item = (u32, &S)> + '_ {
        self.steps.iter().filter_map(|step| match step {
            Step::Read { key, seen: Some(seen) } => Some((*key, seen)),
            _ => None,
        })
    }

    /// Reads before any step of the same key: what it saw of others.
    pub(super) fn external_reads(&self) -> impl Iterator<Item = (u32, &S)> + '_ {
        self.steps.iter().enumerate().filter_map(|(at, step)| match step {
            Step::Read { key, seen: Some(seen) } if self.steps[..at].iter().all(|s| s.key() != *key) => {
                Some((*key, seen))
            }
            _ => None,
        })
    }

    /// The last write to a key.
    pub(super) fn last_write(&self, key: u32) -> Option<i64> {
        self.writes().filter(|(k, _)| *k == key).map(|(_, v)| v).last()
    }
}

/// Transactions on lists, and why operations were not understood.
pub(super) fn appends(ops: &[&Op], names: &mut Names) -> (Vec<Txn<Vec<i64>>>, Vec<String>) {
    read(ops, names, "append", |seen| match seen {
        Value::Null => Some(Vec::new()),
        Value::Array(list) => list.iter().map(Value::as_i64).collect(),
        _ => None,
    })
}

/// Transactions on registers, and why operations were not understood.
pub(super) fn registers(ops: &[&Op], names: &mut Names) -> (Vec<Txn<Option<i64>>>, Vec<String>) {
    read(ops, names, "w", |seen| match seen {
        Value::Null => Some(None),
        value => value.as_i64().map(Some),
    })
}

fn read<S>(
    ops: &[&Op],
    names: &mut Names,
    write: &str,
    parse: impl Fn(&Value) -> Option<S>,
) -> (Vec<Txn<S>>, Vec<String>) {
    let mut txns = Vec::with_capacity(ops.len());
    let mut not_understood = Vec::new();
    for op in ops {
        if op.f != "txn" {
            continue;
        }
        let (status, steps, revision) = match &op.outcome {
            Outcome::Ok { value, revision } => (Status::Committed, value, *revision),
            Outcome::Fail { .. } => (Status::Failed, &op.value, None),
            Outcome::Info { .. } => (Status::Indefinite, &op.value, None),
        };
        let committed = status == Status::Committed;
        let steps: Option<Vec<Step<S>>> = steps.as_array().and_then(|steps| {
            steps
                .iter()
                .map(|step| {
                    let key = names.number(step.get(1)?.as_str()?);
                    let value = step.get(2).unwrap_or(&Value::Null);
                    match step.get(0)?.as_str()? {
                        "r" if committed => Some(Step::Read {
                            key,
                            seen: Some(parse(value)?),
                        }),
                        "r" => Some(Step::Read { key, seen: None }),
                        name if name == write => Some(Step::Write {
                            key,
                            value: value.as_i64()?,
                        }),
                        _ => None,
                    }
                })
                .collect()
        });
        match steps {
            Some(steps) => txns.push(Txn {
                op: op.index,
                process: op.process,
                call_ns: op.call_ns,
                return_ns: op.return_ns,
                status,
                steps,
                revision,
            }),
            None => not_understood.push(format!(
                "operation {} is no transaction of {write:?} and \"r\"",
                op.index
            )),
        }
    }
    (txns, not_understood)
}
