//! The engine of simulations: ordered maps in two layers, what is written and what is flushed.
//!
//! It has RocksDB's contract and none of its threads: nothing is durable until a flush, a flush is atomic, and a store
//! that is opened again stands at the last one. The same calls in the same order give the same rows.

use super::Cf;
use crate::state_machine::StorageError;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

type Rows = BTreeMap<Bytes, Bytes>;

/// All column families, by their numbers. A clone shares the maps until one of the two is written to.
#[derive(Clone, Default)]
struct Tables {
    rows: [Arc<Rows>; Cf::ALL.len()],
    bytes: u64,
}

impl Tables {
    fn rows(&self, cf: Cf) -> &Arc<Rows> {
        let [meta, key, data] = &self.rows;
        match cf {
            Cf::Meta => meta,
            Cf::Key => key,
            Cf::Data => data,
        }
    }

    fn set(&mut self, cf: Cf, key: Bytes, value: Option<Bytes>) {
        let [meta, of_key, data] = &mut self.rows;
        let rows = Arc::make_mut(match cf {
            Cf::Meta => meta,
            Cf::Key => of_key,
            Cf::Data => data,
        });
        let key_bytes = key.len();
        let size = |value: &Bytes| (key_bytes + value.len()) as u64;
        self.bytes += value.as_ref().map_or(0, size);
        let before = match value {
            Some(value) => rows.insert(key, value),
            None => rows.remove(&key),
        };
        self.bytes = self.bytes.saturating_sub(before.as_ref().map_or(0, size));
    }
}

#[derive(Default)]
struct Persisted {
    tables: Tables,
    /// Counts what was opened: only the latest may still flush, as a process that died no longer does.
    owner: u64,
    failing: bool,
}

/// What outlives a crash of a store in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    persisted: Arc<Mutex<Persisted>>,
}

impl MemoryDisk {
    /// While true, every flush fails, and nothing becomes durable.
    pub fn set_failing(&self, failing: bool) {
        self.persisted.lock().failing = failing;
    }

    fn own(&self, with: impl FnOnce(&mut Tables) -> Tables) -> Memory {
        let mut persisted = self.persisted.lock();
        persisted.owner += 1;
        Memory {
            live: RwLock::new(with(&mut persisted.tables)),
            owner: Mutex::new(persisted.owner),
            disk: self.clone(),
        }
    }

    pub(super) fn open(&self) -> Memory {
        self.own(|tables| tables.clone())
    }

    /// An empty one that is nobody's until [`MemoryDisk::take_over`].
    pub(super) fn stage(&self) -> Memory {
        Memory {
            live: RwLock::default(),
            owner: Mutex::new(0),
            disk: self.clone(),
        }
    }

    /// What is staged becomes what is persisted, and the one before it can write here no more.
    pub(super) fn take_over(&self, staged: &Memory) -> Result<(), StorageError> {
        let mut persisted = self.persisted.lock();
        if persisted.failing {
            return Err(failed());
        }
        persisted.tables = staged.live.read().clone();
        persisted.owner += 1;
        *staged.owner.lock() = persisted.owner;
        Ok(())
    }
}

fn failed() -> StorageError {
    StorageError("the disk in memory is told to fail".to_owned())
}

pub struct Memory {
    live: RwLock<Tables>,
    owner: Mutex<u64>,
    disk: MemoryDisk,
}

impl Memory {
    pub fn get(&self, cf: Cf, key: &[u8]) -> Option<Bytes> {
        self.live.read().rows(cf).get(key).cloned()
    }

    pub fn get_persisted(&self, cf: Cf, key: &[u8]) -> Option<Bytes> {
        self.disk.persisted.lock().tables.rows(cf).get(key).cloned()
    }

    pub fn scan(
        &self,
        cf: Cf,
        from: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        // A view of its own: `visit` may look into the store, and writes may go on.
        let rows = self.live.read().rows(cf).clone();
        for (key, value) in rows.range::<[u8], _>((Bound::Included(from), Bound::Unbounded)) {
            if !visit(key, value)? {
                break;
            }
        }
        Ok(())
    }

    pub fn write(&self, batch: MemoryBatch) {
        let mut live = self.live.write();
        for (cf, key, value) in batch.changes {
            live.set(cf, key, value);
        }
    }

    pub fn flush(&self) -> Result<(), StorageError> {
        let tables = self.live.read().clone();
        let mut persisted = self.disk.persisted.lock();
        if persisted.owner != *self.owner.lock() {
            return Ok(());
        }
        if persisted.failing {
            return Err(failed());
        }
        persisted.tables = tables;
        Ok(())
    }

    pub fn bytes(&self) -> u64 {
        self.live.read().bytes
    }

    /// It owns nothing, so that it can flush nothing.
    pub fn frozen(&self) -> Memory {
        Memory {
            live: RwLock::new(self.live.read().clone()),
            owner: Mutex::new(0),
            disk: self.disk.clone(),
        }
    }
}

#[derive(Default)]
pub struct MemoryBatch {
    changes: Vec<(Cf, Bytes, Option<Bytes>)>,
    bytes: usize,
}

impl MemoryBatch {
    pub fn put(&mut self, cf: Cf, key: &[u8], value: &[u8]) {
        self.bytes += key.len() + value.len();
        let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        self.changes.push((cf, key, Some(value)));
    }

    pub fn delete(&mut self, cf: Cf, key: &[u8]) {
        self.bytes += key.len();
        self.changes.push((cf, Bytes::copy_from_slice(key), None));
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
