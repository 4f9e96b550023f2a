//! Space: what the store takes on disk, and whether a write still fits.

use keelson_mvcc::{Command, StorageError, Store, txn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Quota where none is given, bytes: etcd's default.
pub const QUOTA_BYTES_DEFAULT: u64 = 2 << 30;
/// What a write takes beside its keys and values, bytes.
const WRITE_OVERHEAD_BYTES: u64 = 256;
/// The size is measured again after so many bytes of writes.
const MEASURE_EVERY_BYTES: u64 = 256 << 10;

pub struct Quota {
    pub bytes_max: u64,
    store: Arc<Store>,
    measured: AtomicU64,
    written_since: AtomicU64,
}

impl Quota {
    pub fn new(store: Arc<Store>, bytes_max: u64) -> Self {
        let bytes_max = if bytes_max == 0 { QUOTA_BYTES_DEFAULT } else { bytes_max };
        // The first write measures.
        let written_since = AtomicU64::new(MEASURE_EVERY_BYTES);
        Quota {
            bytes_max,
            store,
            measured: AtomicU64::new(0),
            written_since,
        }
    }

    /// Whether there is room for the encoded command; those that take no space always fit.
    pub fn has_room(&self, command: &Command, encoded_bytes: usize) -> Result<bool, StorageError> {
        let takes_space = match command {
            Command::Put(_) | Command::LeaseGrant(_) => true,
            Command::Txn(r) => txn::has_put(r),
            _ => false,
        };
        if !takes_space {
            return Ok(true);
        }
        let cost = encoded_bytes as u64 + WRITE_OVERHEAD_BYTES;
        let written = self.written_since.fetch_add(cost, Ordering::Relaxed) + cost;
        if written >= MEASURE_EVERY_BYTES {
            self.measured.store(self.store.physical_bytes()?, Ordering::Relaxed);
            self.written_since.store(cost, Ordering::Relaxed);
        }
        let size = || self.measured.load(Ordering::Relaxed) + self.written_since.load(Ordering::Relaxed);
        if size() > self.bytes_max && written < MEASURE_EVERY_BYTES {
            // Room may have been made since it was measured, and a refusal raises an alarm.
            self.measured.store(self.store.physical_bytes()?, Ordering::Relaxed);
            self.written_since.store(cost, Ordering::Relaxed);
        }
        Ok(size() <= self.bytes_max)
    }

    /// Forgets the measured size, so that the next write looks again.
    pub fn remeasure(&self) {
        self.written_since.store(MEASURE_EVERY_BYTES, Ordering::Relaxed);
    }
}
