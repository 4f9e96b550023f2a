//! The cluster's own cgroup, in every hierarchy of v1 or the one of v2: made before containers, gone after.

use crate::fail::{Context, Failure, Result};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";
/// How often removal looks whether the last process has left, and how many times.
const REMOVE_RETRIES_MAX: u32 = 40;
const REMOVE_RETRY_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Mount points of the controller hierarchies: one for v2, one a controller for v1.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_owned()];
    }
    let Ok(mounts) = fs::read_to_string("/proc/mounts") else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|l| {
            let mut f = l.split(' ');
            let (_, at, kind) = (f.next()?, f.next()?, f.next()?);
            (kind == "cgroup" || kind == "cgroup2").then(|| PathBuf::from(at))
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Makes `/parent` everywhere. cpuset is born empty in v1 and takes its parent's sets; v2 is told to
/// delegate the controllers that pods' limits need.
pub fn create(parent: &str) -> Result<()> {
    let all = hierarchies();
    if all.is_empty() {
        return Err(Failure::new(format!(
            "no cgroup hierarchy is mounted under {ROOT}: containers cannot be limited"
        )));
    }
    for h in all {
        let dir = h.join(parent.trim_start_matches('/'));
        fs::create_dir_all(&dir).context(|| format!("create cgroup {}", dir.display()))?;
        for set in ["cpuset.cpus", "cpuset.mems"] {
            let (from, to) = (h.join(set), dir.join(set));
            if let (Ok(value), Ok(mine)) = (fs::read_to_string(&from), fs::read_to_string(&to))
                && mine.trim().is_empty()
                && !value.trim().is_empty()
            {
                fs::write(&to, value.trim()).context(|| format!("write {}", to.display()))?;
            }
        }
        if h == Path::new(ROOT) {
            for at in [h.join("cgroup.subtree_control"), dir.join("cgroup.subtree_control")] {
                for controller in ["cpu", "cpuset", "memory", "pids", "io"] {
                    // A controller that the kernel was built without is not delegated; limits on it are then told by runc.
                    let _ = fs::write(&at, format!("+{controller}"));
                }
            }
        }
    }
    Ok(())
}

/// Removes `/parent` and what is below it, once its processes have left.
pub fn remove(parent: &str) -> Result<()> {
    for h in hierarchies() {
        let dir = h.join(parent.trim_start_matches('/'));
        let mut tries = 0;
        loop {
            match remove_tree(&dir) {
                Ok(()) => break,
                Err(e) if tries < REMOVE_RETRIES_MAX && e.raw_os_error() == Some(nix::libc::EBUSY) => {
                    tries += 1;
                    std::thread::sleep(REMOVE_RETRY_PAUSE);
                }
                Err(e) => return Err(Failure::new(format!("remove cgroup {}: {e}", dir.display()))),
            }
        }
    }
    Ok(())
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(e) => e,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for e in entries.flatten() {
        if e.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&e.path())?;
        }
    }
    match fs::remove_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Every process below `/parent`, in any hierarchy.
pub fn processes(parent: &str) -> Vec<i32> {
    fn walk(dir: &Path, out: &mut Vec<i32>) {
        if let Ok(text) = fs::read_to_string(dir.join("cgroup.procs")) {
            out.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()));
        }
        for e in fs::read_dir(dir).into_iter().flatten().flatten() {
            if e.file_type().is_ok_and(|t| t.is_dir()) {
                walk(&e.path(), out);
            }
        }
    }
    let mut out = Vec::new();
    for h in hierarchies() {
        walk(&h.join(parent.trim_start_matches('/')), &mut out);
    }
    out.sort_unstable();
    out.dedup();
    out
}
