//! What a store has done since it was opened, for metrics. It is no part of the state: nothing depends on it.

use crate::events::RevisionEvents;
use crate::store::Store;
use std::sync::atomic::{AtomicU64, Ordering};

/// Moments of a batch that whoever has a clock may time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    Begins,
    Ends,
}

/// Since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Keys written, each version.
    pub puts: u64,
    /// Keys deleted.
    pub deletes: u64,
    /// Revisions of more than one change, and transactions that only read.
    pub txns: u64,
    pub ranges: u64,
    /// Bytes of the keys and values that were put.
    pub put_bytes: u64,
    /// Versions that compactions took away.
    pub trimmed_versions: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    puts: AtomicU64,
    deletes: AtomicU64,
    txns: AtomicU64,
    ranges: AtomicU64,
    put_bytes: AtomicU64,
    trimmed_versions: AtomicU64,
}

impl Counters {
    pub fn count_applied(&self, revisions: &[RevisionEvents]) {
        let mut counts = Counts::default();
        for revision in revisions {
            counts.txns += u64::from(revision.events.len() > 1);
            for event in &revision.events {
                if event.delete {
                    counts.deletes += 1;
                } else {
                    counts.puts += 1;
                    counts.put_bytes += (event.kv.key.len() + event.kv.value.len()) as u64;
                }
            }
        }
        self.puts.fetch_add(counts.puts, Ordering::Relaxed);
        self.deletes.fetch_add(counts.deletes, Ordering::Relaxed);
        self.txns.fetch_add(counts.txns, Ordering::Relaxed);
        self.put_bytes.fetch_add(counts.put_bytes, Ordering::Relaxed);
    }

    pub fn count_range(&self) {
        self.ranges.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_read_txn(&self) {
        self.txns.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_trimmed(&self, versions: usize) {
        self.trimmed_versions.fetch_add(versions as u64, Ordering::Relaxed);
    }
}

impl Store {
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let c = &self.counters;
        Counts {
            puts: read(&c.puts),
            deletes: read(&c.deletes),
            txns: read(&c.txns),
            ranges: read(&c.ranges),
            put_bytes: read(&c.put_bytes),
            trimmed_versions: read(&c.trimmed_versions),
        }
    }

    /// Reads that are open now.
    pub fn open_readers(&self) -> usize {
        self.pins.count()
    }

    /// Follows each batch that is written. Only the first observer is taken; it must not call back into the store.
    pub fn on_commit(&self, observer: impl Fn(Commit) + Send + Sync + 'static) {
        let _ = self.commit_observer.set(Box::new(observer));
    }
}
