//! `/metrics`: etcd's names and types, in Prometheus' text format.
//!
//! What is counted on the way is counted in atomics (`instruments.rs`); what the member knows anyway (revisions, sizes,
//! watchers, raft) is read when somebody asks. Names of Go's runtime are left out: there is no such runtime here.
//! `keelson_tasks` counts tasks, where a dashboard would look at goroutines. What etcd has and this has not is listed,
//! with reasons, in `tests/metrics.rs`.

mod calls;
mod collect;
mod disk;
mod health;
mod instruments;
mod log;
mod page;
mod peers;
mod process;

pub use calls::{Call, Calls};
pub use collect::serve;
pub use disk::{LogTimes, TimedDisk};
pub use instruments::{Counter, Exponential, Gauge, Histogram, SECONDS};
pub use log::{MeteredLog, count_leaders};

use health::HealthCounts;
use keelson_mvcc::{Commit, LeaseChange, Store};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

/// 0.1 s to a minute and more: work on the whole store.
const LONG_SECONDS: Exponential = Exponential {
    first: 0.1,
    factor: 2.0,
    count: 13,
};
const HASH_SECONDS: Exponential = Exponential {
    first: 0.01,
    factor: 2.0,
    count: 15,
};
const SNAPSHOT_SECONDS: Exponential = Exponential {
    first: 0.01,
    factor: 2.0,
    count: 17,
};
const LEASE_TTL_SECONDS: Exponential = Exponential {
    first: 1.0,
    factor: 2.0,
    count: 24,
};
const COMPACTION_MS: Exponential = Exponential {
    first: 100.0,
    factor: 2.0,
    count: 14,
};
const PAUSE_MS: Exponential = Exponential {
    first: 1.0,
    factor: 2.0,
    count: 13,
};

/// Everything that is counted as it happens, of one member.
pub struct Metrics {
    pub calls: Calls,
    pub health: HealthCounts,
    pub log: Arc<LogTimes>,
    pub raft: RaftCounts,
    pub watch: WatchTimes,
    pub leases: LeaseCounts,
    pub store: StoreTimes,
    scrapes: Gauge,
    scraped: Counter,
}

/// Proposals, reads and leaders.
#[derive(Default)]
pub struct RaftCounts {
    pub proposals_pending: Gauge,
    pub proposals_failed: Counter,
    pub read_indexes_failed: Counter,
    pub read_indexes_slow: Counter,
    pub applies_slow: Counter,
    pub leader_changes: Counter,
    pub learners_promoted: Counter,
    pub snapshots_applying: Gauge,
}

/// How long streams of watches take to hand on what they have.
pub struct WatchTimes {
    pub events_sent: Counter,
    pub control_seconds: Histogram,
    pub progress_seconds: Histogram,
    pub events_seconds: Histogram,
    pub each_event_seconds: Histogram,
}

pub struct LeaseCounts {
    pub granted: Counter,
    pub renewed: Counter,
    pub revoked: Counter,
    pub expired: Counter,
    pub ttl_seconds: Histogram,
}

impl LeaseCounts {
    pub fn count(&self, change: &LeaseChange) {
        match change {
            LeaseChange::Granted { ttl_seconds, .. } => {
                self.granted.inc();
                self.ttl_seconds.observe(*ttl_seconds as f64);
            }
            LeaseChange::Revoked { .. } => self.revoked.inc(),
        }
    }
}

/// Work on the store that takes a while.
pub struct StoreTimes {
    pub commit_seconds: Histogram,
    pub defragment_seconds: Histogram,
    pub defragmenting: Gauge,
    pub snapshot_seconds: Histogram,
    pub hash_seconds: Histogram,
    pub hash_revision_seconds: Histogram,
    pub compaction_ms: Histogram,
    pub compaction_pause_ms: Histogram,
    /// Seconds since 1970.
    pub compaction_last: Gauge,
}

impl Metrics {
    /// The log's disk, timed.
    pub fn log_disk(&self, no_sync: bool) -> Arc<dyn keelson_raft::Disk> {
        Arc::new(TimedDisk {
            times: self.log.clone(),
            no_sync,
        })
    }

    /// Times the batches that apply writes. They come one at a time.
    pub fn time_commits(self: &Arc<Self>, store: &Store) {
        let (metrics, begun) = (self.clone(), Mutex::new(None));
        store.on_commit(move |moment| match moment {
            Commit::Begins => *begun.lock() = Some(Instant::now()),
            Commit::Ends => {
                if let Some(begun) = begun.lock().take() {
                    metrics.store.commit_seconds.observe_seconds(begun.elapsed());
                }
            }
        });
    }

    /// Fails where the descriptors that were built in are damaged.
    pub fn new(extensive: bool) -> Result<Metrics, String> {
        let seconds = || Histogram::exponential(SECONDS);
        Ok(Metrics {
            calls: Calls::new(extensive)?,
            health: HealthCounts::default(),
            log: LogTimes::new(),
            raft: RaftCounts::default(),
            watch: WatchTimes {
                events_sent: Counter::default(),
                control_seconds: seconds(),
                progress_seconds: seconds(),
                events_seconds: seconds(),
                each_event_seconds: seconds(),
            },
            leases: LeaseCounts {
                granted: Counter::default(),
                renewed: Counter::default(),
                revoked: Counter::default(),
                expired: Counter::default(),
                ttl_seconds: Histogram::exponential(LEASE_TTL_SECONDS),
            },
            store: StoreTimes {
                commit_seconds: seconds(),
                defragment_seconds: Histogram::exponential(LONG_SECONDS),
                defragmenting: Gauge::default(),
                snapshot_seconds: Histogram::exponential(SNAPSHOT_SECONDS),
                hash_seconds: Histogram::exponential(HASH_SECONDS),
                hash_revision_seconds: Histogram::exponential(HASH_SECONDS),
                compaction_ms: Histogram::exponential(COMPACTION_MS),
                compaction_pause_ms: Histogram::exponential(PAUSE_MS),
                compaction_last: Gauge::default(),
            },
            scrapes: Gauge::default(),
            scraped: Counter::default(),
        })
    }
}
