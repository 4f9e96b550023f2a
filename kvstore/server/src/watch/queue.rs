//! What waits to be sent on one stream, and the watchers of that stream. Apply and the hub never wait for it.

use super::watchers::Watchers;
use keelson_mvcc::RevisionEvents;
use keelson_proto::etcdserverpb as pb;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::collections::VecDeque;
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

#[derive(Default)]
pub struct Queue {
    items: VecDeque<Item>,
    batches: usize,
    bytes: usize,
    pub watchers: Watchers,
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

    pub fn push_progress(&mut self, watch_id: i64, revision: i64) {
        let item = Item::Progress { watch_id, revision };
        if seeded!(EarlyProgressNotify) {
            self.items.push_front(item);
        } else {
            self.items.push_back(item);
        }
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

    pub fn events_waiting(&self) -> usize {
        let events = |item: &Item| match item {
            Item::Events { positions, .. } => positions.len(),
            Item::Control(_) | Item::Progress { .. } => 0,
        };
        self.items.iter().map(events).sum()
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
}

/// One stream, as the hub and the stream's task share it.
#[derive(Default)]
pub struct Shared {
    pub queue: Mutex<Queue>,
    /// Rung when something was queued.
    pub wake: Notify,
}
