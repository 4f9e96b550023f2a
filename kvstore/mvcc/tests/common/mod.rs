//! What the tests of this crate share; not every one uses all of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use tempfile::TempDir;

/// In memory where there is such a place: these tests open many stores, and prove nothing about fsync.
pub fn tempdir() -> TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let place = if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    tempfile::tempdir_in(place).unwrap()
}

/// The files of an open store as they are on disk now: what a crash would leave. (Closing it would flush.)
pub fn copy_as_after_a_crash(dir: &TempDir) -> TempDir {
    // RocksDB changes files in the background; a copy during which nothing changed is one moment's.
    loop {
        let before = files(dir);
        let copy = tempdir();
        let copied = before
            .iter()
            .all(|(name, _)| std::fs::copy(dir.path().join(name), copy.path().join(name)).is_ok());
        if copied && files(dir) == before {
            return copy;
        }
    }
}

/// Names and sizes, but of the log that RocksDB writes for people.
fn files(dir: &TempDir) -> BTreeMap<OsString, u64> {
    let entries = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap());
    let entries = entries.filter(|file| !file.file_name().to_string_lossy().starts_with("LOG"));
    entries
        .filter_map(|file| Some((file.file_name(), file.metadata().ok()?.len())))
        .collect()
}
