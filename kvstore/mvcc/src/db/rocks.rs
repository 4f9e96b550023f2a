//! RocksDB as this crate uses it: three column families, no write-ahead log, all of them flushed together.

use super::{Cf, folder, split_version_key};
use crate::revision::Version;
use crate::state_machine::StorageError;
use bytes::Bytes;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, Env,
    FlushOptions, LogLevel, Options, ReadOptions, ReadTier, WriteBatch,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Memtable of one column family, bytes. Small: an idle store should not hold memory.
const WRITE_BUFFER_BYTES: usize = 8 << 20;
/// That of `data` grows with it up to this, bytes. What a flush writes is never merged with others, since revisions
/// ascend: a large store would be of thousands of files. Beyond this the log's flushes would cut them short.
const DATA_WRITE_BUFFER_BYTES_MAX: usize = 32 << 20;
/// Into how many files of that size the store would go.
const DATA_FILES: u64 = 128;
const META_WRITE_BUFFER_BYTES: usize = 1 << 20;
/// Memtables of one column family that may wait for the disk: a burst, as of a compaction's deletions, must not stop
/// apply. They are there only while they wait.
const WRITE_BUFFERS_MAX: i32 = 6;
/// One flushes, and two compact: a long compaction, as of a defragmentation, keeps none of the short ones waiting.
const BACKGROUND_JOBS: i32 = 3;
/// Files are written out as they grow, bytes: what is left for the sync at their end would hold up the log's own.
const BYTES_PER_SYNC: u64 = 1 << 20;
/// Files of tables that are open at once: half of what the process may open, between these.
const OPEN_FILES_MIN: u64 = 256;
const OPEN_FILES_MAX: u64 = 4096;
const BLOCK_BYTES: usize = 16 << 10;
const INFO_LOG_BYTES_MAX: usize = 1 << 20;
const INFO_LOG_FILES_MAX: usize = 2;
/// `key` is read at a start only, all of it, in as many parts as there are processors: its files say where they begin.
const KEY_BLOCK_BYTES: usize = 32 << 10;
const KEY_FILE_BYTES: u64 = 2 << 20;
/// L0 files at which RocksDB slows or stops writers: late, because apply must not stall on a burst.
const L0_SLOWDOWN_FILES: i32 = 40;
const L0_STOP_FILES: i32 = 80;

/// Block cache of a frozen copy, which is read once from its start to its end, bytes.
const FROZEN_CACHE_BYTES: usize = 1 << 20;

/// Numbers the frozen copies of this process, whichever store they are of.
static FROZEN: AtomicU64 = AtomicU64::new(0);

impl From<rocksdb::Error> for StorageError {
    fn from(e: rocksdb::Error) -> Self {
        StorageError(e.into_string())
    }
}

