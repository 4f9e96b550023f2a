//! What waits to be sent on one stream, and the watchers of that stream. Apply and the hub never wait for it.

use keelson_mvcc::{KeyRange, RevisionEvents};
use keelson_proto::etcdserverpb as pb;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::Notify;

/// Batches of events waiting on one stream.
const QUEUE_BATCHES_MAX: usize = 1024;
/// Bytes of events waiting on one stream; they are shared with other streams and the ring.
const QUEUE_BYTES_MAX: usize = 4 << 20;

/// Positions in a revision's events.
pub type Positions = SmallVec<[u32; 4]>;

pub enum Item {
    /// An answer that is ready.
    Control(Box<pb::WatchResponse>),
    Events {
        watch_id: i64,
        revision: Arc<RevisionEvents>,
        positions: Positions,
    },
    /// Nothing at or below this revision is still to come, for one watcher or (-1) for all of the stream.
    Progress { watch_id: i64, revision: i64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// In the hub's matcher; revisions below `from` do not concern it.
    Synced { from: i64 },
    /// Behind: has seen everything below `from`, and reads on from there.
    Lagging { from: i64 },
}

/// Which events a watcher wants.
#[derive(Clone)]
pub struct Interest {
    pub range: KeyRange,
    pub no_put: bool,
    pub no_delete: bool,
}

pub struct Watcher {
    pub interest: Interest,
    pub prev_kv: bool,
    pub fragment: bool,
    pub progress_notify: bool,
    /// No event was sent since the last tick.
    pub quiet: bool,
    pub sync: Sync,
}

impl Interest {
    /// Whether it passes the filters.
    pub fn wants(&self, delete: bool) -> bool {
        !(if delete { self.no_delete } else { self.no_put })
    }
}

#[derive(Default)]
pub struct Queue {
    items: VecDeque<Item>,
    batches: usize,
    bytes: usize,
    pub watchers: BTreeMap<i64, Watcher>,
    pub next_id: i64,
}

fn batch_bytes(revision: &RevisionEvents, positions: &Positions) -> usize {
    positions
        .iter()
        .filter_map(|at| revision.events.get(*at as usize))
        .map(|e| e.bytes())
        .sum()
}

impl Queue {
    pub fn push(&mut self, item: Item) {
        self.items.push_back(item);
    }

    /// False: there is no room, and nothing was queued. A single batch always has room in an empty queue.
    pub fn push_events(&mut self, watch_id: i64, revision: &Arc<RevisionEvents>, positions: Positions) -> bool {
        let bytes = batch_bytes(revision, &positions);
        let full = self.batches >= QUEUE_BATCHES_MAX || self.bytes + bytes > QUEUE_BYTES_MAX;
        if full && self.batches > 0 {
            return false;
        }
        self.batches += 1;
        self.bytes += bytes;
        self.items.push_back(Item::Events {
            watch_id,
            revision: revision.clone(),
            positions,
        });
        true
    }

    pub fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.account_for_removal(&item);
        Some(item)
    }

    fn account_for_removal(&mut self, item: &Item) {
        if let Item::Events {
            revision, positions, ..
        } = item
        {
            self.batches -= 1;
            self.bytes -= batch_bytes(revision, positions);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Forgets what waits for a watcher that was cancelled.
    pub fn purge(&mut self, id: i64) {
        let items = std::mem::take(&mut self.items);
        for item in items {
            let its = match &item {
                Item::Events { watch_id, .. } | Item::Progress { watch_id, .. } => *watch_id == id,
                Item::Control(_) => false,
            };
            if its {
                self.account_for_removal(&item);
            } else {
                self.items.push_back(item);
            }
        }
    }

    /// Whether each watcher has had everything up to `revision`, and there is one.
    pub fn all_synced(&self, revision: i64) -> bool {
        let synced = |w: &Watcher| matches!(w.sync, Sync::Synced { from } if from <= revision + 1);
        !self.watchers.is_empty() && self.watchers.values().all(synced)
    }

    /// The first watcher above `after`, going round, that is behind.
    pub fn next_lagging(&self, after: i64) -> Option<i64> {
        let lagging = |(id, w): (&i64, &Watcher)| matches!(w.sync, Sync::Lagging { .. }).then_some(*id);
        let later = self.watchers.range(after.saturating_add(1)..).find_map(lagging);
        later.or_else(|| self.watchers.iter().find_map(lagging))
    }
}

/// One stream, as the hub and the stream's task share it.
#[derive(Default)]
pub struct Shared {
    pub queue: Mutex<Queue>,
    /// Rung when something was queued.
    pub wake: Notify,
}
