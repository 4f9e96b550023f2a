//! The runner's own namespaces. Bridge, mounts and scratch files are made in them and go with the last process.

use super::error::{Doing, WorldError};
use super::network;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::io;

/// Puts the calling thread, and whatever it starts from now on, into network and mount namespaces of its own. A
/// program calls it first of all, before other threads are there.
///
/// # Errors
/// [`WorldError::NotRoot`], and those of the system.
pub fn enter() -> Result<(), WorldError> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).map_err(|e| match e {
        nix::errno::Errno::EPERM => WorldError::NotRoot(io::Error::from(e)),
        e => WorldError::Io {
            doing: "make network and mount namespaces".to_owned(),
            source: e.into(),
        },
    })?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).doing(|| "keep mounts private".to_owned())?;
    network::loopback_up()
}
