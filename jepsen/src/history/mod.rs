//! What a run records: operations of clients, what watchers were sent, the faults, and what was read back at the end.

mod folder;
mod informer;
mod record;
mod watch;

pub use folder::{Folder, Meta, Recorder};
pub use informer::{InformerKind, InformerRecord, InformerStart, Seen};
pub use record::{History, Kind, Op, Outcome, Record};
pub use watch::{PrevKv, WatchEvent, WatchKind, WatchRecord, WatchStart};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Instant;

/// The one clock of a run.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Begins now.
    pub fn begin() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Nanoseconds since the beginning of the run.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// One thing that a fault did: a line of `faults.jsonl`. A fault that lasts has two lines, `begin` and `end`; what
/// happens at once has one, `once`. Effects (a leader that changed, a snapshot that was installed) are `effect`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultRecord {
    pub time_ns: u64,
    /// Number of the fault within the run: the same in its two lines.
    pub id: u64,
    pub phase: Phase,
    /// Name of the kind: `kill`, `partition`.
    pub fault: String,
    /// Members that it strikes, numbered from 1.
    pub nodes: Vec<usize>,
    /// What else is to be told: which halves, how many bytes were lost.
    pub detail: Value,
}

/// What a line of `faults.jsonl` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Begin,
    End,
    Once,
    Effect,
}

/// What a member holds after everything was healed: a line of `final.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinalState {
    /// The member, numbered from 1.
    pub node: usize,
    /// Revision of the state.
    pub revision: i64,
    pub compact_revision: i64,
    /// HashKV at `revision` with the bound that it was computed from.
    pub hash: u32,
    pub hash_revision: i64,
    /// Every key of the member, in key order, read serializably at `revision`.
    pub kvs: Vec<FinalKv>,
}

/// A key as a member holds it. Keys and values are text in all workloads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinalKv {
    pub key: String,
    pub value: String,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub lease: i64,
}
