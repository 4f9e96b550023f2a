//! The state as one command sees it: what is stored, and what the batch under way has written so far.

use crate::db::Db;
use crate::error::Error;
use crate::keyrange::KeyRange;
use crate::range::{self, Found};
use crate::read::{ReadError, missing};
use crate::revision::{Rev, Version};
use crate::state_machine::StorageError;
use crate::store::{State, decode_record};
use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb::KeyValue;

/// Records of a batch that is not written yet, ascending.
pub type Pending = [(Rev, Bytes)];

#[derive(Clone, Copy)]
pub struct View<'a> {
    pub db: &'a Db,
    pub state: &'a State,
    pub pending: &'a Pending,
    /// What reads see as the current revision: one more than the store's after a write of the same transaction.
    pub revision: i64,
}

impl View<'_> {
    pub fn record(&self, version: Version) -> Result<KeyValue, StorageError> {
        let record = match self.pending.binary_search_by_key(&version.rev, |(rev, _)| *rev) {
            Ok(at) => self.pending.get(at).map(|(_, record)| record.clone()),
            Err(_) => self.db.data(version)?,
        };
        decode_record(record.ok_or_else(|| missing(version))?)
    }

    fn load(&self, found: Vec<Found>, keys_only: bool) -> Result<Vec<KeyValue>, StorageError> {
        found
            .into_iter()
            .map(|found| match found {
                Found::Key(kv) => Ok(kv),
                Found::Record(version) => {
                    let mut kv = self.record(version)?;
                    if keys_only {
                        kv.value = Bytes::new();
                        kv.lease = 0;
                    }
                    Ok(kv)
                }
            })
            .collect()
    }

    /// The keys of a range as they are now.
    pub fn current(&self, range: &KeyRange, keys_only: bool) -> Result<Vec<KeyValue>, StorageError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let slice = range::find(&self.state.index, range, b"", self.revision, keys_only, usize::MAX);
        self.load(slice.found, keys_only)
    }

    /// One key as it is now.
    pub fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, StorageError> {
        match self.state.index.get(key) {
            Some(entry) if entry.is_live() => self.record(entry.latest()).map(Some),
            _ => Ok(None),
        }
    }

    pub fn range(&self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, ReadError> {
        let at = range::resolve_revision(request.revision, self.revision, self.state.compacted)?;
        let range = range::range_of(request);
        let count = range::count(&self.state.index, &range, at, self.revision);
        let mut kvs = Vec::new();
        if !request.count_only && !range.is_empty() {
            let keys_only = range::is_keys_from_index(request);
            let max = range::keys_to_read(request);
            kvs = self.load(
                range::find(&self.state.index, &range, b"", at, keys_only, max).found,
                keys_only,
            )?;
        }
        Ok(range::assemble(request, kvs, count, self.revision))
    }

    /// A range inside a transaction is checked before anything is applied; here negative revisions count as they are.
    pub fn check_range(&self, request: &pb::RangeRequest) -> Result<(), Error> {
        match request.revision {
            0 => Ok(()),
            asked if asked > self.revision => Err(Error::FutureRevision),
            asked if asked < self.state.compacted => Err(Error::Compacted),
            _ => Ok(()),
        }
    }
}
