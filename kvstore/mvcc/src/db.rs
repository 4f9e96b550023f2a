//! RocksDB as this crate uses it: three column families, no write-ahead log, all of them flushed together.
//!
//! `data`: revision → encoded KeyValue, append-only. `key`: user key ‖ revision → [`KeyMeta`], read at start only.
//! `meta`: everything of which there is one.

use crate::revision::{Rev, Version};
use crate::state_machine::StorageError;
use bytes::{Buf, BufMut, Bytes};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, FlushOptions, LogLevel,
    Options, ReadOptions, ReadTier, WriteBatch,
};
use std::path::Path;

pub const CF_DATA: &str = "data";
pub const CF_KEY: &str = "key";
pub const CF_META: &str = "meta";
const CFS: [&str; 3] = [CF_DATA, CF_KEY, CF_META];

/// Memtable of one column family, bytes. Small: an idle store should not hold memory.
const WRITE_BUFFER_BYTES: usize = 8 << 20;
const META_WRITE_BUFFER_BYTES: usize = 1 << 20;
const WRITE_BUFFERS_MAX: i32 = 3;
const BACKGROUND_JOBS: i32 = 2;
const OPEN_FILES_MAX: i32 = 256;
const BLOCK_BYTES: usize = 8 << 10;
const INFO_LOG_BYTES_MAX: usize = 1 << 20;
const INFO_LOG_FILES_MAX: usize = 2;
const BLOOM_BITS_PER_KEY: f64 = 10.0;
/// L0 files at which RocksDB slows or stops writers: late, because apply must not stall on a burst.
const L0_SLOWDOWN_FILES: i32 = 40;
const L0_STOP_FILES: i32 = 80;

impl From<rocksdb::Error> for StorageError {
    fn from(e: rocksdb::Error) -> Self {
        StorageError(e.into_string())
    }
}

pub struct Db {
    db: DB,
}

impl Db {
    pub fn open(path: &Path, cache_bytes: usize) -> Result<Db, StorageError> {
        let cache = Cache::new_lru_cache(cache_bytes);
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&cache);
        table.set_block_size(BLOCK_BYTES);
        table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_format_version(5);

        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_atomic_flush(true);
        options.set_paranoid_checks(true);
        options.set_max_background_jobs(BACKGROUND_JOBS);
        options.set_max_open_files(OPEN_FILES_MAX);
        options.set_max_file_opening_threads(1);
        options.set_skip_stats_update_on_db_open(true);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options.set_max_log_file_size(INFO_LOG_BYTES_MAX);
        options.set_keep_log_file_num(INFO_LOG_FILES_MAX);
        options.set_log_level(LogLevel::Warn);

