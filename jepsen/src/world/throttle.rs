//! A slow disk: a control group (version 1, `blkio`) that the member is in, with limits for its loop device.

use super::error::{Doing, WorldError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const PREFIX: &str = "keelson-jepsen-";
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// How much a slow disk writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskRate {
    pub bytes_per_s: u64,
    pub writes_per_s: u64,
}

/// The control group of one member; removed when this goes, after its processes have ended.
#[derive(Debug)]
pub(super) struct Throttle {
    group: PathBuf,
}

impl Throttle {
    pub(super) fn make(node: usize) -> Result<Throttle, WorldError> {
        let root = controller()?;
        sweep(&root);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let group = root.join(format!("{PREFIX}{}-{number}-{node}", std::process::id()));
        std::fs::create_dir(&group).doing(|| format!("make {}", group.display()))?;
        Ok(Throttle { group })
    }

    pub(super) fn group(&self) -> &Path {
        &self.group
    }

    /// Limits what is written to a device, or does so no more.
    pub(super) fn set(&self, device: &str, rate: Option<DiskRate>) -> Result<(), WorldError> {
        // Zero is no limit.
        let (bytes, writes) = rate.map_or((0, 0), |r| (r.bytes_per_s, r.writes_per_s));
        for (file, limit) in [
            ("blkio.throttle.write_bps_device", bytes),
            ("blkio.throttle.write_iops_device", writes),
        ] {
            std::fs::write(self.group.join(file), format!("{device} {limit}"))
                .doing(|| format!("write {limit} to {file} of {device}"))?;
        }
        Ok(())
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir(&self.group) {
            eprintln!("{} is left for the next run to remove: {e}", self.group.display());
        }
    }
}

/// Where the controller is mounted.
fn controller() -> Result<PathBuf, WorldError> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").doing(|| "read the mounts".to_owned())?;
    mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| matches!(fields[..], [_, _, "cgroup", options, ..] if options.split(',').any(|o| o == "blkio")))
        .map(|fields| PathBuf::from(fields[1]))
        .ok_or_else(|| {
            WorldError::Unavailable("slow disks need the blkio controller of control groups version 1".to_owned())
        })
}

/// Removes what runners that were killed left.
fn sweep(root: &Path) {
    let Ok(entries) = std::fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Another runner may sweep at the same time.
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}
