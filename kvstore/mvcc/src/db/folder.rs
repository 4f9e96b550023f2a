//! The folders of a store on disk, and how another state takes the place of the live one.
//!
//! The store is in `state`, say. What is being received grows in `state.incoming-1`; when it is whole and on disk, that is
//! renamed to `state.1` (or the next number), and this rename is the moment at which it is the store: while any numbered
//! folder exists, the highest one counts. The one before it is still open then, perhaps with readers, and goes when the
//! last of them has gone. The next start removes what is left and gives the highest its plain name back.
//! `state.outgoing-*` are frozen copies that are being sent; they mean nothing to a start.

use super::Db;
use super::rocks::Rocks;
use crate::state_machine::StorageError;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const INCOMING: &str = "incoming-";
const OUTGOING: &str = "outgoing-";

pub struct Folder {
    path: PathBuf,
    cache_bytes: usize,
    /// The number that the next installed state gets.
    next: AtomicU64,
}

fn failed(what: &str, path: &Path, e: &io::Error) -> StorageError {
    StorageError(format!("{what} {}: {e}", path.display()))
}

/// `state` with a suffix.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

fn incoming(path: &Path, number: u64) -> PathBuf {
    beside(path, &format!("{INCOMING}{number}"))
}

pub fn outgoing(path: &Path, number: u64) -> PathBuf {
    beside(path, &format!("{OUTGOING}{number}"))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn sync_parent(path: &Path) -> Result<(), StorageError> {
    let dir = parent(path);
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| failed("sync folder", dir, &e))
}

fn remove_all(path: &Path) -> Result<(), StorageError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, &e)),
        _ => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), StorageError> {
    fs::rename(from, to).map_err(|e| failed("rename", from, &e))?;
    sync_parent(to)
}

/// What stands beside a store.
#[derive(Default)]
struct Siblings {
    installed: Vec<(u64, PathBuf)>,
    /// What no start needs.
    leftovers: Vec<PathBuf>,
}

fn siblings(path: &Path) -> Result<Siblings, StorageError> {
    let dir = parent(path);
    let mut found = Siblings::default();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(e) => return Err(failed("list", dir, &e)),
    };
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Ok(found);
    };
    for entry in entries {
        let entry = entry.map_err(|e| failed("list", dir, &e))?;
        let entry_name = entry.file_name();
        let suffix = entry_name
            .to_str()
            .and_then(|n| n.strip_prefix(name))
            .and_then(|n| n.strip_prefix('.'));
        let Some(suffix) = suffix else { continue };
        if let Ok(number) = suffix.parse() {
            found.installed.push((number, entry.path()));
        } else if suffix.starts_with(INCOMING) || suffix.starts_with(OUTGOING) {
            found.leftovers.push(entry.path());
        }
    }
    found.installed.sort_unstable();
    Ok(found)
}

impl Folder {
    pub fn new(path: &Path, cache_bytes: usize) -> Folder {
        Folder {
            path: path.to_owned(),
            cache_bytes,
            next: AtomicU64::new(1),
        }
    }

    /// A file without a name, on the disk that the store is on.
    pub fn scratch(&self) -> Result<File, StorageError> {
        let named = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let disk = named.unwrap_or(Path::new("."));
        tempfile::tempfile_in(disk).map_err(|e| failed("create a file without a name in", disk, &e))
    }

    pub fn open(&self) -> Result<Rocks, StorageError> {
        let mut found = siblings(&self.path)?;
        if let Some((_, newest)) = found.installed.pop() {
            self.settle(&newest, &found.installed)?;
        }
        let db = Rocks::open(&self.path, &self.path, self.cache_bytes)?;
        // Now that the store is this process's, what is beside it is nobody's.
        for leftover in &found.leftovers {
            remove_all(leftover)?;
        }
        Ok(db)
    }

    /// Opens what a start would open, and changes nothing.
    pub fn open_to_read(&self) -> Result<Rocks, StorageError> {
        let newest = siblings(&self.path)?.installed.pop();
        let path = newest.map_or_else(|| self.path.clone(), |(_, path)| path);
        Rocks::open_to_read(&path, &self.path)
    }