/// Removes a folder when it is dropped, if it was told to. A failure leaves what the next start removes.
struct RemoveOnDrop {
    path: PathBuf,
    armed: AtomicBool,
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if self.armed.load(Ordering::Acquire) {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

pub struct Rocks {
    // Dropped in this order: the folder goes when RocksDB has closed its files.
    db: DB,
    files: RemoveOnDrop,
    /// The store's plain name, which everything beside it is named after.
    base: PathBuf,
    data_write_buffer_bytes: AtomicUsize,
}

fn open_files() -> i32 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = (limit.unwrap_or(u64::MAX) / 2).clamp(OPEN_FILES_MIN, OPEN_FILES_MAX);
    i32::try_from(files).unwrap_or(i32::MAX)
}

/// The memtable of `data` for a store of this size on disk.
fn data_write_buffer_bytes(stored: u64) -> usize {
    usize::try_from(stored / DATA_FILES)
        .unwrap_or(usize::MAX)
        .clamp(WRITE_BUFFER_BYTES, DATA_WRITE_BUFFER_BYTES_MAX)
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_atomic_flush(true);
    options.set_paranoid_checks(true);
    options.set_max_background_jobs(BACKGROUND_JOBS);
    options.set_max_open_files(open_files());
    options.set_max_file_opening_threads(1);
    options.set_skip_stats_update_on_db_open(true);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    options.set_keep_log_file_num(INFO_LOG_FILES_MAX);
    options.set_log_level(LogLevel::Warn);
    options.set_bytes_per_sync(BYTES_PER_SYNC);
    // RocksDB keeps one pool of threads a process. Flushes stay at full priority: apply waits for them.
    if let Ok(mut env) = Env::new() {
        env.lower_thread_pool_cpu_priority();
        options.set_env(&env);
    }
    options
}

fn descriptors(cache_bytes: usize) -> impl Iterator<Item = ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(cache_bytes);
    Cf::ALL.into_iter().map(move |family| {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&cache);
        table.set_block_size(if family == Cf::Key {
            KEY_BLOCK_BYTES
        } else {
            BLOCK_BYTES
        });
        // No filters: nobody asks for a record that is not there, and `key` is only walked over.
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_format_version(5);
        // Of a large store the index alone is larger than the cache: a read takes the piece of it that it needs.
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        let mut cf = Options::default();
        cf.set_block_based_table_factory(&table);
        if family == Cf::Key {
            cf.set_target_file_size_base(KEY_FILE_BYTES);
        }
        cf.set_compression_type(DBCompressionType::Lz4);
        cf.set_level_compaction_dynamic_level_bytes(true);
        let buffer = if family == Cf::Meta {
            META_WRITE_BUFFER_BYTES
        } else {
            WRITE_BUFFER_BYTES
        };
        cf.set_write_buffer_size(buffer);
        cf.set_max_write_buffer_number(WRITE_BUFFERS_MAX);
        cf.set_level_zero_slowdown_writes_trigger(L0_SLOWDOWN_FILES);
        cf.set_level_zero_stop_writes_trigger(L0_STOP_FILES);
        ColumnFamilyDescriptor::new(family.name(), cf)
    })
}

impl Rocks {
    pub fn open(path: &Path, base: &Path, cache_bytes: usize) -> Result<Rocks, StorageError> {
        let db = DB::open_cf_descriptors(&options(), path, descriptors(cache_bytes))?;
        let rocks = Rocks::over(db, path, base, false);
        rocks.fit_memtable()?;
        Ok(rocks)
    }

    /// Without a change to any file.
    pub fn open_to_read(path: &Path, base: &Path) -> Result<Rocks, StorageError> {
        let db = DB::open_cf_descriptors_read_only(&options(), path, descriptors(FROZEN_CACHE_BYTES), false)?;
        Ok(Rocks::over(db, path, base, false))
    }

    fn over(db: DB, path: &Path, base: &Path, remove: bool) -> Rocks {
        Rocks {
            db,
            files: RemoveOnDrop {
                path: path.to_owned(),
                armed: AtomicBool::new(remove),
            },
            base: base.to_owned(),
            data_write_buffer_bytes: AtomicUsize::new(WRITE_BUFFER_BYTES),
        }
    }

    /// Whether its folder goes with it.
    pub fn remove_on_drop(&self, remove: bool) {
        self.files.armed.store(remove, Ordering::Release);
    }

    /// A checkpoint, opened: it flushes, links the files, and so is the state after some entry, whole.
    pub fn frozen(&self) -> Result<Rocks, StorageError> {
        let path = folder::outgoing(&self.base, FROZEN.fetch_add(1, Ordering::Relaxed));
        // From here on a failure takes away what was made.
        let unfinished = RemoveOnDrop {
            path: path.clone(),
            armed: AtomicBool::new(true),
        };
        Checkpoint::new(&self.db)?.create_checkpoint(&path)?;
        let db = DB::open_cf_descriptors_read_only(&options(), &path, descriptors(FROZEN_CACHE_BYTES), false)?;
        unfinished.armed.store(false, Ordering::Release);
        Ok(Rocks::over(db, &path, &self.base, true))
    }

