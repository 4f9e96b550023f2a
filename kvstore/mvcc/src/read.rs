//! Reads from outside apply: they lock the state for a slice at a time, and pin the revision they are at.

use crate::db::Db;
use crate::error::Error;
use crate::index::{KeyIndex, Weight};
use crate::keyrange::KeyRange;
use crate::range::{self, Found};
use crate::revision::Version;
use crate::state_machine::StorageError;
use crate::store::{State, Store, decode_record};
use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb::KeyValue;
use std::sync::Arc;

/// Keys looked up while the state is locked once, and records read at once.
pub const SLICE_KEYS_MAX: usize = 1024;

/// A read in progress at one revision. While it lives, no compaction takes what it has yet to see.
pub struct Cursor {
    pub(crate) store: Arc<Store>,
    pub(crate) range: KeyRange,
    pub(crate) at: i64,
    /// Of the state that the read began in.
    generation: u64,
    keys_only: bool,
    /// `None` when all is read.
    pub(crate) from: Option<Bytes>,
    /// What the records of the whole range take in an answer.
    pub(crate) bytes: u64,
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
    /// Looks into the index as it is now, which still knows what there is at the revision read.
    pub(crate) fn look<T>(&self, find: impl FnOnce(&KeyIndex) -> T) -> Result<(Arc<Db>, T), Error> {
        let state = self.store.state.read();
        if state.generation != self.generation && self.at < state.compacted {
            return Err(Error::Compacted);
        }
        let found = find(&state.index);
        Ok((self.store.db.load_full(), found))
    }

    /// Whether everything has been read.
    pub fn is_done(&self) -> bool {
        self.from.is_none()
    }

    /// The revision read at.
    pub fn at(&self) -> i64 {
        self.at
    }

    /// Up to `max` further results, ascending. If another state was installed since, it reads on in that one, which
    /// gives the same answers at the same revision, unless that is compacted there.
    pub fn next(&mut self, max: usize) -> Result<Vec<KeyValue>, ReadError> {
        let Some(from) = self.from.take() else {
            return Ok(Vec::new());
        };
        let max = max.min(SLICE_KEYS_MAX);
        let (db, slice) = self.look(|index| range::find(index, &self.range, &from, self.at, self.keys_only, max))?;
        self.from = slice.next;
        let versions: Vec<Version> = slice
            .found
            .iter()
            .filter_map(|f| match f {
                Found::Record(version) => Some(*version),
                Found::Key(_) => None,
            })
            .collect();
        let mut records = db.data_many(&versions)?.into_iter();
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
        let weight = self.weight(&state, &range, at);
        self.pins.add(at);
        self.counters.count_range();
        Ok(Cursor {
            from: (!request.count_only && !range.is_empty()).then(Bytes::new),
            store: self.clone(),
            at,
            generation: state.generation,
            keys_only: range::is_keys_from_index(request),
            revision: state.revision,
            count: weight.keys as i64,
            bytes: weight.bytes,
            range,
        })
    }

    /// Keys of a range at a revision, and what they take in an answer.
    fn weight(&self, state: &State, range: &KeyRange, at: i64) -> Weight {
        if at < state.revision && !range.is_empty() {
            let now = state.index.weight(range);
            // Only as long as it is less than looking at every key.
            let changes_max = usize::try_from(now.keys).unwrap_or(usize::MAX).max(SLICE_KEYS_MAX);
            let changes = self.ring.since(at, changes_max.saturating_add(1));
            if let Some(changes) = changes.filter(|c| c.len() <= changes_max) {
                return range::weight_before(&state.index, range, at, now, &changes);
            }
        }
        range::weight(&state.index, range, at, state.revision)
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

    /// A transaction with its guards judged on the state as it is here and now: the branch that it takes, without
    /// guards, and whether they held. For a seeded bug: what is proposed so may be applied to another state.
    #[cfg(feature = "seeded-bugs")]
    pub fn decided(self: &Arc<Self>, request: &pb::TxnRequest) -> Result<(pb::TxnRequest, bool), ReadError> {
        let state = self.state.read();
        crate::txn::decided(&self.db.load(), &state, request)
    }

    /// A transaction that only reads, at the current revision.
    pub fn txn_read(self: &Arc<Self>, request: &pb::TxnRequest) -> Result<pb::TxnResponse, ReadError> {
        // Under the read lock nothing is applied and nothing trimmed: the transaction sees one state.
        let state = self.state.read();
        self.counters.count_read_txn();
        crate::txn::run_readonly(&self.db.load(), &state, request)
    }
}
