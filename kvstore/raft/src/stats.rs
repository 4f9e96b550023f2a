//! Counts for whoever exports them: cheap to keep, read as a whole.
use parking_lot::RwLock;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Upper bounds of the round trips' buckets, in microseconds: 100 µs and its doublings, as etcd has them.
pub const ROUND_TRIP_BUCKETS_MICROS: [u64; 16] = [
    100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 204_800, 409_600, 819_200, 1_638_400,
    3_276_800,
];

/// What went to one peer and came from it.
#[derive(Debug, Default)]
pub(crate) struct PeerCounters {
    pub sent_bytes: AtomicU64,
    pub received_bytes: AtomicU64,
    pub sent_failures: AtomicU64,
    pub heartbeat_failures: AtomicU64,
    buckets: [AtomicU64; ROUND_TRIP_BUCKETS_MICROS.len()],
    round_trips: AtomicU64,
    round_trip_micros: AtomicU64,
}

impl PeerCounters {
    pub(crate) fn note_round_trip(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = ROUND_TRIP_BUCKETS_MICROS.iter().position(|upto| micros <= *upto);
        if let Some(bucket) = at.and_then(|at| self.buckets.get(at)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        self.round_trip_micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn read(&self) -> PeerStats {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        PeerStats {
            sent_bytes: get(&self.sent_bytes),
            received_bytes: get(&self.received_bytes),
            sent_failures: get(&self.sent_failures),
            heartbeat_failures: get(&self.heartbeat_failures),
            round_trip_buckets: self.buckets.each_ref().map(get),
            round_trips: get(&self.round_trips),
            round_trip_micros: get(&self.round_trip_micros),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub leader_changes: AtomicU64,
    pub proposals_failed: AtomicU64,
    pub read_indexes_failed: AtomicU64,
    pub snapshots_sent: AtomicU64,
    pub snapshots_received: AtomicU64,
    peers: RwLock<BTreeMap<u64, Arc<PeerCounters>>>,
}

impl Counters {
    /// Kept for as long as the process runs: members come and go rarely.
    pub(crate) fn peer(&self, id: u64) -> Arc<PeerCounters> {
        if let Some(found) = self.peers.read().get(&id) {
            return found.clone();
        }
        self.peers.write().entry(id).or_default().clone()
    }

    pub(crate) fn read(&self, proposals_pending: usize) -> Stats {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        Stats {
            proposals_pending,
            proposals_failed: get(&self.proposals_failed),
            leader_changes: get(&self.leader_changes),
            read_indexes_failed: get(&self.read_indexes_failed),
            snapshots_sent: get(&self.snapshots_sent),
            snapshots_received: get(&self.snapshots_received),
            peers: self.peers.read().iter().map(|(id, p)| (*id, p.read())).collect(),
        }
    }
}

/// What a node has done since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub proposals_pending: usize,
    pub proposals_failed: u64,
    /// Leaders seen, the first among them.
    pub leader_changes: u64,
    pub read_indexes_failed: u64,
    pub snapshots_sent: u64,
    pub snapshots_received: u64,
    pub peers: BTreeMap<u64, PeerStats>,
}

/// Messages of raft to and from one peer, payloads without the transport's framing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerStats {
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub sent_failures: u64,
    pub heartbeat_failures: u64,
    /// Round trips no longer than each of [`ROUND_TRIP_BUCKETS_MICROS`] and longer than the one before; what is longer
    /// than all is only in the count.
    pub round_trip_buckets: [u64; ROUND_TRIP_BUCKETS_MICROS.len()],
    pub round_trips: u64,
    pub round_trip_micros: u64,
}
