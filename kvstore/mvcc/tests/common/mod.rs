//! What the tests of this crate share.

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
    let copy = tempdir();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}
