//! What can be done to members, and how it is undone.

use super::error::{Doing, WorldError};
use super::firewall::Flow;
use super::links::Pace;
use super::member::State;
use super::skew::Skew;
use super::survey::{Loss, Survey};
use super::throttle::DiskRate;
use super::trace::{self, SyncFault};
use super::{World, corrupt};
use std::path::{Path, PathBuf};

impl World {
    /// SIGKILL. It stays down.
    pub fn kill(&self, node: usize) {
        self.lock(node).kill();
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pause(&self, node: usize) -> Result<(), WorldError> {
        self.lock(node).pause()
    }

    /// SIGCONT, for one that is paused; others stay as they are.
    ///
    /// # Errors
    /// Those of the system.
    pub fn resume(&self, node: usize) -> Result<(), WorldError> {
        let mut member = self.lock(node);
        match member.state() {
            State::Paused => member.resume(),
            _ => Ok(()),
        }
    }

    /// Cuts the power of a member: its process ends, and what was not synced is gone from its disk. It stays down.
    ///
    /// # Errors
    /// Those of the system.
    pub fn power_loss(&self, node: usize) -> Result<Loss, WorldError> {
        let mut member = self.lock(node);
        let data = member.data();
        // It stands still first: a member that saw its disk fail could tell others of it.
        let stopped = match member.state() {
            State::Running => member.pause(),
            _ => Ok(()),
        };
        let survey = |what: &str| Survey::take(&data).doing(|| format!("read the disk {what} a power loss"));
        let before = stopped.and_then(|()| survey("before"));
        member.disk.cut()?;
        member.kill();
        member.disk.unmount()?;
        member.disk.mount()?;
        Ok(before?.lost(&survey("after")?))
    }

    /// Takes all the space of a member's disk. Returns how many bytes that were.
    ///
    /// # Errors
    /// Those of the system.
    pub fn fill_disk(&self, node: usize) -> Result<u64, WorldError> {
        self.lock(node).disk.fill()
    }

    /// Gives the space back.
    ///
    /// # Errors
    /// Those of the system.
    pub fn free_disk(&self, node: usize) -> Result<(), WorldError> {
        self.lock(node).disk.free()
    }

    /// Makes a member's disk slow, or as quick as it is. The world has `throttles`.
    ///
    /// # Errors
    /// [`WorldError::Unavailable`] without, and those of the system.
    pub fn slow_disk(&self, node: usize, rate: Option<DiskRate>) -> Result<(), WorldError> {
        let member = self.lock(node);
        match (&member.throttle, rate) {
            (Some(throttle), rate) => throttle.set(&member.disk.device(), rate),
            (None, None) => Ok(()),
            (None, Some(_)) => Err(WorldError::Unavailable(
                "the world was made without throttles".to_owned(),
            )),
        }
    }

    /// From now on every sync of a running member fails, lies or is slow, until it ends or `None` comes.
    ///
    /// # Errors
    /// When it does not run, or strace does not.
    pub fn sync_fault(&self, node: usize, fault: Option<SyncFault>) -> Result<(), WorldError> {
        let mut member = self.lock(node);
        match fault {
            None => {
                trace::detach(&mut member);
                Ok(())
            }
            Some(fault) => {
                let logs = self.folder.join(format!("node-{node}"));
                trace::attach(&mut member, fault, &self.spawner, &logs)
            }
        }
    }

    /// Makes a member's wall clock wrong, or right. The world has `clocks`, and its members are ours.
    ///
    /// # Errors
    /// [`WorldError::Unavailable`] otherwise.
    pub fn skew(&self, node: usize, skew: Skew) -> Result<(), WorldError> {
        match (&self.lock(node).clock, skew == Skew::default()) {
            (Some(clock), _) => clock.set(skew),
            (None, true) => Ok(()),
            (None, false) => Err(WorldError::Unavailable(
                "the members of this world cannot have wrong clocks".to_owned(),
            )),
        }
    }

    /// Drops packets of these flows, all of them or this share; the rule has the number of a fault. No flows take it
    /// away. Rules of several faults add up.
    ///
    /// # Errors
    /// Those of `nft`.
    pub fn drop_packets(&self, fault: u64, flows: &[Flow], percent: u8) -> Result<(), WorldError> {
        self.firewall.set(fault, flows, percent, &self.namespaces)
    }

    /// Sets how bytes travel from one member to another. The world has `proxies`.
    ///
    /// # Errors
    /// [`WorldError::Unavailable`] without.
    pub fn pace(&self, from: usize, to: usize, pace: Pace) -> Result<(), WorldError> {
        match &self.links {
            Some(links) => {
                links.set(from, to, pace);
                Ok(())
            }
            None => Err(WorldError::Unavailable("the world was made without proxies".to_owned())),
        }
    }

    /// Nothing is dropped and nothing is slow any more.
    ///
    /// # Errors
    /// Those of `nft`.
    pub fn mend_network(&self) -> Result<(), WorldError> {
        if let Some(links) = &self.links {
            links.clear();
        }
        self.firewall.clear(&self.namespaces)
    }

    /// A new, empty disk for a member, which is killed for it. It will join as `initial_cluster` says, or as before.
    ///
    /// # Errors
    /// Those of the system.
    pub fn replace_disk(&self, node: usize, initial_cluster: Option<String>) -> Result<(), WorldError> {
        let mut member = self.lock(node);
        member.kill();
        member.disk.renew()?;
        if let Some(cluster) = initial_cluster {
            member.joins = "existing";
            member.cluster = cluster;
        }
        Ok(())
    }

    /// Flips bits in the files of a member, which is killed for it. Returns the files and offsets, in the order of the
    /// flips.
    ///
    /// # Errors
    /// Those of the system, and when there is nothing to flip.
    pub fn flip_bits(&self, node: usize, flips: usize, seed: u64) -> Result<Vec<(PathBuf, u64)>, WorldError> {
        let mut member = self.lock(node);
        member.kill();
        let guarded = |path: &Path| self.spec.target.guards(path);
        let done = corrupt::flip(&member.data(), flips, seed, guarded);
        let done = done.doing(|| format!("flip bits of member {node}"))?;
        if done.is_empty() {
            return Err(member.error("has no file to flip bits in"));
        }
        Ok(done)
    }
}
