//! Versions in order of revision, a slice at a time, without those that a compaction has hidden: for whoever copies
//! or hashes the store while it goes on.
//!
//! Which versions count is asked of the index, under the lock, for a slice at once. It has to stay right until the
//! walk is over: whoever walks pins the revision at which it asks, or is the trimmer itself.

use crate::db::Db;
use crate::revision::{Rev, Version};
use crate::state_machine::StorageError;
use crate::store::{State, Store, decode_record};
use bytes::Bytes;
use keelson_proto::mvccpb::KeyValue;
use prost::Message;
use std::sync::Arc;

/// Records read at once, counted or not.
const SLICE_RECORDS_MAX: usize = 256;
/// Versions looked up while the state is locked once: apply waits for that lock.
const LOOK_UP_MAX: usize = 64;
/// Bytes of records after which a slice ends.
const SLICE_BYTES_MAX: usize = 128 << 10;

/// Which versions count.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Nothing above this revision.
    pub upto: i64,
    /// Everything above this one; at or below it, only what is seen at `at`.
    pub compacted: i64,
    pub at: i64,
    /// A deletion exactly at `compacted` counts, if it is what is seen there.
    pub tombstones: bool,
}

impl Rule {
    fn counts(&self, state: &State, version: Version, record: &Bytes) -> Result<bool, StorageError> {
        if version.rev.main > self.compacted {
            return Ok(true);
        }
        if version.tombstone && !(self.tombstones && version.rev.main == self.compacted) {
            return Ok(false);
        }
        let key = key_of(record)?;
        Ok(state.index.get(&key).and_then(|entry| entry.at(self.at)) == Some(version))
    }
}

/// A walk under way.
pub struct History {
    db: Arc<Db>,
    generation: u64,
    rule: Rule,
    from: Option<Rev>,
}

/// What a step of a walk gave.
pub enum Step {
    /// Versions that count, perhaps none, and their records as etcd stores them.
    Some(Vec<(Version, Bytes)>),
    Done,
    /// Another state was installed: what was read so far is worth nothing.
    Replaced,
}

impl History {
    /// Called under the lock of the state.
    pub fn new(store: &Store, state: &State, rule: Rule) -> History {
        History {
            db: store.db.load_full(),
            generation: state.generation,
            rule,
            from: Some(Rev::default()),
        }
    }

    /// Changes the revision at which is asked what is seen.
    pub fn see_at(&mut self, revision: i64) {
        self.rule.at = revision;
    }

    pub fn step(&mut self, store: &Store) -> Result<Step, StorageError> {
        let Some(from) = self.from.take() else {
            return Ok(Step::Done);
        };
        let (mut slice, mut bytes) = (Vec::new(), 0);
        let upto = self.rule.upto;
        let mut next = None;
        self.db.scan_data(from, |version, record| {
            if version.rev.main > upto {
                return Ok(false);
            }
            if slice.len() >= SLICE_RECORDS_MAX || bytes >= SLICE_BYTES_MAX {
                next = Some(version.rev);
                return Ok(false);
            }
            bytes += record.len();
            slice.push((version, Bytes::copy_from_slice(record)));
            Ok(true)
        })?;
        self.from = next;
        let mut counted = Vec::with_capacity(slice.len());
        let mut slice = slice.into_iter().peekable();
        while slice.peek().is_some() {
            let state = store.state.read();
            if state.generation != self.generation {
                return Ok(Step::Replaced);
            }
            for (version, record) in slice.by_ref().take(LOOK_UP_MAX) {
                if self.rule.counts(&state, version, &record)? {
                    counted.push((version, record));
                }
            }
        }
        if store.state.read().generation != self.generation {
            return Ok(Step::Replaced);
        }
        for (version, record) in &mut counted {
            if version.tombstone {
                *record = bare_tombstone(record)?;
            }
        }
        Ok(Step::Some(counted))
    }
}

/// The key is the first field, if there is one; records are not decoded for it.
fn key_of(record: &Bytes) -> Result<Bytes, StorageError> {
    const KEY_TAG: u8 = 0x0a;
    let Some((&KEY_TAG, mut rest)) = record.split_first() else {
        return Ok(decode_record(record.clone())?.key);
    };
    let damaged = || StorageError("a record of `data` is damaged: its key".to_owned());
    let len = prost::encoding::decode_varint(&mut rest).map_err(|_| damaged())?;
    let key = usize::try_from(len)
        .ok()
        .and_then(|len| rest.get(..len))
        .ok_or_else(damaged)?;
    Ok(record.slice_ref(key))
}

/// etcd stores of a deletion nothing but the key; we store the revision too.
fn bare_tombstone(record: &Bytes) -> Result<Bytes, StorageError> {
    let bare = KeyValue {
        key: key_of(record)?,
        ..KeyValue::default()
    };
    Ok(bare.encode_to_vec().into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_are_found_without_decoding() {
        for key in [b"".as_slice(), b"k", &[7; 300]] {
            let kv = KeyValue {
                key: Bytes::copy_from_slice(key),
                mod_revision: 4,
                ..KeyValue::default()
            };
            assert_eq!(key_of(&kv.encode_to_vec().into()).unwrap(), key);
        }
        for bad in [
            b"\x0a".as_slice(),
            b"\x0a\x05abc",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert!(key_of(&Bytes::copy_from_slice(bad)).is_err());
        }
    }
}
