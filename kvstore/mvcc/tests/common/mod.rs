//! What the tests of this crate share.

use tempfile::TempDir;

/// The files of an open store as they are on disk now: what a crash would leave. (Closing it would flush.)
pub fn copy_as_after_a_crash(dir: &TempDir) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}
