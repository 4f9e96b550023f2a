//! Mounts below a pod's directory: tmpfs volumes and subPath binds.
use crate::{Error, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::{MountFlags, UnmountFlags};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

fn io(what: String) -> impl FnOnce(rustix::io::Errno) -> Error {
    move |e| Error::Io { what, source: e.into() }
}

/// Mount points at or below `dir`, deepest first.
pub fn below(dir: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<PathBuf> = text
        .lines()
        .filter_map(|l| l.split(' ').nth(4))
        .map(|m| PathBuf::from(unescape(m)))
        .filter(|m| m.starts_with(dir))
        .collect();
    found.sort_by_key(|m| std::cmp::Reverse(m.components().count()));
    found
}

/// mountinfo writes space, tab, newline and backslash as octal.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let code = after.get(1..4).and_then(|o| u8::from_str_radix(o, 8).ok());
        match code {
            Some(c) => {
                out.push(c as char);
                rest = after.get(4..).unwrap_or_default();
            }
            None => {
                out.push('\\');
                rest = after.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

pub fn is_mounted(dir: &Path) -> bool {
    below(dir).iter().any(|m| m == dir)
}

/// `size` in bytes; `None` is the kernel's own bound, half of memory.
pub fn tmpfs(dir: &Path, size: Option<i64>, mode: u32) -> Result<()> {
    if is_mounted(dir) {
        return Ok(());
    }
    let mut options = format!("mode={mode:o}");
    if let Some(size) = size.filter(|s| *s > 0) {
        options.push_str(&format!(",size={size}"));
    }
    let options = std::ffi::CString::new(options).unwrap_or_default();
    rustix::mount::mount(
        "tmpfs",
        dir,
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        options.as_c_str(),
    )
    .map_err(io(format!("mount tmpfs on {}", dir.display())))
}

/// Unmounts everything at or below `dir`. What is busy goes when its last user does.
pub fn unmount_below(dir: &Path) {
    for mount in below(dir) {
        if let Err(e) = rustix::mount::unmount(&mount, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            tracing::warn!(mount = %mount.display(), error = %e, "unmount");
        }
    }
}

/// Opens `sub` inside `volume`, making missing directories, and never leaving the volume by a symbolic link.
fn open_inside(volume: &Path, sub: &str) -> Result<OwnedFd> {
    let what = || format!("subPath {sub:?} of {}", volume.display());
    let root = rustix::fs::open(
        volume,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(io(what()))?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match rustix::fs::openat2(&root, sub, flags, Mode::empty(), resolve) {
        Ok(fd) => return Ok(fd),
        Err(rustix::io::Errno::NOENT) => {}
        Err(e) => return Err(io(what())(e)),
    }
    let mode = fs::metadata(volume).map_or(0o755, |m| m.permissions().mode() & 0o7777);
    let mut at = root;
    for part in Path::new(sub).components() {
        let Component::Normal(name) = part else {
            if matches!(part, Component::CurDir) {
                continue;
            }
            return Err(Error::Config(format!(
                "{}: must be relative and may not contain \"..\"",
                what()
            )));
        };
        at = match rustix::fs::openat2(&at, name, flags, Mode::empty(), resolve) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::NOENT) => {
                match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o750)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(e) => return Err(io(what())(e)),
                }
                let fd = rustix::fs::openat2(&at, name, flags, Mode::empty(), resolve).map_err(io(what()))?;
                // The umask does not apply: the directory is the volume's.
                fs::set_permissions(proc_path(&fd), fs::Permissions::from_mode(mode)).map_err(Error::io(what()))?;
                fd
            }
            Err(e) => return Err(io(what())(e)),
        };
    }
    Ok(at)
}

fn proc_path(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

/// Binds `sub` of `volume` at `target`, so that the runtime mounts a path that a container cannot swap.
pub fn bind_subpath(volume: &Path, sub: &str, target: &Path) -> Result<()> {
    if is_mounted(target) {
        return Ok(());
    }
    let fd = open_inside(volume, sub)?;
    let source = proc_path(&fd);
    let is_dir = fs::metadata(&source)
        .map_err(Error::io(format!("subPath {sub:?}")))?
        .is_dir();
    let make = || -> std::io::Result<()> {
        if is_dir {
            return fs::create_dir_all(target);
        }
        if let Some(above) = target.parent() {
            fs::create_dir_all(above)?;
        }
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(target)
            .map(|_| ())
    };
    make().map_err(Error::io(format!("make {}", target.display())))?;
    rustix::mount::mount_bind_recursive(&source, target).map_err(io(format!("bind {}", target.display())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_subpath_stays_inside() {
        let dir = tempfile::tempdir().unwrap();
        let (volume, outside) = (dir.path().join("v"), dir.path().join("o"));
        fs::create_dir_all(&volume).unwrap();
        fs::create_dir_all(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, volume.join("way-out")).unwrap();
        assert!(open_inside(&volume, "a/b").is_ok());
        assert!(volume.join("a/b").is_dir());
        assert!(open_inside(&volume, "way-out").is_err());
        assert!(open_inside(&volume, "../o").is_err());
        assert!(open_inside(&volume, "new/../../o").is_err());
    }

    #[test]
    fn octal() {
        assert_eq!(unescape("/a\\040b\\134"), "/a b\\");
    }
}
