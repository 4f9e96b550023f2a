//! Writes a set of files so that a reader sees all of the old or all of the new (upstream:
//! pkg/volume/util/atomic_writer.go).
//!
//! `<dir>/..<time>` holds the files, `<dir>/..data` points at it, and each visible name points through `..data`.
//! Renaming a new `..data` over the old one is the one step that readers see. A crash before it leaves a directory
//! that the next write removes.
use crate::{Error, Result};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Component, Path, PathBuf};

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";
const PATH_BYTES_MAX: usize = 4096;
const NAME_BYTES_MAX: usize = 255;

/// One file, by its path below the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    pub data: Vec<u8>,
    pub mode: u32,
    /// Owner, where it is not root.
    pub uid: Option<u32>,
}

pub type Payload = BTreeMap<String, FileEntry>;

/// Makes `dir` show exactly `payload`; `group` owns the files where given. Returns whether anything changed.
pub fn write(dir: &Path, payload: &Payload, group: Option<u32>) -> Result<bool> {
    for path in payload.keys() {
        check(path)?;
    }
    let data = dir.join(DATA);
    let old = match fs::read_link(&data) {
        Ok(target) => Some(target),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => return Err(Error::io(format!("read link {}", data.display()))(e)),
    };
    let old = old.filter(|o| dir.join(o).is_dir());
    if let Some(old) = &old
        && same(&dir.join(old), payload)
    {
        // A crash may have come between the switch and the links.
        link(dir, payload)?;
        return Ok(false);
    }
    let new = fresh(dir, group)?;
    fill(&dir.join(&new), payload, group)?;
    let next = dir.join(DATA_NEW);
    match fs::remove_file(&next) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io("remove a stale link")(e)),
        _ => {}
    }
    symlink(&new, &next).map_err(Error::io("link the new data"))?;
    fs::rename(&next, &data).map_err(Error::io(format!("switch {}", data.display())))?;
    link(dir, payload)?;
    sweep(dir, &new, payload);
    Ok(true)
}

fn check(path: &str) -> Result<()> {
    let bad = |why: &str| Err(Error::Config(format!("invalid volume path {path:?}: {why}")));
    if path.is_empty() || path.len() > PATH_BYTES_MAX {
        return bad("empty or too long");
    }
    let p = Path::new(path);
    if path.starts_with("..") {
        return bad("must not start with \"..\"");
    }
    for part in p.components() {
        match part {
            Component::Normal(n) if n.len() <= NAME_BYTES_MAX => {}
            Component::Normal(_) => return bad("a name is too long"),
            _ => return bad("must be relative and may not contain \"..\""),
        }
    }
    Ok(())
}

fn fresh(dir: &Path, group: Option<u32>) -> Result<PathBuf> {
    let now = jiff::Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S").to_string();
    let name = PathBuf::from(format!("..{now}.{:010}", rand::rng().random::<u32>()));
    make_dir(&dir.join(&name), group)?;
    Ok(name)
}

fn make_dir(path: &Path, group: Option<u32>) -> Result<()> {
    let what = || format!("make {}", path.display());
    fs::create_dir_all(path).map_err(Error::io(what()))?;
    let mode = if group.is_some() { 0o2755 } else { 0o755 };
    chown(path, None, group).map_err(Error::io(what()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Error::io(what()))
}

/// The mode a file gets: a group that owns the volume can read it.
fn mode_of(entry: &FileEntry, group: Option<u32>) -> u32 {
    if group.is_some() {
        entry.mode | 0o440
    } else {
        entry.mode
    }
}

fn fill(dir: &Path, payload: &Payload, group: Option<u32>) -> Result<()> {
    for (path, entry) in payload {
        let file = dir.join(path);
        if let Some(above) = file.parent().filter(|a| *a != dir) {
            make_dir(above, group)?;
        }
        let what = || format!("write {}", file.display());
        let mut f = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file)
            .map_err(Error::io(what()))?;
        f.write_all(&entry.data).map_err(Error::io(what()))?;
        chown(&file, entry.uid, group).map_err(Error::io(what()))?;
        // After the owner: chown clears set-id bits, and the process's umask does not apply here.
        f.set_permissions(fs::Permissions::from_mode(mode_of(entry, group)))
            .map_err(Error::io(what()))?;
    }
    Ok(())
}

