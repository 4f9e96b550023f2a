//! The store: what is in memory, how it is opened, and the reads that need no request.

use crate::auth::{self, Auth, AuthChange};
use crate::cluster::ClusterMeta;
use crate::counts::{Commit, Counters};
use crate::db::{Cf, Db, Home, MemoryDisk};
use crate::events::Ring;
use crate::hash::Hashed;
use crate::index::KeyIndex;
use crate::leases::{LeaseChange, Leases};
use crate::meta;
use crate::pins::Pins;
use crate::reload;
use crate::revision::Version;
use crate::state_machine::{AppliedState, StorageError};
use arc_swap::ArcSwap;
use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb::KeyValue;
use parking_lot::{Mutex, RwLock};
use prost::Message;
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

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
    pub cluster: ClusterMeta,
    pub auth: Auth,
    /// How many states were installed over this one since the store was opened: whoever reads in steps compares.
    pub generation: u64,
    /// Compactions that were asked for since the store was opened and are not carried out: the revision of the one
    /// before, and its own.
    pub compactions: VecDeque<(i64, i64)>,
}

impl State {
    /// All that `db` holds, and the compaction whose physical part is done there.
    pub fn load(db: &Db) -> Result<(State, i64), StorageError> {
        let mut state = State {
            index: KeyIndex::default(),
            leases: Leases::default(),
            revision: FIRST_REVISION,
            compacted: -1,
            applied: AppliedState::default(),
            alarms: BTreeSet::new(),
            cluster: ClusterMeta::default(),
            auth: Auth::default(),
            generation: 0,
            compactions: VecDeque::new(),
        };
        let mut trimmed = -1;
        let (mut rows, mut format) = (0u64, None);
        db.scan_all(Cf::Meta, |key, value| {
            rows += 1;
            let known = match key {
                meta::FORMAT => {
                    format = Some(value.to_vec());
                    Some(())
                }
                meta::APPLIED => meta::decode_applied(value).map(|a| state.applied = a),
                meta::REVISION => meta::decode_i64(value).map(|v| state.revision = v),
                meta::COMPACTED => meta::decode_i64(value).map(|v| state.compacted = v),
                meta::TRIMMED => meta::decode_i64(value).map(|v| trimmed = v),
                _ if key.starts_with(auth::row_prefix()) => state.auth.load(key, value).then_some(()),
                _ => match meta::decode_alarm_key(key) {
                    Some(alarm) => {
                        state.alarms.insert(alarm);
                        Some(())
                    }
                    None => (state.leases.load(key, value) || state.cluster.load(key, value)).then_some(()),
                },
            };
            known.ok_or_else(|| StorageError(format!("a row of `meta` is damaged: {}", key.escape_ascii())))
        })?;
        state.auth.loaded();
        if rows > 0 && format.as_deref() != Some(&meta::FORMAT_NOW) {
            return Err(StorageError(
                "the state is in a layout of another version of this program; restore it from a snapshot".to_owned(),
            ));
        }
        let loaded = reload::index(db)?;
        state.index = loaded.index;
        for (key, version, lease) in loaded.attached {
            if state.index.get(&key).is_some_and(|e| e.latest() == version) {
                state.leases.attach(&key, lease);
            }
        }
        Ok((state, trimmed))
    }

    pub fn alarm(&self, kind: pb::AlarmType) -> bool {
        self.alarms.iter().any(|(_, k)| *k == kind as i32)
    }
}

pub struct Store {
    /// For what outlives a call on it.
    pub(crate) this: Weak<Store>,
    pub(crate) home: Home,
    /// What is open. Changed only by an installation, which holds the lock of `state` and that of `trimming`.
    pub(crate) db: ArcSwap<Db>,
    pub(crate) state: RwLock<State>,
    pub(crate) ring: Ring,
    pub(crate) pins: Pins,
    /// The compaction whose physical part is done; -1 before the first.
    pub(crate) trimmed: AtomicI64,
    /// One trimmer at a time.
    pub(crate) trimming: Mutex<crate::compact::Progress>,
    /// What the last compactions hashed to, ascending.
    pub(crate) hashes: Mutex<Vec<Hashed>>,
    /// How many installations were begun.
    pub(crate) installing: AtomicU64,
    pub(crate) lease_observer: OnceLock<Box<dyn Fn(LeaseChange) + Send + Sync>>,
    pub(crate) counters: Counters,
    pub(crate) commit_observer: OnceLock<Box<dyn Fn(Commit) + Send + Sync>>,
    pub(crate) auth_observer: OnceLock<Box<dyn Fn(AuthChange) + Send + Sync>>,
    revision: AtomicI64,
    compacted: AtomicI64,
    auth_enabled: AtomicBool,
}