    /// Gives the newest state the plain name. Each step may be the last one before the next crash.
    fn settle(&self, newest: &Path, older: &[(u64, PathBuf)]) -> Result<(), StorageError> {
        // Refused while another process has it open.
        drop(Rocks::open(newest, &self.path, self.cache_bytes)?);
        for (_, older) in older {
            remove_all(older)?;
        }
        remove_all(&self.path)?;
        rename(newest, &self.path)
    }

    pub fn stage(&self, number: u64) -> Result<StagedFolder, StorageError> {
        let path = incoming(&self.path, number);
        remove_all(&path)?;
        let db = Rocks::open(&path, &self.path, self.cache_bytes)?;
        db.remove_on_drop(true);
        Ok(StagedFolder {
            db: Db::Rocks(db),
            path,
        })
    }
}

pub struct StagedFolder {
    db: Db,
    path: PathBuf,
}

impl StagedFolder {
    pub fn db(&self) -> &Db {
        &self.db
    }

    pub fn commit(self, home: &Folder) -> Result<Rocks, StorageError> {
        self.db.flush()?;
        // RocksDB knows its files by their path, so it is closed while the path changes.
        if let Db::Rocks(db) = &self.db {
            db.remove_on_drop(false);
        }
        drop(self.db);
        sync_parent(&self.path.join("CURRENT"))?;
        let number = home.next.fetch_add(1, Ordering::Relaxed);
        let place = beside(&home.path, &number.to_string());
        rename(&self.path, &place)?;
        Rocks::open(&place, &home.path, home.cache_bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::db::Cf;
    use bytes::Bytes;

    fn write(db: &Rocks, value: &[u8]) {
        let mut batch = db.batch().unwrap();
        batch.put(Cf::Meta, b"who", value);
        db.write(batch).unwrap();
        db.flush().unwrap();
    }

    fn make(path: &Path, value: &[u8]) {
        write(&Rocks::open(path, path, 1 << 20).unwrap(), value);
    }

    fn opens_to(root: &Path, value: &'static [u8]) {
        let path = root.join("state");
        let db = Folder::new(&path, 1 << 20).open().unwrap();
        assert_eq!(db.get(Cf::Meta, b"who").unwrap(), Some(Bytes::from_static(value)));
        drop(db);
        let names: Vec<_> = fs::read_dir(root).unwrap().map(|f| f.unwrap().file_name()).collect();
        assert_eq!(names, ["state"], "nothing is left beside it");
    }

    #[test]
    fn a_crash_in_any_step_leaves_the_old_or_the_new() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("state");
        make(&path, b"old");
        // While it is received, whole or not.
        fs::create_dir(incoming(&path, 2)).unwrap();
        fs::write(incoming(&path, 2).join("CURRENT"), "half").unwrap();
        opens_to(root.path(), b"old");
        make(&incoming(&path, 2), b"new");
        opens_to(root.path(), b"old");
        // After the rename.
        make(&beside(&path, "1"), b"new");
        fs::create_dir(outgoing(&path, 7)).unwrap();
        opens_to(root.path(), b"new");
        // While the start tidies up: some of the old one gone, then all of it.
        make(&beside(&path, "3"), b"newer");
        make(&beside(&path, "2"), b"between");
        fs::remove_file(path.join("CURRENT")).unwrap();
        opens_to(root.path(), b"newer");
        make(&beside(&path, "10"), b"newest");
        fs::remove_dir_all(&path).unwrap();
        opens_to(root.path(), b"newest");
    }

    #[test]
    fn the_one_before_lives_while_it_is_read_and_goes_then() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("state");
        let home = Folder::new(&path, 1 << 20);
        let old = home.open().unwrap();
        write(&old, b"old");
        let staged = home.stage(1).unwrap();
        let Db::Rocks(db) = staged.db() else { panic!() };
        write(db, b"new");
        let new = staged.commit(&home).unwrap();
        old.remove_on_drop(true);
        assert_eq!(old.get(Cf::Meta, b"who").unwrap(), Some(Bytes::from_static(b"old")));
        assert_eq!(new.get(Cf::Meta, b"who").unwrap(), Some(Bytes::from_static(b"new")));
        drop(old);
        assert!(!path.exists());
        write(&new, b"newer");
        drop(new);
        opens_to(root.path(), b"newer");
    }
}
