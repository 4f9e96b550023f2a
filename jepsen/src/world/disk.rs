//! A member's disk: an ext4 in a file, whose power can be cut and whose space can be taken.

use super::command::run;
use super::error::{Doing, WorldError};
use super::loops::LoopDevice;
use super::process::LOOK;
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// `EXT4_IOC_SHUTDOWN`, which is `_IOR('X', 125, u32)`.
const SHUTDOWN: libc::c_ulong = 0x8004_587d;
/// The journal is not flushed.
const NO_LOG_FLUSH: u32 = 2;
/// A process that was killed lets go of its files within this time.
const RELEASE: Duration = Duration::from_secs(20);
/// What the file system must not do by itself, so that what is not synced stays so: commit every five seconds, and
/// write out a file that replaces another.
const OPTIONS: &str = "commit=300,noauto_da_alloc";
/// What a full disk has left.
const LEFT_BYTES: u64 = 4096;
const FILLER: &str = "filler";

/// An ext4 on a loop device. Only who shares the runner's mount namespace sees it.
#[derive(Debug)]
pub(super) struct Disk {
    device: LoopDevice,
    /// Where it is mounted.
    at: PathBuf,
    mounted: bool,
}

impl Disk {
    /// Makes and mounts a disk of this size; its file is below `scratch`.
    pub(super) fn make(scratch: &Path, node: usize, mib: u64) -> Result<Disk, WorldError> {
        let path = scratch.join(format!("disk{node}"));
        let image = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .doing(|| format!("make {}", path.display()))?;
        image.set_len(mib << 20).doing(|| "set the size of a disk".to_owned())?;
        let device = LoopDevice::attach(&image, scratch)?;
        // The device holds the file.
        std::fs::remove_file(&path).doing(|| "unlink a disk".to_owned())?;
        let at = scratch.join(format!("node{node}"));
        std::fs::create_dir(&at).doing(|| format!("make {}", at.display()))?;
        let mut disk = Disk {
            device,
            at,
            mounted: false,
        };
        disk.format()?;
        disk.mount()?;
        Ok(disk)
    }

    pub(super) fn at(&self) -> &Path {
        &self.at
    }

    /// As the block layer names it: `major:minor`.
    pub(super) fn device(&self) -> String {
        format!("7:{}", self.device.number)
    }

    fn format(&self) -> Result<(), WorldError> {
        let node = self.device.node.to_string_lossy();
        // Nothing is kept back for root: a full disk is to be full for members too.
        let args = [
            "-q",
            "-F",
            "-m",
            "0",
            "-E",
            "lazy_itable_init=0,lazy_journal_init=0",
            &node,
        ];
        run("mkfs.ext4", &args, "").map(drop)
    }

    pub(super) fn mount(&mut self) -> Result<(), WorldError> {
        if !self.mounted {
            mount(
                Some(&self.device.node),
                &self.at,
                Some("ext4"),
                MsFlags::MS_NOATIME,
                Some(OPTIONS),
            )
            .doing(|| format!("mount {}", self.at.display()))?;
            self.mounted = true;
        }
        Ok(())
    }

    pub(super) fn unmount(&mut self) -> Result<(), WorldError> {
        let deadline = Instant::now() + RELEASE;
        while self.mounted {
            match umount2(&self.at, MntFlags::empty()) {
                Ok(()) => self.mounted = false,
                // The last thread of a killed process may be about to leave the kernel.
                Err(nix::errno::Errno::EBUSY) if Instant::now() < deadline => std::thread::sleep(LOOK),
                Err(e) => return Err(e).doing(|| format!("unmount {}", self.at.display())),
            }
        }
        Ok(())
    }

    /// From here on nothing reaches the device any more, not even what the file system had promised itself.
    pub(super) fn cut(&self) -> Result<(), WorldError> {
        let root = File::open(&self.at).doing(|| format!("open {}", self.at.display()))?;
        let how = NO_LOG_FLUSH;
        // SAFETY: the call reads one u32 through the pointer, which lives until it returns.
        if unsafe { libc::ioctl(root.as_raw_fd(), SHUTDOWN, &raw const how) } < 0 {
            return Err(std::io::Error::last_os_error()).doing(|| format!("shut down {}", self.at.display()));
        }
        Ok(())
    }

    /// A new, empty file system in its place.
    pub(super) fn renew(&mut self) -> Result<(), WorldError> {
        self.unmount()?;
        self.format()?;
        self.mount()
    }

    /// Takes all space but a little. Returns how many bytes were taken.
    pub(super) fn fill(&self) -> Result<u64, WorldError> {
        let free = self.free_bytes()?.saturating_sub(LEFT_BYTES);
        let path = self.at.join(FILLER);
        let file = File::create(&path).doing(|| format!("make {}", path.display()))?;
        let mut taken = 0;
        let mut piece = free;
        // Its own tables take space too: what does not fit is tried in smaller pieces.
        while piece >= LEFT_BYTES {
            match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), taken, piece) {
                Ok(()) => taken += piece,
                Err(rustix::io::Errno::NOSPC) => {}
                Err(e) => return Err(e).doing(|| "fill a disk".to_owned()),
            }
            piece = (piece / 2).min(self.free_bytes()?.saturating_sub(LEFT_BYTES));
        }
        Ok(taken)
    }

    /// Gives the space back.
    pub(super) fn free(&self) -> Result<(), WorldError> {
        match std::fs::remove_file(self.at.join(FILLER)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).doing(|| "free a disk".to_owned()),
            _ => Ok(()),
        }
    }

    pub(super) fn free_bytes(&self) -> Result<u64, WorldError> {
        let stat = rustix::fs::statvfs(&self.at).doing(|| "look at the space of a disk".to_owned())?;
        Ok(stat.f_bavail * stat.f_frsize)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted && umount2(&self.at, MntFlags::MNT_DETACH).is_err() {
            eprintln!("{} stays mounted until the runner ends", self.at.display());
        }
    }
}
