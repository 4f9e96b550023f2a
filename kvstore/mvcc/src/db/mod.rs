//! Where the rows are: RocksDB in a folder, or ordered maps in memory for simulations.
//!
//! Both have three column families. `data`: revision → encoded KeyValue, append-only. `key`: user key ‖ revision →
//! [`KeyMeta`], read at start only. `meta`: everything of which there is one. There is no write-ahead log in either: a
//! flush makes all column families durable at one point, and a crash goes back to the last one.
//!
//! A [`Home`] is the place; a [`Db`] is what is open in it. [`Home::stage`] makes a second, empty one beside the live
//! one, which [`Staged::commit`] puts in its place: after a crash the place holds the one or the other, never a mixture.

mod folder;
mod listed;
mod memory;
mod rocks;
mod rocks_read;
mod rows;

pub use memory::MemoryDisk;
pub use rows::{KeyMeta, split_version_key};

use crate::index::Recorded;
use crate::read::missing;
use crate::revision::{Rev, Version};
use crate::state_machine::StorageError;
use bytes::Bytes;
use folder::Folder;
use rows::version_key;
use std::path::Path;
use std::sync::Arc;

/// A column family. The numbers are part of the format of snapshots, and their order is that of snapshots: what there
/// is one of comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Cf {
    Meta = 0,
    Key = 1,
    Data = 2,
}

impl Cf {
    pub const ALL: [Cf; 3] = [Cf::Meta, Cf::Key, Cf::Data];

    pub fn from_u8(n: u8) -> Option<Cf> {
        Cf::ALL.into_iter().find(|cf| *cf as u8 == n)
    }

    fn name(self) -> &'static str {
        match self {
            Cf::Meta => "meta",
            Cf::Key => "key",
            Cf::Data => "data",
        }
    }
}

/// One choice a call, and no allocation: RocksDB pays nothing for the other engine.
pub enum Db {
    Rocks(rocks::Rocks),
    Memory(memory::Memory),
}