impl Store {
    /// Opens or creates a store and loads its index.
    pub fn open(options: &Options) -> Result<Arc<Store>, StorageError> {
        Store::open_at(Home::folder(&options.path, options.cache_bytes))
    }

    /// Opens or creates a store in memory, for simulations: `disk` is what a crash leaves of it.
    pub fn open_in_memory(disk: &MemoryDisk) -> Result<Arc<Store>, StorageError> {
        Store::open_at(Home::Memory(disk.clone()))
    }

    fn open_at(home: Home) -> Result<Arc<Store>, StorageError> {
        let db = home.open()?;
        if db.meta(meta::FORMAT)?.is_none() && db.meta(meta::APPLIED)?.is_none() {
            let mut batch = db.batch()?;
            batch.set_meta(meta::FORMAT, &meta::FORMAT_NOW);
            db.write(batch)?;
        }
        let (state, trimmed) = State::load(&db)?;
        Ok(Arc::new_cyclic(|this| Store {
            this: this.clone(),
            ring: Ring::new(state.revision),
            pins: Pins::default(),
            trimmed: AtomicI64::new(trimmed),
            trimming: Mutex::default(),
            hashes: Mutex::default(),
            lease_observer: OnceLock::new(),
            counters: Counters::default(),
            commit_observer: OnceLock::new(),
            auth_observer: OnceLock::new(),
            revision: AtomicI64::new(state.revision),
            compacted: AtomicI64::new(state.compacted),
            auth_enabled: AtomicBool::new(state.auth.is_enabled()),
            state: RwLock::new(state),
            db: ArcSwap::from_pointee(db),
            home,
            installing: AtomicU64::new(0),
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
        self.auth_enabled.store(state.auth.is_enabled(), Ordering::Release);
    }

    /// Whether callers are judged at all.
    pub fn auth_enabled(&self) -> bool {
        self.auth_enabled.load(Ordering::Acquire)
    }

    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The record of a version; `None` when a compaction has taken it.
    pub fn record(&self, version: Version) -> Result<Option<KeyValue>, StorageError> {
        self.db.load().data(version)?.map(decode_record).transpose()
    }

    /// Keys that exist now.
    pub fn live_keys(&self) -> usize {
        self.state.read().index.live()
    }

    pub fn physical_bytes(&self) -> Result<u64, StorageError> {
        self.db.load().physical_bytes()
    }

    pub fn live_bytes(&self) -> Result<u64, StorageError> {
        self.db.load().live_bytes()
    }

    /// Gives back the space of what was deleted (etcd's defragmentation), while everything else goes on. It takes as
    /// long as rewriting the store does, so it is not for an async thread.
    pub fn reclaim(&self) -> Result<(), StorageError> {
        self.db.load_full().reclaim()
    }

    pub fn alarms(&self) -> Vec<(u64, i32)> {
        self.state.read().alarms.iter().copied().collect()
    }

    /// Members' attributes, removed ids and agreed versions.
    pub fn cluster(&self) -> ClusterMeta {
        self.state.read().cluster.clone()
    }

    /// Whether the cluster had this member once and removed it.
    pub fn was_removed(&self, id: u64) -> bool {
        self.state.read().cluster.removed.contains(&id)
    }

    /// Called, from apply, after each grant and revocation; it has to be quick. Only the first one set counts.
    pub fn on_lease_change(&self, observer: impl Fn(LeaseChange) + Send + Sync + 'static) {
        let _ = self.lease_observer.set(Box::new(observer));
    }

    /// Told of every login and of what voids tokens, under the lock of apply: it has to be quick. Only the first one
    /// set counts.
    pub fn on_auth_change(&self, observer: impl Fn(AuthChange) + Send + Sync + 'static) {
        let _ = self.auth_observer.set(Box::new(observer));
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
