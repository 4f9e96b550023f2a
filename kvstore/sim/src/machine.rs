//! The store of one member, with somebody looking over its shoulder.

use crate::executor::current;
use crate::history::History;
use crate::options::Bug;
use bytes::Bytes;
use keelson_mvcc::{
    AppliedState, Command, LeaseChange, LogEntry, Reply, Response, SnapshotChunk, SnapshotReader, SnapshotWriter,
    StateMachine, StorageError, Store,
};
use keelson_proto::etcdserverpb as pb;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What whoever keeps the leases' time would know.
struct Book {
    leases: Mutex<BTreeSet<i64>>,
    deaf: AtomicBool,
}

impl Book {
    fn note(&self, change: LeaseChange) {
        if self.deaf.load(Ordering::Relaxed) {
            return;
        }
        let mut leases = self.leases.lock();
        match change {
            LeaseChange::Granted { id, .. } => leases.insert(id),
            LeaseChange::Revoked { id } => leases.remove(&id),
        };
    }
}

pub struct Machine {
    member: u64,
    pub store: Arc<Store>,
    history: Arc<Mutex<History>>,
    book: Arc<Book>,
    bug: Bug,
}

impl Machine {
    pub fn new(member: u64, store: Arc<Store>, history: Arc<Mutex<History>>, bug: Bug) -> Arc<Machine> {
        let book = Arc::new(Book {
            leases: Mutex::new(store.leases().into_iter().map(|(id, ..)| id).collect()),
            deaf: AtomicBool::new(false),
        });
        let of_store = book.clone();
        store.on_lease_change(move |change| of_store.note(change));
        Arc::new(Machine {
            member,
            store,
            history,
            book,
            bug,
        })
    }

    fn check_book(&self) {
        check_book(self.member, &self.store, &self.book);
    }
}

fn check_book(member: u64, store: &Store, book: &Book) {
    let leases: BTreeSet<i64> = store.leases().into_iter().map(|(id, ..)| id).collect();
    let told = book.leases.lock();
    if *told != leases
        && let Some(executor) = current()
    {
        executor.fail(format!("member {member} has leases {leases:?} and told of {told:?}"));
    }
}

/// The guard judged too early, on the state before the batch: one of the bugs that the simulator must find.
fn judged_early(store: &Arc<Store>, entry: &LogEntry) -> Option<(LogEntry, bool)> {
    let Ok((Command::Txn(r), asker)) = Command::decode_with_asker(entry.command.clone()) else {
        return None;
    };
    let guard = pb::TxnRequest {
        compare: r.compare,
        ..Default::default()
    };
    let holds = store.txn_read(&guard).ok()?.succeeded;
    let success = if holds { r.success } else { r.failure };
    let command = Command::Txn(pb::TxnRequest {
        success,
        ..Default::default()
    });
    let entry = LogEntry {
        command: command.encode_for(&asker),
        ..entry.clone()
    };
    Some((entry, holds))
}

impl StateMachine for Machine {
    type Response = Response;

    fn applied_state(&self) -> AppliedState {
        self.store.applied_state()
    }

    fn apply(&self, entries: &[LogEntry]) -> Result<Vec<Response>, StorageError> {
        let responses = if self.bug == Bug::GuardsJudgedEarly {
            let judged: Vec<_> = entries.iter().map(|e| judged_early(&self.store, e)).collect();
            let changed: Vec<LogEntry> = judged
                .iter()
                .zip(entries)
                .map(|(j, e)| j.as_ref().map_or(e, |(e, _)| e).clone())
                .collect();
            let mut responses = self.store.apply(&changed)?;
            for (response, judged) in responses.iter_mut().zip(judged) {
                if let (Ok(Reply::Txn(r)), Some((_, holds))) = (response, judged) {
                    r.succeeded = holds;
                }
            }
            responses
        } else {
            self.store.apply(entries)?
        };
        let mut history = self.history.lock();
        for (entry, response) in entries.iter().zip(&responses) {
            history.applied(self.member, entry, response);
        }
        self.check_book();
        Ok(responses)
    }

    fn durable_index(&self) -> Result<u64, StorageError> {
        self.store.durable_index()
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.store.flush()
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, StorageError> {
        Ok(Box::new(Small(self.store.snapshot()?)))
    }

    fn begin_install(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        Ok(Box::new(Installing {
            inner: self.store.begin_install()?,
            member: self.member,
            store: self.store.clone(),
            history: self.history.clone(),
            book: self.book.clone(),
            bug: self.bug,
        }))
    }
}

/// Cuts snapshots into small pieces, so that streams break between them.
struct Small(Box<dyn SnapshotReader>);

const PIECE_BYTES_MAX: usize = 700;

impl SnapshotReader for Small {
    fn state(&self) -> &AppliedState {
        self.0.state()
    }

    fn chunk(&mut self, after: &[u8], bytes_max: usize) -> Result<SnapshotChunk, StorageError> {
        self.0.chunk(after, bytes_max.min(PIECE_BYTES_MAX))
    }
}

struct Installing {
    inner: Box<dyn SnapshotWriter>,
    member: u64,
    store: Arc<Store>,
    history: Arc<Mutex<History>>,
    book: Arc<Book>,
    bug: Bug,
}

impl SnapshotWriter for Installing {
    fn add(&mut self, chunk: Bytes) -> Result<(), StorageError> {
        self.inner.add(chunk)
    }

    fn finish(self: Box<Self>) -> Result<AppliedState, StorageError> {
        self.book
            .deaf
            .store(self.bug == Bug::InstallForgetsLeases, Ordering::Relaxed);
        let applied = self.inner.finish()?;
        self.book.deaf.store(false, Ordering::Relaxed);
        if let Some(executor) = current() {
            executor.note(format!(
                "member {} installed the state after {}",
                self.member, applied.index
            ));
        }
        self.history.lock().installed(self.member, applied.index, applied.term);
        check_book(self.member, &self.store, &self.book);
        Ok(applied)
    }
}
