//! openraft's state machine over ours.
use crate::types::{
    Entry, LogId, Reply, StoredMembership, Types, decode_membership, encode_membership, entry_id, from_entry_id,
};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use keelson_mvcc::{AppliedState, LogEntry, StateMachine, state_machine::StorageError};
use keelson_wal::EntryId;
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine},
    type_config::alias::{SnapshotMetaOf, SnapshotOf},
};
use parking_lot::Mutex;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::Notify;

/// Entries that reach the machine in one call at most: one batch of its store, and a bound on how long the task runs.
const APPLY_ENTRIES_MAX: usize = 256;
/// Entries since the last flush that ask for the next, however small they are: replay costs by the entry too.
const FLUSH_ENTRIES_MAX: u64 = 200_000;

/// A state machine whose answers have lost their type, so that openraft is compiled for one machine only.
pub(crate) trait AnyMachine: Send + Sync + 'static {
    fn applied_state(&self) -> AppliedState;
    fn apply(&self, entries: &[LogEntry]) -> Result<Vec<Reply>, StorageError>;
    fn durable_index(&self) -> Result<u64, StorageError>;
    fn flush(&self) -> Result<(), StorageError>;
}

pub(crate) struct Erased<M>(pub Arc<M>);

impl<M: StateMachine> AnyMachine for Erased<M> {
    fn applied_state(&self) -> AppliedState {
        self.0.applied_state()
    }
    fn apply(&self, entries: &[LogEntry]) -> Result<Vec<Reply>, StorageError> {
        let replies = self.0.apply(entries)?;
        if replies.len() != entries.len() {
            return Err(StorageError(format!(
                "{} answers to {} entries",
                replies.len(),
                entries.len()
            )));
        }
        Ok(replies.into_iter().map(|r| Reply(Some(Box::new(r)))).collect())
    }
    fn durable_index(&self) -> Result<u64, StorageError> {
        self.0.durable_index()
    }
    fn flush(&self) -> Result<(), StorageError> {
        self.0.flush()
    }
}

/// What the node reads of the machine's progress without asking openraft.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub applied: AtomicU64,
    /// Log bytes and entries applied since the last flush was asked for.
    unflushed_bytes: AtomicU64,
    unflushed_entries: AtomicU64,
    pub flush_wanted: Notify,
}

/// A snapshot is a name only, which openraft keeps as its metadata. The state itself stays where it is, in the machine's store: between members it will be sent
/// from a checkpoint of that.
#[derive(Clone, Debug)]
pub struct SnapshotName;

pub(crate) struct MachineAdapter {
    machine: Arc<dyn AnyMachine>,
    progress: Arc<Progress>,
    flush_log_bytes: u64,
    /// The newest state known to be on disk.
    snapshot: Arc<Mutex<Option<SnapshotMetaOf<Types>>>>,
}

fn other(e: impl ToString) -> io::Error {
    io::Error::other(e.to_string())
}

fn applied_log_id(state: &AppliedState) -> Option<LogId> {
    (state.index > 0).then(|| {
        from_entry_id(EntryId {
            term: state.term,
            index: state.index,
        })
    })
}

fn snapshot_meta(state: &AppliedState) -> io::Result<Option<SnapshotMetaOf<Types>>> {
    let Some(last) = applied_log_id(state) else {
        return Ok(None);
    };
    let last_membership = decode_membership(&state.membership).map_err(other)?;
    Ok(Some(SnapshotMetaOf::<Types> {
        last_log_id: Some(last),
        last_membership,
    }))
}

fn named(meta: SnapshotMetaOf<Types>) -> SnapshotOf<Types, SnapshotName> {
    SnapshotOf::<Types, SnapshotName> {
        meta,
        snapshot: SnapshotName,
    }
}

impl MachineAdapter {
    /// The machine was just opened: what it holds is what its disk holds.
    pub(crate) fn new(machine: Arc<dyn AnyMachine>, progress: Arc<Progress>, flush_log_bytes: u64) -> io::Result<Self> {
        let state = machine.applied_state();
        progress.applied.store(state.index, Ordering::Release);
        let snapshot = Arc::new(Mutex::new(snapshot_meta(&state)?));
        Ok(MachineAdapter {
            machine,
            progress,
            flush_log_bytes,
            snapshot,
        })
    }

