//! The store: what is in memory, how it is opened, and the reads that need no request.

use crate::db::{CF_KEY, CF_META, Db, KeyMeta, split_version_key};
use crate::events::Ring;
use crate::index::KeyIndex;
use crate::leases::{LeaseChange, Leases};
use crate::meta;
use crate::pins::Pins;
use crate::revision::Version;
use crate::state_machine::{AppliedState, StorageError};
use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb::KeyValue;
use parking_lot::{Mutex, RwLock};
use prost::Message;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

/// Revision of an empty store.
pub const FIRST_REVISION: i64 = 1;
/// Block cache when nothing else is said, bytes.
pub const CACHE_BYTES_DEFAULT: usize = 8 << 20;

#[derive(Clone, Debug)]
pub struct Options {
    pub path: PathBuf,
    /// RocksDB's block cache, bytes.
    pub cache_bytes: usize,
}

/// What apply changes and reads look at; guarded by one lock.
pub struct State {
    pub index: KeyIndex,
    pub leases: Leases,
    pub revision: i64,
    /// -1 before the first compaction.
    pub compacted: i64,
    pub applied: AppliedState,
    /// Raised alarms: member and kind.
    pub alarms: BTreeSet<(u64, i32)>,
}

impl State {
    pub fn alarm(&self, kind: pb::AlarmType) -> bool {
        self.alarms.iter().any(|(_, k)| *k == kind as i32)
    }
}

pub struct Store {
    pub(crate) db: Db,
    pub(crate) state: RwLock<State>,
    pub(crate) ring: Ring,
    pub(crate) pins: Pins,
    /// The compaction whose physical part is done; -1 before the first.
    pub(crate) trimmed: AtomicI64,
    /// One trimmer at a time.
    pub(crate) trimming: Mutex<crate::compact::Progress>,
    pub(crate) lease_observer: OnceLock<Box<dyn Fn(LeaseChange) + Send + Sync>>,
    revision: AtomicI64,
    compacted: AtomicI64,
}

impl Store {
    /// Opens or creates a store and loads its index.
    pub fn open(options: &Options) -> Result<Arc<Store>, StorageError> {
        let db = Db::open(&options.path, options.cache_bytes)?;
        let mut state = State {
            index: KeyIndex::default(),
            leases: Leases::default(),
            revision: FIRST_REVISION,
            compacted: -1,
            applied: AppliedState::default(),
            alarms: BTreeSet::new(),
        };
        let mut trimmed = -1;
        db.scan_all(CF_META, |key, value| {
            let known = match key {
                meta::APPLIED => meta::decode_applied(value).map(|a| state.applied = a),
                meta::REVISION => meta::decode_i64(value).map(|v| state.revision = v),
                meta::COMPACTED => meta::decode_i64(value).map(|v| state.compacted = v),
                meta::TRIMMED => meta::decode_i64(value).map(|v| trimmed = v),
                _ => match meta::decode_alarm_key(key) {
                    Some(alarm) => {
                        state.alarms.insert(alarm);
                        Some(())
                    }
                    None => state.leases.load(key, value).then_some(()),
                },
            };
            known.ok_or_else(|| StorageError(format!("a row of `meta` is damaged: {}", key.escape_ascii())))
        })?;
        let mut attached = Vec::new();
        db.scan_all(CF_KEY, |row, value| {
            let (key, version, row_meta) = split_version_key(row)
                .and_then(|(key, version)| Some((key, version, KeyMeta::decode(value)?)))
                .ok_or_else(|| StorageError("a row of `key` is damaged".to_owned()))?;
            state.index.load(key, version, row_meta.create, row_meta.version);
            if row_meta.lease != 0 {
                attached.push((Bytes::copy_from_slice(key), version, row_meta.lease));
            }
            Ok(())
        })?;
        for (key, version, lease) in attached {
            if state.index.get(&key).is_some_and(|e| e.latest == version) {
                state.leases.attach(&key, lease);
            }
        }
        Ok(Arc::new(Store {
            ring: Ring::new(state.revision),
            pins: Pins::default(),
            trimmed: AtomicI64::new(trimmed),
            trimming: Mutex::default(),
            lease_observer: OnceLock::new(),
            revision: AtomicI64::new(state.revision),
            compacted: AtomicI64::new(state.compacted),
            state: RwLock::new(state),
            db,
        }))
    }

    /// The current revision.
    pub fn revision(&self) -> i64 {
        self.revision.load(Ordering::Acquire)
    }

    /// The revision below which nothing can be read; -1 before the first compaction.
    pub fn compacted(&self) -> i64 {
        self.compacted.load(Ordering::Acquire)
    }

    /// Called under the lock of the state it copies from.
    pub(crate) fn expose(&self, state: &State) {
        self.revision.store(state.revision, Ordering::Release);
        self.compacted.store(state.compacted, Ordering::Release);
    }

    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The record of a version; `None` when a compaction has taken it.
    pub fn record(&self, version: Version) -> Result<Option<KeyValue>, StorageError> {
        self.db.data(version)?.map(decode_record).transpose()
    }

    /// Keys that exist now.
    pub fn live_keys(&self) -> usize {
        self.state.read().index.live()
    }

    pub fn physical_bytes(&self) -> Result<u64, StorageError> {
        self.db.physical_bytes()
    }

    pub fn live_bytes(&self) -> Result<u64, StorageError> {
        self.db.live_bytes()
    }

    /// Gives back the space of what was deleted (etcd's defragmentation), while everything else goes on. It takes as
    /// long as rewriting the store does, so it is not for an async thread.
    pub fn reclaim(&self) -> Result<(), StorageError> {
        self.db.reclaim()
    }

    pub fn alarms(&self) -> Vec<(u64, i32)> {
        self.state.read().alarms.iter().copied().collect()
    }

    /// Called, from apply, after each grant and revocation; it has to be quick. Only the first one set counts.
    pub fn on_lease_change(&self, observer: impl Fn(LeaseChange) + Send + Sync + 'static) {
        let _ = self.lease_observer.set(Box::new(observer));
    }

    /// The last compaction whose versions are all gone; -1 before the first.
    pub fn trimmed(&self) -> i64 {
        self.trimmed.load(Ordering::Acquire)
    }

    /// Granted TTL and, if checkpointed, what remained (else 0), seconds.
    pub fn lease_ttl(&self, id: i64) -> Option<(i64, i64)> {
        self.state.read().leases.get(id).map(|l| (l.ttl, l.remaining_ttl))
    }

    /// The keys on a lease, sorted.
    pub fn lease_keys(&self, id: i64) -> Vec<Bytes> {
        self.state
            .read()
            .leases
            .get(id)
            .map(|l| l.keys.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Id, granted TTL and checkpointed remainder of every lease, sorted by id.
    pub fn leases(&self) -> Vec<(i64, i64, i64)> {
        let state = self.state.read();
        let mut all: Vec<_> = state
            .leases
            .iter()
            .map(|(id, l)| (id, l.ttl, l.remaining_ttl))
            .collect();
        all.sort_unstable();
        all
    }
}

pub fn decode_record(record: Bytes) -> Result<KeyValue, StorageError> {
    KeyValue::decode(record).map_err(|e| StorageError(format!("a record of `data` is damaged: {e}")))
}
