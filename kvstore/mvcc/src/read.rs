//! Reads from outside apply: they lock the state for a slice at a time, and pin the revision they are at.

use crate::error::Error;
use crate::keyrange::KeyRange;
use crate::range::{self, Found};
use crate::revision::Version;
use crate::state_machine::StorageError;
use crate::store::{Store, decode_record};
use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb::KeyValue;
use std::sync::Arc;

/// Keys looked up while the state is locked once, and records read at once.
pub const SLICE_KEYS_MAX: usize = 1024;

/// A read in progress at one revision. While it lives, no compaction takes what it has yet to see.
pub struct Cursor {
    store: Arc<Store>,
    range: KeyRange,
    at: i64,
    keys_only: bool,
    /// `None` when all is read.
    from: Option<Bytes>,
    /// The store's revision when the read began.
    pub revision: i64,
    /// Keys in the whole range at the revision read.
    pub count: i64,
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.store.pins.remove(self.at);
    }
}

impl Cursor {
    /// Whether everything has been read.
    pub fn is_done(&self) -> bool {
        self.from.is_none()
    }

    /// The revision read at.
    pub fn at(&self) -> i64 {
        self.at
    }

    /// Up to `max` further results, ascending.
    pub fn next(&mut self, max: usize) -> Result<Vec<KeyValue>, StorageError> {
        let Some(from) = self.from.take() else {
            return Ok(Vec::new());
        };
        let max = max.min(SLICE_KEYS_MAX);
        let slice = {
            let state = self.store.state.read();
            range::find(&state.index, &self.range, &from, self.at, self.keys_only, max)
        };
        self.from = slice.next;
        let versions: Vec<Version> = slice
            .found
            .iter()
            .filter_map(|f| match f {
                Found::Record(version) => Some(*version),
                Found::Key(_) => None,
            })
            .collect();
        let mut records = self.store.db.data_many(&versions)?.into_iter();
        slice
            .found
            .into_iter()
            .map(|found| match found {
                Found::Key(kv) => Ok(kv),
                Found::Record(version) => {
                    let record = records.next().flatten().ok_or_else(|| missing(version))?;
                    let mut kv = decode_record(record)?;
                    if self.keys_only {
                        kv.value = Bytes::new();
                        kv.lease = 0;
                    }
                    Ok(kv)
                }
            })
            .collect()
    }
}

pub(crate) fn missing(version: Version) -> StorageError {
    StorageError(format!(
        "the record of revision {}.{} is missing",
        version.rev.main, version.rev.sub
    ))
}

/// Refused, or failed: [`Store::range`] and its kin.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Refused(#[from] Error),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Store {
    /// Begins a read of the range that the request names, at the revision that it names.
    pub fn cursor(self: &Arc<Self>, request: &pb::RangeRequest) -> Result<Cursor, Error> {
        let range = range::range_of(request);
        let state = self.state.read();
        let at = range::resolve_revision(request.revision, state.revision, state.compacted)?;
        let count = range::count(&state.index, &range, at, state.revision);
        self.pins.add(at);
        Ok(Cursor {
            from: (!request.count_only && !range.is_empty()).then(Bytes::new),
            store: self.clone(),
            at,
            keys_only: range::is_keys_from_index(request),
            revision: state.revision,
            count,
            range,
        })
    }

    /// A whole read at once. For large ranges, take a [`Cursor`] and give way between its slices.
    pub fn range(self: &Arc<Self>, request: &pb::RangeRequest) -> Result<pb::RangeResponse, ReadError> {
        let mut cursor = self.cursor(request)?;
        let mut left = range::keys_to_read(request);
        let mut kvs = Vec::new();
        while !cursor.is_done() && left > 0 {
            let slice = cursor.next(left)?;
            left -= slice.len();
            kvs.extend(slice);
        }
        Ok(range::assemble(request, kvs, cursor.count, cursor.revision))
    }

    /// A transaction that only reads, at the current revision.
    pub fn txn_read(self: &Arc<Self>, request: &pb::TxnRequest) -> Result<pb::TxnResponse, ReadError> {
        // Under the read lock nothing is applied and nothing trimmed: the transaction sees one state.
        let state = self.state.read();
        crate::txn::run_readonly(&self.db, &state, request)
    }
}
