//! Executes changes: one batch of log entries, written to RocksDB in one piece.

use crate::auth::AuthChange;
use crate::db::{Batch, Db, KeyMeta};
use crate::events::{Event, RevisionEvents};
use crate::index::NewVersion;
use crate::keyrange::{End, KeyRange};
use crate::leases::LeaseChange;
use crate::revision::{Rev, Version};
use crate::state_machine::StorageError;
use crate::store::State;
use crate::view::View;
use bytes::Bytes;
use keelson_proto::mvccpb::KeyValue;
use prost::Message;
use std::ops::ControlFlow;

pub struct Writer<'a> {
    pub db: &'a Db,
    pub state: &'a mut State,
    pub batch: Batch<'a>,
    /// Records of `batch`, for reads by later commands of it.
    pending: Vec<(Rev, Bytes)>,
    /// Finished revisions of the batch.
    finished: Vec<RevisionEvents>,
    /// Changes of the command under way.
    changes: Vec<Event>,
    /// For whoever keeps the leases' time.
    pub lease_changes: Vec<LeaseChange>,
    /// For whoever keeps tokens.
    pub auth_changes: Vec<AuthChange>,
}

impl<'a> Writer<'a> {
    pub fn new(db: &'a Db, state: &'a mut State) -> Result<Self, StorageError> {
        let batch = db.batch()?;
        Ok(Writer {
            db,
            state,
            batch,
            pending: Vec::new(),
            finished: Vec::new(),
            changes: Vec::new(),
            lease_changes: Vec::new(),
            auth_changes: Vec::new(),
        })
    }

    /// The current revision, as the command under way sees it.
    pub fn revision(&self) -> i64 {
        self.state.revision + i64::from(!self.changes.is_empty())
    }

    pub fn view(&self) -> View<'_> {
        View {
            db: self.db,
            state: self.state,
            pending: &self.pending,
            revision: self.revision(),
        }
    }

    fn next_rev(&self) -> Rev {
        // A command has at most a few hundred thousand changes: the request size bounds it, and a range deletion
        // cannot delete more keys than memory holds.
        Rev {
            main: self.state.revision + 1,
            sub: u32::try_from(self.changes.len()).unwrap_or(u32::MAX),
        }
    }

    /// The version a watcher reports as the previous one: the last from before this revision.
    fn before(&self, key: &[u8], main: i64) -> Option<Version> {
        self.state.index.get(key)?.at(main - 1).filter(|v| !v.tombstone)
    }

    pub fn put(&mut self, key: Bytes, value: Bytes, lease: i64) {
        let rev = self.next_rev();
        // Nothing of this revision is in the index before its first change: what that finds is from before it.
        let earlier = (rev.sub > 0).then(|| self.before(&key, rev.main));
        let new = NewVersion {
            rev,
            value_bytes: value.len(),
            lease,
        };
        let changed = self.state.index.put(&key, new);
        let previous = earlier.unwrap_or(changed.previous);
        let kv = KeyValue {
            key,
            create_revision: changed.create,
            mod_revision: rev.main,
            version: changed.version,
            value,
            lease,
        };
        self.state.leases.attach(&kv.key, lease);
        self.record(Version { rev, tombstone: false }, kv, previous);
    }

    /// True: there was such a key.
    fn delete(&mut self, key: Bytes) -> bool {
        let rev = self.next_rev();
        let previous = self.before(&key, rev.main);
        if self.state.index.tombstone(&key, rev).is_none() {
            return false;
        }
        self.state.leases.detach(&key);
        let kv = KeyValue {
            key,
            mod_revision: rev.main,
            ..KeyValue::default()
        };
        self.record(Version { rev, tombstone: true }, kv, previous);
        true
    }

    /// Number of keys deleted.
    pub fn delete_range(&mut self, range: &KeyRange) -> i64 {
        if range.is_empty() {
            return 0;
        }
        if range.end == End::Single {
            return i64::from(self.delete(range.start.clone()));
        }
        let mut keys = Vec::new();
        self.state.index.walk(range, b"", |key, entry| {
            if entry.is_live() {
                keys.push(Bytes::copy_from_slice(key));
            }
            ControlFlow::Continue(())
        });
        keys.into_iter().map(|key| i64::from(self.delete(key))).sum()
    }

    fn record(&mut self, version: Version, kv: KeyValue, previous: Option<Version>) {
        let record = Bytes::from(kv.encode_to_vec());
        let meta = KeyMeta {
            create: kv.create_revision,
            version: kv.version,
            lease: kv.lease,
            // A request is far smaller.
            bytes: u32::try_from(record.len()).unwrap_or(u32::MAX),
        };
        self.batch.add(&kv.key, version, &record, &meta);
        self.pending.push((version.rev, record));
        self.changes.push(Event::new(version.tombstone, kv, previous));
    }

    /// Ends a command: if it changed something, that is a new revision.
    pub fn finish_command(&mut self) {
        if self.changes.is_empty() {
            return;
        }
        self.state.revision += 1;
        let events = std::mem::take(&mut self.changes);
        self.finished.push(RevisionEvents {
            revision: self.state.revision,
            events,
        });
    }

    /// Size of what waits to be written, bytes.
    pub fn bytes(&self) -> usize {
        self.batch.bytes()
    }

    pub fn into_parts(self) -> (Batch<'a>, &'a mut State, Vec<RevisionEvents>, Vec<LeaseChange>) {
        (self.batch, self.state, self.finished, self.lease_changes)
    }
}
