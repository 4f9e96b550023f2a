//! What apply tells watchers: the changes of each revision, kept in a bounded ring.

use crate::revision::Version;
use crate::state_machine::StorageError;
use crate::store::Store;
use keelson_proto::mvccpb::{self, KeyValue};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

/// Bytes of events the ring holds; a watcher further behind reads from `data`.
const RING_BYTES_MAX: usize = 4 << 20;
/// Revisions the ring holds.
const RING_REVISIONS_MAX: usize = 8192;
/// What an event costs beside its key and value, bytes, about.
const EVENT_OVERHEAD_BYTES: usize = 160;

/// One change of one key.
#[derive(Debug)]
pub struct Event {
    pub delete: bool,
    /// A deletion carries only the key and the revision.
    pub kv: KeyValue,
    /// The version that this change superseded, from before its revision; none for a creation.
    pub previous: Option<Version>,
    previous_kv: OnceLock<Option<KeyValue>>,
}

impl Event {
    pub fn new(delete: bool, kv: KeyValue, previous: Option<Version>) -> Self {
        // A key that is created has none, though its revision may have deleted another life of it.
        let created = !delete && kv.create_revision == kv.mod_revision;
        Event {
            delete,
            kv,
            previous: previous.filter(|_| !created),
            previous_kv: OnceLock::new(),
        }
    }

    /// The previous value: read once, then shared by all watchers; `None` for a creation, or when compacted.
    pub fn previous_kv(&self, store: &Store) -> Result<Option<KeyValue>, StorageError> {
        let Some(previous) = self.previous else { return Ok(None) };
        if let Some(kv) = self.previous_kv.get() {
            return Ok(kv.clone());
        }
        let kv = if self.kv.mod_revision <= store.compacted() {
            None
        } else {
            store.record(previous)?
        };
        Ok(self.previous_kv.get_or_init(|| kv).clone())
    }

    /// As the wire has it, without the previous value.
    pub fn to_proto(&self) -> mvccpb::Event {
        let kind = if self.delete {
            mvccpb::event::EventType::Delete
        } else {
            mvccpb::event::EventType::Put
        };
        mvccpb::Event {
            r#type: kind as i32,
            kv: Some(self.kv.clone()),
            prev_kv: None,
        }
    }

    pub fn bytes(&self) -> usize {
        self.kv.key.len() + self.kv.value.len() + EVENT_OVERHEAD_BYTES
    }
}

/// All changes of one revision, in their order.
#[derive(Debug)]
pub struct RevisionEvents {
    pub revision: i64,
    pub events: Vec<Event>,
}

impl RevisionEvents {
    pub fn bytes(&self) -> usize {
        self.events.iter().map(Event::bytes).sum()
    }
}

/// The newest revisions' events, and a bell that rings when there are more.
pub struct Ring {
    inner: Mutex<RingInner>,
    bell: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

struct RingInner {
    entries: VecDeque<Arc<RevisionEvents>>,
    bytes: usize,
    /// The newest revision; the store's own.
    newest: i64,
    /// Every event above this revision is in `entries`.
    complete_above: i64,
}

impl Ring {
    pub fn new(revision: i64) -> Self {
        let inner = RingInner {
            entries: VecDeque::new(),
            bytes: 0,
            newest: revision,
            complete_above: revision,
        };
        Ring {
            inner: Mutex::new(inner),
            bell: OnceLock::new(),
        }
    }

    /// Called, from apply, after each publication; it has to be quick. Only the first one set counts.
    pub fn on_publish(&self, bell: impl Fn() + Send + Sync + 'static) {
        let _ = self.bell.set(Box::new(bell));
    }

    pub fn publish(&self, batch: impl Iterator<Item = RevisionEvents>) {
        let mut inner = self.inner.lock();
        let before = inner.newest;
        for entry in batch {
            debug_assert!(entry.revision > inner.newest);
            inner.newest = entry.revision;
            inner.bytes += entry.bytes();
            inner.entries.push_back(Arc::new(entry));
            while inner.entries.len() > RING_REVISIONS_MAX || inner.bytes > RING_BYTES_MAX {
                let Some(oldest) = inner.entries.pop_front() else { break };
                inner.bytes -= oldest.bytes();
                inner.complete_above = oldest.revision;
            }
        }
        let moved = inner.newest != before;
        drop(inner);
        if moved && let Some(bell) = self.bell.get() {
            bell();
        }
    }

    /// Another state is there, of a later revision: what lies between is not here, and whoever wants it has to read
    /// it from the store.
    pub fn reset(&self, revision: i64) {
        let mut inner = self.inner.lock();
        inner.entries.clear();
        inner.bytes = 0;
        inner.newest = revision;
        inner.complete_above = revision;
        drop(inner);
        if let Some(bell) = self.bell.get() {
            bell();
        }
    }

    pub fn newest(&self) -> i64 {
        self.inner.lock().newest
    }

    /// The events above a revision, at most `max` revisions; `None` when the ring no longer has all of them.
    pub fn since(&self, revision: i64, max: usize) -> Option<Vec<Arc<RevisionEvents>>> {
        let inner = self.inner.lock();
        if revision < inner.complete_above {
            return None;
        }
        let from = inner.entries.partition_point(|e| e.revision <= revision);
        Some(inner.entries.range(from..).take(max).cloned().collect())
    }
}
