//! A bridge in the runner's namespace, and for every member a namespace with one end of a veth pair.

use super::command::run;
use super::error::{Doing, WorldError};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;

const BRIDGE: &str = "keelson";
/// The runner's own address, from which clients come.
pub const CLIENTS: &str = "10.77.0.254";

/// The address of a member, numbered from 1.
pub fn address(node: usize) -> String {
    format!("10.77.0.{node}")
}

pub(super) fn loopback_up() -> Result<(), WorldError> {
    run("ip", &["link", "set", "lo", "up"], "").map(drop)
}

/// Makes the bridge in the calling thread's namespace.
pub(super) fn make_bridge() -> Result<(), WorldError> {
    run("ip", &["link", "add", BRIDGE, "type", "bridge"], "")?;
    run("ip", &["address", "add", &format!("{CLIENTS}/24"), "dev", BRIDGE], "")?;
    run("ip", &["link", "set", BRIDGE, "up"], "").map(drop)
}

pub(super) fn remove_bridge() -> Result<(), WorldError> {
    run("ip", &["link", "delete", BRIDGE], "").map(drop)
}

/// The network namespace of one member. It goes with the last process in it and the last clone of this.
#[derive(Clone, Debug)]
pub(super) struct Namespace {
    file: Arc<File>,
}

impl Namespace {
    /// A namespace that is plugged into the bridge.
    pub(super) fn plug(node: usize) -> Result<Namespace, WorldError> {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        let file = made
            .join()
            .unwrap_or_else(|_| Err(std::io::Error::other("the thread panicked")))
            .doing(|| "make a network namespace".to_owned())?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        let link = format!("member{node}");
        run(
            "ip",
            &[
                "link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &path,
            ],
            "",
        )?;
        run("ip", &["link", "set", &link, "master", BRIDGE, "up"], "")?;
        let namespace = Namespace { file: Arc::new(file) };
        namespace.inside(|| {
            loopback_up()?;
            run(
                "ip",
                &["address", "add", &format!("{}/24", address(node)), "dev", "eth0"],
                "",
            )?;
            run("ip", &["link", "set", "eth0", "up"], "").map(drop)
        })??;
        Ok(namespace)
    }

    pub(super) fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    /// Runs `work` inside, on a thread of its own: sockets that it makes belong to the namespace.
    pub(super) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, WorldError> {
        std::thread::scope(|scope| {
            let inner = scope.spawn(|| {
                setns(&*self.file, CloneFlags::CLONE_NEWNET).doing(|| "enter a network namespace".to_owned())?;
                Ok(work())
            });
            match inner.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}