fn top(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

fn link(dir: &Path, payload: &Payload) -> Result<()> {
    let names: BTreeSet<&str> = payload.keys().map(|p| top(p)).collect();
    for name in names {
        let at = dir.join(name);
        if fs::symlink_metadata(&at).is_ok() {
            continue;
        }
        symlink(Path::new(DATA).join(name), &at).map_err(Error::io(format!("link {}", at.display())))?;
    }
    Ok(())
}

/// Removes names that are gone and directories that were replaced.
fn sweep(dir: &Path, keep: &Path, payload: &Payload) {
    let names: BTreeSet<&str> = payload.keys().map(|p| top(p)).collect();
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name == DATA || Path::new(name) == keep || names.contains(name) {
            continue;
        }
        let gone = match entry.file_type() {
            Ok(t) if t.is_dir() => fs::remove_dir_all(entry.path()),
            _ => fs::remove_file(entry.path()),
        };
        if let Err(e) = gone {
            tracing::warn!(path = %entry.path().display(), error = %e, "remove an old file of a volume");
        }
    }
}

fn same(dir: &Path, payload: &Payload) -> bool {
    let mut found = BTreeSet::new();
    if !collect(dir, dir, &mut found, 0) || found.len() != payload.len() {
        return false;
    }
    payload
        .iter()
        .all(|(path, entry)| found.contains(path) && fs::read(dir.join(path)).is_ok_and(|have| have == entry.data))
}

fn collect(root: &Path, dir: &Path, found: &mut BTreeSet<String>, depth: usize) -> bool {
    let Ok(entries) = fs::read_dir(dir) else { return false };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            if depth > 64 || !collect(root, &path, found, depth + 1) {
                return false;
            }
        } else if let Some(p) = path.strip_prefix(root).ok().and_then(Path::to_str) {
            found.insert(p.to_owned());
        }
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let entry = |text: &str| FileEntry {
            data: text.as_bytes().to_vec(),
            mode: 0o644,
            uid: None,
        };
        files.iter().map(|(p, t)| ((*p).to_owned(), entry(t))).collect()
    }

    fn visible(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|n| !n.starts_with(".."))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_everything_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert!(write(dir, &payload(&[("a", "1"), ("sub/b", "2")]), None).unwrap());
        assert_eq!(fs::read_to_string(dir.join("sub/b")).unwrap(), "2");
        assert!(!write(dir, &payload(&[("a", "1"), ("sub/b", "2")]), None).unwrap());
        let before = fs::read_link(dir.join(DATA)).unwrap();
        assert!(write(dir, &payload(&[("a", "9"), ("c", "3")]), None).unwrap());
        assert_ne!(before, fs::read_link(dir.join(DATA)).unwrap());
        assert!(!dir.join(before).exists());
        assert_eq!(visible(dir), ["a", "c"]);
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "9");
        assert!(write(dir, &Payload::new(), None).unwrap());
        assert!(visible(dir).is_empty());
    }

    #[test]
    fn recovers_from_a_crash_before_the_switch() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        write(dir, &payload(&[("a", "1")]), None).unwrap();
        fs::create_dir(dir.join("..2020_01_01_00_00_00.1")).unwrap();
        symlink("..2020_01_01_00_00_00.1", dir.join(DATA_NEW)).unwrap();
        assert!(write(dir, &payload(&[("a", "2")]), None).unwrap());
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "2");
        assert!(!dir.join("..2020_01_01_00_00_00.1").exists());
    }

    #[test]
    fn refuses_ways_out() {
        let dir = tempfile::tempdir().unwrap();
        for bad in ["../x", "/x", "a/../../x", "..x", ""] {
            assert!(write(dir.path(), &payload(&[(bad, "1")]), None).is_err(), "{bad}");
        }
    }
}
