//! The folder that disks and shared files of a world are in. It is in memory, and only the runner's mount namespace has
//! it: nothing of it is left when the runner is killed.

use super::error::{Doing, WorldError};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::path::{Path, PathBuf};

/// Room for what is not a disk: sockets, device nodes, the clocks, the shim.
const OTHER_MIB: u64 = 64;

/// A mounted tmpfs.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// `disks_mib` of disks have room in it.
    pub(super) fn make(path: &Path, disks_mib: u64) -> Result<Scratch, WorldError> {
        std::fs::create_dir_all(path).doing(|| format!("make {}", path.display()))?;
        let options = format!("size={}m,mode=700", disks_mib + OTHER_MIB);
        mount(
            Some("keelson-jepsen"),
            path,
            Some("tmpfs"),
            MsFlags::MS_NOSUID,
            Some(options.as_str()),
        )
        .doing(|| format!("mount a tmpfs at {}", path.display()))?;
        Ok(Scratch { path: path.to_owned() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if umount2(&self.path, MntFlags::MNT_DETACH).is_ok() {
            // An empty folder; whoever keeps runs can live with one that could not be removed.
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}