        let descriptors = CFS.map(|name| {
            let mut cf = Options::default();
            cf.set_block_based_table_factory(&table);
            cf.set_compression_type(DBCompressionType::Lz4);
            cf.set_level_compaction_dynamic_level_bytes(true);
            let buffer = if name == CF_META {
                META_WRITE_BUFFER_BYTES
            } else {
                WRITE_BUFFER_BYTES
            };
            cf.set_write_buffer_size(buffer);
            cf.set_max_write_buffer_number(WRITE_BUFFERS_MAX);
            cf.set_level_zero_slowdown_writes_trigger(L0_SLOWDOWN_FILES);
            cf.set_level_zero_stop_writes_trigger(L0_STOP_FILES);
            ColumnFamilyDescriptor::new(name, cf)
        });
        Ok(Db {
            db: DB::open_cf_descriptors(&options, path, descriptors)?,
        })
    }

    fn cf(&self, name: &str) -> Result<&ColumnFamily, StorageError> {
        self.db
            .cf_handle(name)
            .ok_or_else(|| StorageError(format!("column family {name} is missing")))
    }

    /// The record at a version; `None` if a compaction took it.
    pub fn data(&self, version: Version) -> Result<Option<Bytes>, StorageError> {
        let found = self.db.get_pinned_cf(self.cf(CF_DATA)?, version.data_key())?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// Many records at once, in the order asked for; sorted versions share blocks.
    pub fn data_many(&self, versions: &[Version]) -> Result<Vec<Option<Bytes>>, StorageError> {
        if let [version] = versions {
            return Ok(vec![self.data(*version)?]);
        }
        let keys: Vec<_> = versions.iter().map(|v| v.data_key()).collect();
        let sorted = versions.is_sorted_by_key(|v| v.rev);
        self.db
            .batched_multi_get_cf(self.cf(CF_DATA)?, keys.iter(), sorted)
            .into_iter()
            .map(|found| Ok(found?.map(|value| Bytes::copy_from_slice(&value))))
            .collect()
    }

    /// Records from a revision on, in order, from one consistent view, until `visit` returns false.
    pub fn scan_data(
        &self,
        from: Rev,
        mut visit: impl FnMut(Version, &[u8]) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        let mut rows = self.db.raw_iterator_cf_opt(self.cf(CF_DATA)?, options);
        rows.seek(
            Version {
                rev: from,
                tombstone: false,
            }
            .data_key(),
        );
        while let Some((key, value)) = rows.item() {
            let version =
                Version::from_data_key(key).ok_or_else(|| StorageError("a key of `data` is damaged".to_owned()))?;
            if !visit(version, value)? {
                return Ok(());
            }
            rows.next();
        }
        rows.status().map_err(Into::into)
    }

    /// All of a column family, in order.
    pub fn scan_all(
        &self,
        cf: &str,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        let mut rows = self.db.raw_iterator_cf_opt(self.cf(cf)?, options);
        rows.seek_to_first();
        while let Some((key, value)) = rows.item() {
            visit(key, value)?;
            rows.next();
        }
        rows.status().map_err(Into::into)
    }

    pub fn meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.db.get_cf(self.cf(CF_META)?, key)?)
    }

    /// What is on disk, memtables left out: after a crash this is what remains.
    pub fn meta_persisted(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        Ok(self.db.get_cf_opt(self.cf(CF_META)?, key, &options)?)
    }

    pub fn batch(&self) -> Result<Batch<'_>, StorageError> {
        Ok(Batch {
            rows: WriteBatch::default(),
            data: self.cf(CF_DATA)?,
            key: self.cf(CF_KEY)?,
            meta: self.cf(CF_META)?,
        })
    }

    pub fn write(&self, batch: Batch<'_>) -> Result<(), StorageError> {
        Ok(self.db.write_without_wal(batch.rows)?)
    }

    /// Makes everything written so far durable, in all column families at one point.
    pub fn flush(&self) -> Result<(), StorageError> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let cfs = [self.cf(CF_DATA)?, self.cf(CF_KEY)?, self.cf(CF_META)?];
        Ok(self.db.flush_cfs_opt(&cfs, &options)?)
    }

    /// Gives back the space of what was deleted. Reads and writes go on meanwhile.
    pub fn reclaim(&self) -> Result<(), StorageError> {
        self.flush()?;
        for cf in CFS {
            self.db.compact_range_cf(self.cf(cf)?, None::<&[u8]>, None::<&[u8]>);
        }
        Ok(())
    }

    fn sum(&self, properties: &[&str]) -> Result<u64, StorageError> {
        let mut bytes = 0;
        for cf in CFS {
            for property in properties {
                bytes += self.db.property_int_value_cf(self.cf(cf)?, *property)?.unwrap_or(0);
            }
        }
        Ok(bytes)
    }

    /// Bytes on disk and in memtables that will get there.
    pub fn physical_bytes(&self) -> Result<u64, StorageError> {
        self.sum(&["rocksdb.total-sst-files-size", "rocksdb.cur-size-all-mem-tables"])
    }

    /// Estimated bytes of what is not superseded.
    pub fn live_bytes(&self) -> Result<u64, StorageError> {
        self.sum(&["rocksdb.estimate-live-data-size", "rocksdb.cur-size-all-mem-tables"])
    }
}

/// Writes that become visible, and durable, together.
pub struct Batch<'a> {
    rows: WriteBatch,
    data: &'a ColumnFamily,
    key: &'a ColumnFamily,
    meta: &'a ColumnFamily,
}

impl Batch<'_> {
    pub fn add(&mut self, key: &[u8], version: Version, record: &[u8], meta: &KeyMeta) {
        self.rows.put_cf(self.data, version.data_key(), record);
        self.rows.put_cf(self.key, version_key(key, version), meta.encode());
    }

    pub fn forget(&mut self, key: &[u8], version: Version) {
        self.rows.delete_cf(self.data, version.data_key());
        self.rows.delete_cf(self.key, version_key(key, version));
    }

    pub fn set_meta(&mut self, key: &[u8], value: &[u8]) {
        self.rows.put_cf(self.meta, key, value);
    }

    pub fn remove_meta(&mut self, key: &[u8]) {
        self.rows.delete_cf(self.meta, key);
    }

    pub fn bytes(&self) -> usize {
        self.rows.size_in_bytes()
    }
}

fn version_key(key: &[u8], version: Version) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + crate::revision::DATA_KEY_BYTES);
    out.extend_from_slice(key);
    out.extend_from_slice(&version.data_key());
    out
}

/// The user key and the version of a row of `key`.
pub fn split_version_key(row: &[u8]) -> Option<(&[u8], Version)> {
    let at = row.len().checked_sub(crate::revision::DATA_KEY_BYTES)?;
    let (key, version) = row.split_at(at);
    Some((key, Version::from_data_key(version)?))
}

/// What the index needs of a version after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyMeta {
    pub create: i64,
    pub version: i64,
    pub lease: i64,
}

impl KeyMeta {
    const BYTES: usize = 24;

    fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        let mut rest = out.as_mut_slice();
        rest.put_i64_le(self.create);
        rest.put_i64_le(self.version);
        rest.put_i64_le(self.lease);
        out
    }

    pub fn decode(mut value: &[u8]) -> Option<KeyMeta> {
        (value.len() == Self::BYTES).then(|| KeyMeta {
            create: value.get_i64_le(),
            version: value.get_i64_le(),
            lease: value.get_i64_le(),
        })
    }
}
