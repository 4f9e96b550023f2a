//! A state machine whose "disk" the tests hold, and the helpers they share.
#![allow(clippy::unwrap_used)]

mod cluster;
mod crash;
mod faults;
mod group;
mod holes;
mod network;
mod replication;
mod scribe;
mod store;
mod suite;

use crate::{Node, Options};
use bytes::Bytes;
use keelson_mvcc::{
    AppliedState, LogEntry, StateMachine,
    state_machine::{SnapshotChunk, SnapshotReader, SnapshotWriter, StorageError},
};
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
    live: Arc<Mutex<Content>>,
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
        let live = Arc::new(Mutex::new(persisted.lock().clone()));
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

    fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, StorageError> {
        Ok(Box::new(Copy(self.live.lock().clone())))
    }

    fn begin_install(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        Ok(Box::new(Staged {
            live: self.live.clone(),
            persisted: self.persisted.clone(),
            content: Content::default(),
        }))
    }
}

/// A state in pieces: first where it stands, then a command each. Tokens are counts.
struct Copy(Content);

const STATE_BYTES: usize = 16;

impl SnapshotReader for Copy {
    fn state(&self) -> &AppliedState {
        &self.0.applied
    }

    fn chunk(&mut self, after: &[u8], _: usize) -> Result<SnapshotChunk, StorageError> {
        let at = match after {
            [] => 0,
            token => usize::from_be_bytes(token.try_into().unwrap()),
        };
        let mut data = Vec::new();
        if at == 0 {
            data.extend(self.0.applied.index.to_be_bytes());
            data.extend(self.0.applied.term.to_be_bytes());
            data.extend(&self.0.applied.membership[..]);
        } else {
            let (index, command) = &self.0.commands[at - 1];
            data.extend(index.to_be_bytes());
            data.extend(&command[..]);
        }
        let next = (at < self.0.commands.len()).then(|| Bytes::copy_from_slice(&(at + 1).to_be_bytes()));
        Ok(SnapshotChunk {
            data: data.into(),
            next,
        })
    }
}

struct Staged {
    live: Arc<Mutex<Content>>,
    persisted: Persisted,
    content: Content,
}

impl SnapshotWriter for Staged {
    fn add(&mut self, mut chunk: Bytes) -> Result<(), StorageError> {
        let number = |b: Bytes| u64::from_be_bytes(b[..].try_into().unwrap());
        if self.content.applied.index == 0 {
            let mut head = chunk.split_to(STATE_BYTES);
            self.content.applied.index = number(head.split_to(8));
            self.content.applied.term = number(head);
            self.content.applied.membership = chunk;
        } else {
            let index = number(chunk.split_to(8));
            self.content.commands.push((index, chunk));
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<AppliedState, StorageError> {
        *self.live.lock() = self.content.clone();
        *self.persisted.lock() = self.content.clone();
        Ok(self.content.applied)
    }
}

pub fn options(dir: &Path) -> Options {
    let mut o = Options::new(1, 0xc1, dir);
    o.segment_bytes = 64 << 10;
    o.flush_log_bytes = 1 << 40;
    o
}

pub async fn start(dir: &Path, persisted: &Persisted) -> Node<Recorder> {
    Node::start_alone(options(dir), Recorder::open(persisted))
        .await
        .unwrap()
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
