//! Events from an old revision on, for watchers that are behind: from the ring where it reaches, else from `data`.

use crate::db::Db;
use crate::error::Error;
use crate::events::{Event, RevisionEvents};
use crate::keyrange::KeyRange;
use crate::read::ReadError;
use crate::revision::{Rev, Version};
use crate::state_machine::StorageError;
use crate::store::{Store, decode_record};
use bytes::Bytes;
use std::sync::Arc;

/// Revisions taken from the ring at once.
const RING_SLICE_REVISIONS_MAX: usize = 512;
/// Records looked at in `data` at once, matching or not; the revision under way is finished.
const DATA_SLICE_RECORDS_MAX: usize = 512;
/// Bytes of matching events after which a slice ends; the revision under way is finished.
const SLICE_BYTES_MAX: usize = 256 << 10;

/// What one slice of catching up gave.
pub struct Caught {
    /// Revisions with events in the range, ascending; events outside of it may be among them.
    pub revisions: Vec<Arc<RevisionEvents>>,
    /// Everything below this revision has now been seen.
    pub next: i64,
    /// The store's revision.
    pub current: i64,
}

impl Store {
    /// Events of `range` from revision `from` on, up to a bound. `Compacted` when they are gone.
    pub fn catch_up(&self, range: &KeyRange, from: i64) -> Result<Caught, ReadError> {
        loop {
            if let Some(caught) = self.catch_up_once(range, from)? {
                return Ok(caught);
            }
        }
    }

    /// `None`: another state was installed meanwhile, and what was read is of neither.
    fn catch_up_once(&self, range: &KeyRange, from: i64) -> Result<Option<Caught>, ReadError> {
        // Pinned under the lock, so that what is checked to be there stays while it is read.
        let state = self.state.read();
        let from = if seeded!(EventLostOnCompaction) {
            from.max(state.compacted)
        } else {
            from
        };
        if from < state.compacted {
            return Err(Error::Compacted.into());
        }
        let current = state.revision;
        if from > current {
            return Ok(Some(Caught {
                revisions: Vec::new(),
                next: from,
                current,
            }));
        }
        if let Some(revisions) = self.ring.since(from - 1, RING_SLICE_REVISIONS_MAX) {
            let next = revisions.last().map_or(current, |r| r.revision) + 1;
            return Ok(Some(Caught {
                revisions,
                next,
                current,
            }));
        }
        let pin = self.pin(from);
        let (db, generation) = (self.db.load_full(), state.generation);
        drop(state);
        let caught = self.catch_up_from_data(&db, range, from, current);
        drop(pin);
        if self.state.read().generation != generation {
            return Ok(None);
        }
        Ok(Some(caught?))
    }

    fn catch_up_from_data(&self, db: &Db, range: &KeyRange, from: i64, current: i64) -> Result<Caught, StorageError> {
        let mut revisions: Vec<RevisionEvents> = Vec::new();
        let (mut records, mut bytes, mut last) = (0, 0, from - 1);
        let mut next = current + 1;
        db.scan_data(Rev::new(from, 0), |version, record| {
            let main = version.rev.main;
            if main > current {
                return Ok(false);
            }
            if main > last {
                if records >= DATA_SLICE_RECORDS_MAX || bytes >= SLICE_BYTES_MAX {
                    next = main;
                    return Ok(false);
                }
                last = main;
            }
            records += 1;
            let kv = decode_record(Bytes::copy_from_slice(record))?;
            if range.contains(&kv.key) {
                bytes += record.len();
                let previous = self.version_before(&kv.key, main);
                let event = Event::new(version.tombstone, kv, previous);
                match revisions.last_mut() {
                    Some(entry) if entry.revision == main => entry.events.push(event),
                    _ => revisions.push(RevisionEvents {
                        revision: main,
                        events: vec![event],
                    }),
                }
            }
            Ok(true)
        })?;
        Ok(Caught {
            revisions: revisions.into_iter().map(Arc::new).collect(),
            next,
            current,
        })
    }

    /// The version of a key before a revision, if it existed then.
    fn version_before(&self, key: &[u8], main: i64) -> Option<Version> {
        self.state.read().index.get(key)?.at(main - 1).filter(|v| !v.tombstone)
    }

    /// Called under the lock of the state, at a revision that is not compacted.
    pub(crate) fn pin(&self, revision: i64) -> Pin<'_> {
        self.pins.add(revision);
        Pin { store: self, revision }
    }
}

/// Keeps what reads at a revision see, while it lives.
pub(crate) struct Pin<'a> {
    store: &'a Store,
    revision: i64,
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.store.pins.remove(self.revision);
    }
}
