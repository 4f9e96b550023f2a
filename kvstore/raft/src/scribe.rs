//! Who writes entries to the log's files: the log's own thread, or this one.
//!
//! A wake-up of another thread and the one back cost more than half a sync on a fast disk. So when everything that is
//! proposed here waits for the log already, and nothing else is ready to run, the write is done where its callers wait
//! anyway. While more is under way, or others read here, the thread writes and this one goes on.
use crate::runtime;
use keelson_wal::{Callback, Entry, Error, Wal};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};
use tokio::sync::Notify;

/// Reads between one write and the next beyond which this member's thread has better to do than to wait for a disk.
const READS_BETWEEN_MAX: u64 = 2;
/// More entries than this are a load, and a thread that is busy has its log written by another.
const ENTRIES_HERE_MAX: usize = 32;

/// What this member's users want of it.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    /// Proposals that are under way.
    pub proposals: AtomicUsize,
    /// Reads that asked for an index, ever.
    pub reads: AtomicU64,
}

pub(crate) struct Scribe {
    wal: Wal,
    demand: Arc<Demand>,
    shared: Arc<Held>,
}

#[derive(Default)]
struct Held {
    /// Entries that the log has taken and that nobody was told to write.
    entries: AtomicUsize,
    ended: AtomicBool,
    bell: Notify,
}

impl Scribe {
    /// Its task ends with it.
    pub(crate) fn start(wal: Wal, demand: Arc<Demand>) -> Arc<Scribe> {
        let shared = Arc::<Held>::default();
        runtime::spawn(run(wal.clone(), demand.clone(), shared.clone()));
        Arc::new(Scribe { wal, demand, shared })
    }

    pub(crate) fn append(&self, entries: Vec<Entry>, done: Callback) -> Result<(), Error> {
        let count = entries.len();
        self.wal.append_held(entries, done)?;
        let held = self.shared.entries.fetch_add(count, Ordering::AcqRel) + count;
        if held > ENTRIES_HERE_MAX || self.demand.proposals.load(Ordering::Relaxed) > held {
            self.shared.entries.store(0, Ordering::Release);
            self.wal.wake();
        } else {
            self.shared.bell.notify_one();
        }
        Ok(())
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.shared.bell.notify_one();
    }
}

async fn run(wal: Wal, demand: Arc<Demand>, shared: Arc<Held>) {
    let mut reads_before = 0;
    loop {
        shared.bell.notified().await;
        if shared.ended.load(Ordering::Acquire) {
            // What is still held is written when the log closes.
            return;
        }
        // Followers get the entries first, and whoever has just called gets in.
        runtime::idle().await;
        let held = shared.entries.swap(0, Ordering::AcqRel);
        let reads = demand.reads.load(Ordering::Relaxed);
        let is_read = reads.wrapping_sub(reads_before) > READS_BETWEEN_MAX;
        reads_before = reads;
        if is_read || held > ENTRIES_HERE_MAX || demand.proposals.load(Ordering::Relaxed) > held {
            wal.wake();
        } else {
            wal.write_here();
        }
    }
}