impl Db {
    /// The record at a version; `None` if a compaction took it.
    pub fn data(&self, version: Version) -> Result<Option<Bytes>, StorageError> {
        self.get(Cf::Data, &version.data_key())
    }

    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        match self {
            Db::Rocks(db) => db.get(cf, key),
            Db::Memory(db) => Ok(db.get(cf, key)),
        }
    }

    /// Many records at once, in the order asked for; sorted versions share blocks.
    pub fn data_many(&self, versions: &[Version]) -> Result<Vec<Option<Bytes>>, StorageError> {
        match (self, versions) {
            (_, [version]) => Ok(vec![self.data(*version)?]),
            (Db::Rocks(db), _) => db.data_many(versions),
            (Db::Memory(db), _) => Ok(versions.iter().map(|v| db.get(Cf::Data, &v.data_key())).collect()),
        }
    }

    /// Appends the records of versions in the order asked for, each as one of the `kvs` of an answer.
    pub fn append_listed(&self, wanted: &[Recorded], out: &mut Vec<u8>) -> Result<(), StorageError> {
        match self {
            Db::Rocks(db) => rocks_read::append_listed(db, wanted, out),
            Db::Memory(db) => {
                for recorded in wanted {
                    let record = db.get(Cf::Data, &recorded.version.data_key());
                    let record = record.ok_or_else(|| missing(recorded.version))?;
                    listed::check(recorded, &record)?;
                    listed::append(&record, out);
                }
                Ok(())
            }
        }
    }

    /// Rows of a column family from a key on, in order, from one consistent view, until `visit` returns false.
    pub fn scan(
        &self,
        cf: Cf,
        from: &[u8],
        visit: impl FnMut(&[u8], &[u8]) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        match self {
            Db::Rocks(db) => db.scan(cf, from, visit),
            Db::Memory(db) => db.scan(cf, from, visit),
        }
    }

    /// Records from a revision on, as [`Db::scan`].
    pub fn scan_data(
        &self,
        from: Rev,
        mut visit: impl FnMut(Version, &[u8]) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let first = Version {
            rev: from,
            tombstone: false,
        };
        self.scan(Cf::Data, &first.data_key(), |key, value| {
            let version =
                Version::from_data_key(key).ok_or_else(|| StorageError("a key of `data` is damaged".to_owned()))?;
            visit(version, value)
        })
    }

    /// All of a column family, in order.
    pub fn scan_all(
        &self,
        cf: Cf,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        self.scan(cf, b"", |key, value| visit(key, value).map(|()| true))
    }

    /// Keys that part the rows of `key` into about so many shares of about one size; fewer where they are few.
    pub fn key_parts(&self, shares: usize) -> Result<Vec<Bytes>, StorageError> {
        match self {
            Db::Rocks(db) => db.key_parts(shares),
            Db::Memory(_) => Ok(Vec::new()),
        }
    }

    pub fn meta(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.get(Cf::Meta, key)
    }

    /// What is on disk, memtables left out: after a crash this is what remains.
    pub fn meta_persisted(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        match self {
            Db::Rocks(db) => db.get_persisted(Cf::Meta, key),
            Db::Memory(db) => Ok(db.get_persisted(Cf::Meta, key)),
        }
    }

    pub fn batch(&self) -> Result<Batch<'_>, StorageError> {
        Ok(match self {
            Db::Rocks(db) => Batch::Rocks(db.batch()?),
            Db::Memory(_) => Batch::Memory(memory::MemoryBatch::default()),
        })
    }

    pub fn write(&self, batch: Batch<'_>) -> Result<(), StorageError> {
        match (self, batch) {
            (Db::Rocks(db), Batch::Rocks(batch)) => db.write(batch),
            (Db::Memory(db), Batch::Memory(batch)) => {
                db.write(batch);
                Ok(())
            }
            _ => Err(StorageError("a batch of the other engine".to_owned())),
        }
    }

    /// Makes everything written so far durable, in all column families at one point.
    pub fn flush(&self) -> Result<(), StorageError> {
        match self {
            Db::Rocks(db) => db.flush(),
            Db::Memory(db) => db.flush(),
        }
    }

    /// Gives back the space of what was deleted. Reads and writes go on meanwhile.
    pub fn reclaim(&self) -> Result<(), StorageError> {
        match self {
            Db::Rocks(db) => db.reclaim(),
            Db::Memory(db) => db.flush(),
        }
    }

    /// Bytes on disk and in memtables that will get there.
    pub fn physical_bytes(&self) -> Result<u64, StorageError> {
        match self {
            Db::Rocks(db) => db.physical_bytes(),
            Db::Memory(db) => Ok(db.bytes()),
        }
    }

    /// Estimated bytes of what is not superseded.
    pub fn live_bytes(&self) -> Result<u64, StorageError> {
        match self {
            Db::Rocks(db) => db.live_bytes(),
            Db::Memory(db) => Ok(db.bytes()),
        }
    }

    /// A copy that stands still, of everything written so far, and that costs next to nothing: hard links, or maps that are
    /// copied when they are written to. It is read like any other; nobody writes to it.
    pub fn frozen(&self) -> Result<Db, StorageError> {
        Ok(match self {
            Db::Rocks(db) => Db::Rocks(db.frozen()?),
            Db::Memory(db) => Db::Memory(db.frozen()),
        })
    }

    /// Another has taken its place: when the last reader lets go, its files go too.
    pub fn retire(&self) {
        if let Db::Rocks(db) = self {
            db.remove_on_drop(true);
        }
    }
}

/// Writes that become visible, and durable, together.
pub enum Batch<'a> {
    Rocks(rocks::RocksBatch<'a>),
    Memory(memory::MemoryBatch),
}