    pub(super) fn db(&self) -> &DB {
        &self.db
    }

    pub(super) fn cf(&self, cf: Cf) -> Result<&ColumnFamily, StorageError> {
        self.db
            .cf_handle(cf.name())
            .ok_or_else(|| StorageError(format!("column family {} is missing", cf.name())))
    }

    pub fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let found = self.db.get_pinned_cf(self.cf(cf)?, key)?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    pub fn get_persisted(&self, cf: Cf, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        Ok(self.db.get_cf_opt(self.cf(cf)?, key, &options)?.map(Bytes::from))
    }

    pub fn data_many(&self, versions: &[Version]) -> Result<Vec<Option<Bytes>>, StorageError> {
        let keys: Vec<_> = versions.iter().map(|v| v.data_key()).collect();
        let sorted = versions.is_sorted_by_key(|v| v.rev);
        self.db
            .batched_multi_get_cf(self.cf(Cf::Data)?, keys.iter(), sorted)
            .into_iter()
            .map(|found| Ok(found?.map(|value| Bytes::copy_from_slice(&value))))
            .collect()
    }

    pub fn scan(
        &self,
        cf: Cf,
        from: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        let mut rows = self.db.raw_iterator_cf_opt(self.cf(cf)?, options);
        rows.seek(from);
        while let Some((key, value)) = rows.item() {
            if !visit(key, value)? {
                return Ok(());
            }
            rows.next();
        }
        rows.status().map_err(Into::into)
    }

    /// Where files of `key` begin. What is in no file yet is little.
    pub fn key_parts(&self, shares: usize) -> Result<Vec<Bytes>, StorageError> {
        let mut files: Vec<_> = self
            .db
            .live_files()?
            .into_iter()
            .filter(|f| f.column_family_name == Cf::Key.name())
            .collect();
        files.sort_unstable_by(|a, b| a.start_key.cmp(&b.start_key));
        let total: usize = files.iter().map(|f| f.size).sum();
        let (mut parts, mut passed) = (Vec::new(), 0);
        for file in files {
            let begins = passed * shares / total.max(1);
            if begins > parts.len()
                && let Some((key, _)) = file.start_key.as_deref().and_then(split_version_key)
            {
                parts.push(Bytes::copy_from_slice(key));
            }
            passed += file.size;
        }
        parts.dedup();
        Ok(parts)
    }

    pub fn batch(&self) -> Result<RocksBatch<'_>, StorageError> {
        Ok(RocksBatch {
            rows: WriteBatch::default(),
            data: self.cf(Cf::Data)?,
            key: self.cf(Cf::Key)?,
            meta: self.cf(Cf::Meta)?,
        })
    }

    pub fn write(&self, batch: RocksBatch<'_>) -> Result<(), StorageError> {
        Ok(self.db.write_without_wal(batch.rows)?)
    }

    pub fn flush(&self) -> Result<(), StorageError> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let cfs = [self.cf(Cf::Data)?, self.cf(Cf::Key)?, self.cf(Cf::Meta)?];
        self.db.flush_cfs_opt(&cfs, &options)?;
        self.fit_memtable()
    }

    /// Gives `data` a memtable that fits its size.
    fn fit_memtable(&self) -> Result<(), StorageError> {
        let data = self.cf(Cf::Data)?;
        let stored = self.db.property_int_value_cf(data, "rocksdb.total-sst-files-size")?;
        let wanted = data_write_buffer_bytes(stored.unwrap_or(0));
        let before = self.data_write_buffer_bytes.load(Ordering::Relaxed);
        // It writes down every change of its options.
        if wanted.abs_diff(before) * 4 > before {
            let value = wanted.to_string();
            self.db.set_options_cf(data, &[("write_buffer_size", value.as_str())])?;
            self.data_write_buffer_bytes.store(wanted, Ordering::Relaxed);
        }
        Ok(())
    }

    pub fn reclaim(&self) -> Result<(), StorageError> {
        self.flush()?;
        for cf in Cf::ALL {
            self.db.compact_range_cf(self.cf(cf)?, None::<&[u8]>, None::<&[u8]>);
        }
        Ok(())
    }

    fn sum(&self, properties: &[&str]) -> Result<u64, StorageError> {
        let mut bytes = 0;
        for cf in Cf::ALL {
            for property in properties {
                bytes += self.db.property_int_value_cf(self.cf(cf)?, *property)?.unwrap_or(0);
            }
        }
        Ok(bytes)
    }

    pub fn physical_bytes(&self) -> Result<u64, StorageError> {
        self.sum(&["rocksdb.total-sst-files-size", "rocksdb.cur-size-all-mem-tables"])
    }

    pub fn live_bytes(&self) -> Result<u64, StorageError> {
        self.sum(&["rocksdb.estimate-live-data-size", "rocksdb.cur-size-all-mem-tables"])
    }
}

