//! openraft's state machine over ours.
use crate::{
    Members,
    log_store::durable,
    marker::Marker,
    runtime,
    types::{
        Command, Entry, LogId, Origin, Reply, StoredMembership, Types, decode_membership, encode_membership, entry_id,
        from_entry_id,
    },
    waiters::Waiters,
};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use keelson_mvcc::{
    AppliedState, LogEntry, StateMachine,
    state_machine::{SnapshotReader, SnapshotWriter, StorageError},
};
use keelson_wal::{EntryId, Wal};
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
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::{Notify, watch};

/// Entries that reach the machine in one call at most: one batch of its store, and a bound on how long the task runs.
const APPLY_ENTRIES_MAX: usize = 256;

/// A state machine whose answers have lost their type, so that openraft is compiled for one machine only.
pub(crate) trait AnyMachine: Send + Sync + 'static {
    fn applied_state(&self) -> AppliedState;
    fn apply(&self, entries: &[LogEntry]) -> Result<Vec<Reply>, StorageError>;
    fn durable_index(&self) -> Result<u64, StorageError>;
    fn flush(&self) -> Result<(), StorageError>;
    fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, StorageError>;
    fn begin_install(&self) -> Result<Box<dyn SnapshotWriter>, StorageError>;
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
    fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, StorageError> {
        self.0.snapshot()
    }
    fn begin_install(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        self.0.begin_install()
    }
}

/// What the node reads of the machine's progress without asking openraft.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    applied: AtomicU64,
    /// The same, for those who wait for an index.
    reached: watch::Sender<u64>,
    /// Who is in the group, as applied.
    pub members: watch::Sender<Arc<Members>>,
    /// Log bytes and entries applied since the last flush was asked for.
    unflushed_bytes: AtomicU64,
    unflushed_entries: AtomicU64,
    pub flush_wanted: Notify,
    /// The core runs: whoever asks for the current snapshot wants to send it.
    pub running: AtomicBool,
}

impl Progress {
    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    fn set_applied(&self, index: u64) {
        self.applied.store(index, Ordering::Release);
        self.reached.send_replace(index);
    }

    /// Returns when `index` is applied. The end of the core is the caller's to watch.
    pub(crate) async fn wait_applied(&self, index: u64) {
        if self.applied() >= index {
            return;
        }
        let mut reached = self.reached.subscribe();
        // Applied between the look above and the subscription: nobody told.
        while self.applied() < index {
            if reached.changed().await.is_err() {
                return;
            }
        }
    }
}

/// What a snapshot is besides its name: where it comes from or goes to.
pub(crate) enum Content {
    /// Nothing: the state stays where it is, in the machine's store, and is durable.
    Name,
    /// To be sent.
    Reader(Box<dyn SnapshotReader>),
    /// All of it is here, beside the live state.
    Received(Box<dyn SnapshotWriter>),
    /// The machine could not be read.
    Unreadable(String),
}

pub struct SnapshotData(pub(crate) Content);

pub(crate) struct Parts {
    pub wal: Wal,
    pub machine: Arc<dyn AnyMachine>,
    pub progress: Arc<Progress>,
    pub waiters: Arc<Waiters>,
    pub marker: Arc<Marker>,
    pub flush_log_bytes: u64,
    pub flush_entries: u64,
}

pub(crate) struct MachineAdapter {
    parts: Parts,
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

fn named(meta: SnapshotMetaOf<Types>) -> SnapshotOf<Types, SnapshotData> {
    with(meta, Content::Name)
}

fn with(meta: SnapshotMetaOf<Types>, content: Content) -> SnapshotOf<Types, SnapshotData> {
    SnapshotOf::<Types, SnapshotData> {
        meta,
        snapshot: SnapshotData(content),
    }
}

impl MachineAdapter {
    /// The machine was just opened: what it holds is what its disk holds.
    pub(crate) fn new(parts: Parts) -> io::Result<Self> {
        let state = parts.machine.applied_state();
        let adapter = MachineAdapter {
            snapshot: Arc::new(Mutex::new(snapshot_meta(&state)?)),
            parts,
        };
        adapter.note_state(&state)?;
        Ok(adapter)
    }

    /// The machine holds another state than what was applied entry by entry.
    fn note_state(&self, state: &AppliedState) -> io::Result<()> {
        let progress = &self.parts.progress;
        let membership = decode_membership(&state.membership).map_err(other)?;
        progress.members.send_replace(Arc::new(Members::of(&membership)));
        progress.set_applied(state.index);
        Ok(())
    }

    fn note_applied(&self, index: u64, bytes: u64, entries: u64) {
        let progress = &self.parts.progress;
        progress.set_applied(index);
        let bytes = progress.unflushed_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let entries = progress.unflushed_entries.fetch_add(entries, Ordering::Relaxed) + entries;
        if bytes > self.parts.flush_log_bytes || entries > self.parts.flush_entries {
            progress.unflushed_bytes.store(0, Ordering::Relaxed);
            progress.unflushed_entries.store(0, Ordering::Relaxed);
            progress.flush_wanted.notify_one();
        }
    }