impl Batch<'_> {
    pub fn put(&mut self, cf: Cf, key: &[u8], value: &[u8]) {
        match self {
            Batch::Rocks(batch) => batch.put(cf, key, value),
            Batch::Memory(batch) => batch.put(cf, key, value),
        }
    }

    fn delete(&mut self, cf: Cf, key: &[u8]) {
        match self {
            Batch::Rocks(batch) => batch.delete(cf, key),
            Batch::Memory(batch) => batch.delete(cf, key),
        }
    }

    pub fn add(&mut self, key: &[u8], version: Version, record: &[u8], meta: &KeyMeta) {
        self.put(Cf::Data, &version.data_key(), record);
        self.put(Cf::Key, &version_key(key, version), &meta.encode());
    }

    /// Takes back what [`Batch::add`] has added. A version is added once and forgotten once, so that the two rows
    /// vanish where they first meet, and not only on the lowest level.
    pub fn forget(&mut self, key: &[u8], version: Version) {
        self.take_back(Cf::Data, &version.data_key());
        self.take_back(Cf::Key, &version_key(key, version));
    }

    fn take_back(&mut self, cf: Cf, key: &[u8]) {
        match self {
            Batch::Rocks(batch) => batch.take_back(cf, key),
            Batch::Memory(batch) => batch.delete(cf, key),
        }
    }

    pub fn set_meta(&mut self, key: &[u8], value: &[u8]) {
        self.put(Cf::Meta, key, value);
    }

    pub fn remove_meta(&mut self, key: &[u8]) {
        self.delete(Cf::Meta, key);
    }

    pub fn bytes(&self) -> usize {
        match self {
            Batch::Rocks(batch) => batch.bytes(),
            Batch::Memory(batch) => batch.bytes(),
        }
    }
}

/// The place of a store, which outlives what is open in it.
pub enum Home {
    Folder(Folder),
    Memory(MemoryDisk),
}

impl Home {
    pub fn folder(path: &Path, cache_bytes: usize) -> Home {
        Home::Folder(Folder::new(path, cache_bytes))
    }

    /// Opens what is there, or makes it. What a crash left half done is finished or taken back.
    pub fn open(&self) -> Result<Db, StorageError> {
        match self {
            Home::Folder(folder) => folder.open().map(Db::Rocks),
            Home::Memory(disk) => Ok(Db::Memory(disk.open())),
        }
    }

    /// Opens what is there for reading, and changes nothing.
    pub fn open_to_read(&self) -> Result<Db, StorageError> {
        match self {
            Home::Folder(folder) => folder.open_to_read().map(Db::Rocks),
            Home::Memory(disk) => Ok(Db::Memory(disk.open())),
        }
    }

    /// A file without a name, for what is made of the store and sent away: it goes when it is closed, or in a crash.
    pub fn scratch(&self) -> Result<std::fs::File, StorageError> {
        match self {
            Home::Folder(folder) => folder.scratch(),
            Home::Memory(_) => Err(StorageError("a store in memory has no place for files".to_owned())),
        }
    }

    /// An empty one beside the live one, with a number that this process has not used for it yet.
    pub fn stage(&self, number: u64) -> Result<Staged, StorageError> {
        Ok(match self {
            Home::Folder(folder) => Staged::Folder(folder.stage(number)?),
            Home::Memory(disk) => Staged::Memory(Arc::new(Db::Memory(disk.stage()))),
        })
    }
}

/// A second one, beside the live one. Dropped without [`Staged::commit`] it leaves nothing that counts.
pub enum Staged {
    Folder(folder::StagedFolder),
    Memory(Arc<Db>),
}

impl Staged {
    pub fn db(&self) -> &Db {
        match self {
            Staged::Folder(staged) => staged.db(),
            Staged::Memory(db) => db,
        }
    }

    /// Makes it durable and puts it in the live one's place. When this returns, only it is left after a crash.
    pub fn commit(self, home: &Home) -> Result<Arc<Db>, StorageError> {
        match (self, home) {
            (Staged::Folder(staged), Home::Folder(folder)) => Ok(Arc::new(Db::Rocks(staged.commit(folder)?))),
            (Staged::Memory(db), Home::Memory(disk)) => {
                if let Db::Memory(memory) = db.as_ref() {
                    disk.take_over(memory)?;
                }
                Ok(db)
            }
            _ => Err(StorageError("a staged store of the other engine".to_owned())),
        }
    }
}