    fn note_applied(&self, index: u64, bytes: u64, entries: u64) {
        self.progress.applied.store(index, Ordering::Release);
        let bytes = self.progress.unflushed_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let entries = self.progress.unflushed_entries.fetch_add(entries, Ordering::Relaxed) + entries;
        if bytes > self.flush_log_bytes || entries > FLUSH_ENTRIES_MAX {
            self.progress.unflushed_bytes.store(0, Ordering::Relaxed);
            self.progress.unflushed_entries.store(0, Ordering::Relaxed);
            self.progress.flush_wanted.notify_one();
        }
    }
}

/// What an entry weighs in the log beyond its payload.
const ENTRY_OVERHEAD_BYTES: u64 = 32;

fn to_machine(entry: Entry) -> io::Result<LogEntry> {
    let (command, membership) = match entry.payload {
        EntryPayload::Blank => (Bytes::new(), None),
        EntryPayload::Normal(command) => (command.0, None),
        EntryPayload::Membership(m) => (
            Bytes::new(),
            Some(encode_membership(&StoredMembership::new(Some(entry.log_id), m))?),
        ),
    };
    let id = entry_id(&entry.log_id);
    // One leader a term: the term names it, and the log does not.
    Ok(LogEntry {
        index: id.index,
        term: id.term,
        leader: 0,
        command,
        membership,
    })
}

impl RaftStateMachine<Types> for MachineAdapter {
    type SnapshotData = SnapshotName;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let state = self.machine.applied_state();
        Ok((
            applied_log_id(&state),
            decode_membership(&state.membership).map_err(other)?,
        ))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut chunks = entries.ready_chunks(APPLY_ENTRIES_MAX);
        while let Some(chunk) = chunks.next().await {
            let mut batch = Vec::with_capacity(chunk.len());
            let mut responders = Vec::with_capacity(chunk.len());
            let mut bytes = 0;
            for item in chunk {
                let (entry, responder) = item?;
                let entry = to_machine(entry)?;
                bytes += entry.command.len() as u64 + ENTRY_OVERHEAD_BYTES;
                batch.push(entry);
                responders.push(responder);
            }
            let Some(last) = batch.last().map(|e| e.index) else {
                continue;
            };
            let replies = self.machine.apply(&batch).map_err(other)?;
            self.note_applied(last, bytes, batch.len() as u64);
            for (responder, reply) in responders.into_iter().zip(replies) {
                if let Some(responder) = responder {
                    responder.send(reply);
                }
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            machine: self.machine.clone(),
            state: self.machine.applied_state(),
            snapshot: self.snapshot.clone(),
        }
    }

    async fn install_snapshot(&mut self, _: &SnapshotMetaOf<Types>, _: SnapshotName) -> Result<(), io::Error> {
        Err(other(crate::Error::Unsupported("a snapshot from another member")))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, SnapshotName>>, io::Error> {
        Ok(self.snapshot.lock().clone().map(named))
    }
}

/// Makes the applied state durable, which is all a snapshot is here, and names it.
pub(crate) struct SnapshotBuilder {
    machine: Arc<dyn AnyMachine>,
    state: AppliedState,
    snapshot: Arc<Mutex<Option<SnapshotMetaOf<Types>>>>,
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    type SnapshotData = SnapshotName;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, SnapshotName>, io::Error> {
        let machine = self.machine.clone();
        let flush = move || {
            machine.flush()?;
            machine.durable_index()
        };
        let durable = tokio::task::spawn_blocking(flush)
            .await
            .map_err(other)?
            .map_err(other)?;
        if durable < self.state.index {
            return Err(other(format!(
                "a flush left the durable index at {durable}, below {}",
                self.state.index
            )));
        }
        let Some(meta) = snapshot_meta(&self.state)? else {
            return Ok(named(SnapshotMetaOf::<Types>::default()));
        };
        let mut newest = self.snapshot.lock();
        if newest.as_ref().is_none_or(|n| n.last_log_id < meta.last_log_id) {
            *newest = Some(meta.clone());
        }
        Ok(named(meta))
    }
}