pub struct RocksBatch<'a> {
    rows: WriteBatch,
    data: &'a ColumnFamily,
    key: &'a ColumnFamily,
    meta: &'a ColumnFamily,
}

impl<'a> RocksBatch<'a> {
    fn cf(&self, cf: Cf) -> &'a ColumnFamily {
        match cf {
            Cf::Meta => self.meta,
            Cf::Key => self.key,
            Cf::Data => self.data,
        }
    }

    pub fn put(&mut self, cf: Cf, key: &[u8], value: &[u8]) {
        self.rows.put_cf(self.cf(cf), key, value);
    }

    pub fn delete(&mut self, cf: Cf, key: &[u8]) {
        self.rows.delete_cf(self.cf(cf), key);
    }

    /// Deletes a row that was put exactly once.
    pub fn take_back(&mut self, cf: Cf, key: &[u8]) {
        self.rows.single_delete_cf(self.cf(cf), key);
    }

    pub fn bytes(&self) -> usize {
        self.rows.size_in_bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::db::{Home, KeyMeta};
    use crate::revision::Rev;

    #[test]
    fn what_is_forgotten_is_gone_wherever_its_rows_were() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::folder(&dir.path().join("state"), 1 << 20);
        let version = |main| Version {
            rev: Rev::new(main, 0),
            tombstone: false,
        };
        let meta = KeyMeta {
            create: 2,
            version: 1,
            lease: 0,
            bytes: 6,
        };
        let db = home.open().unwrap();
        // In a table, in a memtable, and in the same batch.
        for main in 2..=4 {
            let mut batch = db.batch().unwrap();
            batch.add(b"key", version(main), b"record", &meta);
            if main == 4 {
                (2..=4).for_each(|main| batch.forget(b"key", version(main)));
            }
            db.write(batch).unwrap();
            if main == 2 {
                db.flush().unwrap();
            }
        }
        let rows = |db: &crate::db::Db| {
            let mut rows = 0;
            for cf in [Cf::Data, Cf::Key] {
                db.scan_all(cf, |_, _| {
                    rows += 1;
                    Ok(())
                })
                .unwrap();
            }
            rows
        };
        assert_eq!(rows(&db), 0);
        db.flush().unwrap();
        db.reclaim().unwrap();
        drop(db);
        assert_eq!(rows(&home.open().unwrap()), 0);
    }

    #[test]
    fn a_larger_store_has_larger_files_and_memtables_have_a_bound() {
        const MIB: u64 = 1 << 20;
        for (stored, memtable) in [
            (0, 8),
            (MIB << 10, 8),
            (MIB << 11, 16),
            (MIB << 12, 32),
            (MIB << 20, 32),
        ] {
            assert_eq!(data_write_buffer_bytes(stored) as u64, memtable * MIB, "{stored}");
        }
    }
}
