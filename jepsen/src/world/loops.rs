//! Loop devices, by the ioctls of `linux/loop.h`: a device is held open as long as its disk is there, so that its
//! number stays, and frees itself with the last who holds it.

use super::error::{Doing, WorldError};
use nix::libc;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

const LOOP_MAJOR: u64 = 7;
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;
/// `LO_FLAGS_AUTOCLEAR`
const AUTOCLEAR: u32 = 4;
/// How often a free device may be taken away by somebody else.
const ATTEMPTS_MAX: usize = 64;

/// `struct loop_config` with its `struct loop_info64`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

/// A loop device that a file is attached to.
#[derive(Debug)]
pub(super) struct LoopDevice {
    _held: File,
    /// A node of our own in the scratch folder: `/dev` may not have one for every number.
    pub(super) node: PathBuf,
    pub(super) number: u64,
}

impl LoopDevice {
    /// Attaches a file to a free device.
    pub(super) fn attach(image: &File, scratch: &Path) -> Result<LoopDevice, WorldError> {
        let control = File::options()
            .read(true)
            .write(true)
            .open("/dev/loop-control")
            .doing(|| "open /dev/loop-control".to_owned())?;
        let mut last = io::Error::other("never tried");
        for _ in 0..ATTEMPTS_MAX {
            // SAFETY: the call takes no argument.
            let free = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
            if free < 0 {
                return Err(io::Error::last_os_error()).doing(|| "find a free loop device".to_owned());
            }
            let number = u64::from(free.unsigned_abs());
            match configure(image, scratch, number) {
                Ok(device) => return Ok(device),
                // Somebody else was faster.
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => last = e,
                Err(e) => return Err(e).doing(|| format!("attach loop device {number}")),
            }
        }
        Err(last).doing(|| "attach a loop device".to_owned())
    }
}

fn configure(image: &File, scratch: &Path, number: u64) -> io::Result<LoopDevice> {
    let node = scratch.join(format!("loop{number}"));
    let device = makedev(LOOP_MAJOR, number);
    match mknod(&node, SFlag::S_IFBLK, Mode::S_IRUSR | Mode::S_IWUSR, device) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
        Err(e) => return Err(e.into()),
    }
    let held = File::options().read(true).write(true).open(&node)?;
    let config = Config {
        fd: image.as_raw_fd().cast_unsigned(),
        block_size: 0,
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: AUTOCLEAR,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
        reserved: [0; 8],
    };
    // SAFETY: the call reads one `struct loop_config` through the pointer, which lives until it returns.
    if unsafe { libc::ioctl(held.as_raw_fd(), LOOP_CONFIGURE, &raw const config) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(LoopDevice {
        _held: held,
        node,
        number,
    })
}