    /// Opens the state as it is now, for a follower that the log does not reach.
    fn open_snapshot(&self) -> io::Result<(SnapshotMetaOf<Types>, Content)> {
        let reader = match self.parts.machine.snapshot() {
            Ok(reader) => reader,
            Err(e) => {
                let meta = self.snapshot.lock().clone().unwrap_or_default();
                return Ok((meta, Content::Unreadable(e.to_string())));
            }
        };
        let meta = snapshot_meta(reader.state())?;
        Ok((meta.unwrap_or_default(), Content::Reader(reader)))
    }
}

/// What an entry weighs in the log beyond its payload.
const ENTRY_OVERHEAD_BYTES: u64 = 32;

/// An entry on its way into the machine, and who hears of it.
struct Applying {
    entry: LogEntry,
    origin: Option<Origin>,
    members: Option<Members>,
}

fn to_machine(entry: Entry) -> io::Result<Applying> {
    let (mut origin, mut members, mut membership) = (None, None, None);
    let command = match entry.payload {
        EntryPayload::Blank => Bytes::new(),
        EntryPayload::Normal(Command {
            bytes,
            forwarded: false,
        }) => bytes,
        EntryPayload::Normal(Command { bytes, forwarded: true }) => {
            let (from, command) = Origin::split(bytes).ok_or_else(|| other("a forwarded command without origin"))?;
            origin = Some(from);
            command
        }
        EntryPayload::Membership(m) => {
            let stored = StoredMembership::new(Some(entry.log_id), m);
            members = Some(Members::of(&stored));
            membership = Some(encode_membership(&stored)?);
            Bytes::new()
        }
    };
    let id = entry_id(&entry.log_id);
    // One leader a term: the term names it, and the log does not.
    let entry = LogEntry {
        index: id.index,
        term: id.term,
        leader: 0,
        command,
        membership,
    };
    Ok(Applying { entry, origin, members })
}

impl RaftStateMachine<Types> for MachineAdapter {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let state = self.parts.machine.applied_state();
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
            let mut tellings = Vec::with_capacity(chunk.len());
            let (mut bytes, mut members) = (0, None);
            for item in chunk {
                let (entry, responder) = item?;
                let applying = to_machine(entry)?;
                bytes += applying.entry.command.len() as u64 + ENTRY_OVERHEAD_BYTES;
                members = applying.members.or(members);
                let origin = applying.origin.filter(|o| self.parts.waiters.is_ours(o));
                tellings.push((applying.entry.index, origin, responder));
                batch.push(applying.entry);
            }
            let Some(last) = batch.last().map(|e| e.index) else {
                continue;
            };
            // openraft applies what a quorum has, though this member's own disk may not have it yet. The machine flushes
            // when it likes, and after a crash its state would be ahead of the log.
            if !self.parts.wal.is_durable(last) {
                durable(|done| self.parts.wal.barrier(done)).await?;
            }
            let replies = self.parts.machine.apply(&batch).map_err(other)?;
            if let Some(members) = members {
                self.parts.progress.members.send_replace(Arc::new(members));
            }
            self.note_applied(last, bytes, batch.len() as u64);
            for ((index, origin, responder), reply) in tellings.into_iter().zip(replies) {
                match (origin, responder) {
                    (Some(origin), responder) => {
                        // Ours, and logged by us: this member led by the time its own stream arrived.
                        self.parts.waiters.answer(origin.sequence, Ok((index, reply)));
                        if let Some(responder) = responder {
                            responder.send(Reply(None));
                        }
                    }
                    (None, Some(responder)) => responder.send(reply),
                    (None, None) => {}
                }
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            machine: self.parts.machine.clone(),
            state: self.parts.machine.applied_state(),
            snapshot: self.snapshot.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types>, data: SnapshotData) -> Result<(), io::Error> {
        let Content::Received(writer) = data.0 else {
            return Err(other("a snapshot without content"));
        };
        let last = meta.last_log_id.as_ref().map(entry_id).unwrap_or_default();
        let marker = self.parts.marker.clone();
        let installed = runtime::spawn_blocking(move || {
            marker.set(last)?;
            writer.finish().map_err(other)
        });
        let state = installed.await.map_err(other)??;
        if (state.index, state.term) != (last.index, last.term) {
            return Err(other(format!(
                "the snapshot said that it holds {} of term {}, and holds {} of term {}",
                last.index, last.term, state.index, state.term
            )));
        }
        *self.snapshot.lock() = snapshot_meta(&state)?;
        self.note_state(&state)?;
        tracing::info!(index = state.index, term = state.term, "installed a snapshot");
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, SnapshotData>>, io::Error> {
        if !self.parts.progress.running.load(Ordering::Acquire) {
            return Ok(self.snapshot.lock().clone().map(named));
        }
        let (meta, content) = self.open_snapshot()?;
        Ok(Some(with(meta, content)))
    }
}

/// Makes the applied state durable, which is all a snapshot is here, and names it.
pub(crate) struct SnapshotBuilder {
    machine: Arc<dyn AnyMachine>,
    state: AppliedState,
    snapshot: Arc<Mutex<Option<SnapshotMetaOf<Types>>>>,
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, SnapshotData>, io::Error> {
        let machine = self.machine.clone();
        let flush = move || {
            machine.flush()?;
            machine.durable_index()
        };
        let durable = runtime::spawn_blocking(flush).await.map_err(other)?.map_err(other)?;
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
