//! A state machine whose "disk" the tests hold, and the helpers they share.
#![allow(clippy::unwrap_used)]

mod crash;
mod group;
mod store;
mod suite;

use crate::{Node, Options};
use bytes::Bytes;
use keelson_mvcc::{AppliedState, LogEntry, StateMachine, state_machine::StorageError};
use parking_lot::Mutex;
use std::{path::Path, sync::Arc};

#[derive(Clone, Default)]
pub struct Content {
    pub applied: AppliedState,
    /// (index, command) of every entry that carried one.
    pub commands: Vec<(u64, Bytes)>,
}

/// Survives the machine, as RocksDB's files do.
pub type Persisted = Arc<Mutex<Content>>;

pub struct Recorder {
    live: Mutex<Content>,
    persisted: Persisted,
    pub largest_batch: Mutex<usize>,
    pub flushes: Mutex<usize>,
    /// Held by a test, it holds up every apply.
    pub gate: Mutex<()>,
    /// Refuses holes. openraft's suite leaves some.
    strict: bool,
}

impl Recorder {
    pub fn open(persisted: &Persisted) -> Arc<Self> {
        Arc::new(Self::new(persisted, true))
    }

    fn new(persisted: &Persisted, strict: bool) -> Self {
        let live = Mutex::new(persisted.lock().clone());
        Recorder {
            live,
            persisted: persisted.clone(),
            largest_batch: Mutex::new(0),
            flushes: Mutex::new(0),
            gate: Mutex::new(()),
            strict,
        }
    }

    pub fn commands(&self) -> Vec<(u64, Bytes)> {
        self.live.lock().commands.clone()
    }
}

impl StateMachine for Recorder {
    type Response = usize;

    fn applied_state(&self) -> AppliedState {
        self.live.lock().applied.clone()
    }

    fn apply(&self, entries: &[LogEntry]) -> Result<Vec<usize>, StorageError> {
        drop(self.gate.lock());
        let mut live = self.live.lock();
        let mut largest = self.largest_batch.lock();
        *largest = (*largest).max(entries.len());
        let mut answers = Vec::new();
        for e in entries {
            if self.strict && e.index != live.applied.index + 1 {
                return Err(StorageError(format!("entry {} after {}", e.index, live.applied.index)));
            }
            if let Some(m) = &e.membership {
                live.applied.membership = m.clone();
            }
            live.applied.index = e.index;
            live.applied.term = e.term;
            if !e.command.is_empty() {
                live.commands.push((e.index, e.command.clone()));
            }
            answers.push(live.commands.len());
        }
        Ok(answers)
    }

    fn durable_index(&self) -> Result<u64, StorageError> {
        Ok(self.persisted.lock().applied.index)
    }

    fn flush(&self) -> Result<(), StorageError> {
        *self.flushes.lock() += 1;
        *self.persisted.lock() = self.live.lock().clone();
        Ok(())
    }
}

pub fn options(dir: &Path) -> Options {
    let mut o = Options::new(1, 0xc1, dir);
    o.segment_bytes = 64 << 10;
    o.flush_log_bytes = 1 << 40;
    o
}

pub async fn start(dir: &Path, persisted: &Persisted) -> Node<Recorder> {
    Node::start(options(dir), Recorder::open(persisted)).await.unwrap()
}

pub fn command(i: u64) -> Bytes {
    Bytes::from(format!("command {i:08}"))
}

/// Copies a log as a crash leaves it. Files that a purge takes away meanwhile make it start over.
pub fn copy_log(from: &Path, to: &Path) {
    'again: for _ in 0..100 {
        drop(std::fs::remove_dir_all(to));
        std::fs::create_dir_all(to).unwrap();
        for f in std::fs::read_dir(from).unwrap() {
            let f = f.unwrap();
            if f.file_name() != "LOCK" && std::fs::copy(f.path(), to.join(f.file_name())).is_err() {
                continue 'again;
            }
        }
        return;
    }
    panic!("the folder does not hold still");
}
