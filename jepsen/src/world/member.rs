//! One member: its namespace, its disk, its process, and how it is started.

use super::disk::Disk;
use super::error::{Doing, WorldError};
use super::http::{CLIENT_PORT, PEER_PORT};
use super::network::{Namespace, address};
use super::process::{LOOK, Process};
use super::skew::WallClock;
use super::throttle::Throttle;
use nix::sys::signal::Signal;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// A stopped process is seen to be so within this time.
const STOP: Duration = Duration::from_secs(5);

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its process runs.
    Running,
    /// Its process is stopped by a signal.
    Paused,
    /// Its process has ended by itself.
    Ended(ExitStatus),
    /// It was not started, or was killed.
    Down,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) number: usize,
    pub(super) namespace: Namespace,
    pub(super) disk: Disk,
    /// `initial-cluster-state`: `new` or `existing`.
    pub(super) joins: &'static str,
    /// `initial-cluster`
    pub(super) cluster: String,
    pub(super) process: Option<Process>,
    pub(super) paused: bool,
    /// strace, while it is attached.
    pub(super) tracer: Option<Process>,
    pub(super) throttle: Option<Throttle>,
    pub(super) clock: Option<WallClock>,
    /// How its processes ended by themselves, since this was last asked for.
    pub(super) exits: Vec<ExitStatus>,
    /// The end of the present process is among them.
    pub(super) noted: bool,
}

impl Member {
    pub(super) fn state(&mut self) -> State {
        match self.process.as_mut().map(Process::ended) {
            None => State::Down,
            Some(Some(status)) => {
                if !self.noted {
                    self.exits.push(status);
                    self.noted = true;
                }
                State::Ended(status)
            }
            Some(None) if self.paused => State::Paused,
            Some(None) => State::Running,
        }
    }

    pub(super) fn error(&self, what: impl Into<String>) -> WorldError {
        WorldError::Member {
            node: self.number,
            what: what.into(),
        }
    }

    pub(super) fn data(&self) -> PathBuf {
        self.disk.at().join("data")
    }

    /// The flags that an operator would give it; `extra` replace those of the same name.
    pub(super) fn flags(&self, extra: &[String]) -> Vec<String> {
        let n = self.number;
        let client = format!("http://{}:{CLIENT_PORT}", address(n));
        let peer = peer_url(n);
        let flags = [
            ("name", member_name(n)),
            ("data-dir", self.data().to_string_lossy().into_owned()),
            ("listen-client-urls", client.clone()),
            ("advertise-client-urls", client),
            ("listen-peer-urls", peer.clone()),
            ("initial-advertise-peer-urls", peer),
            ("initial-cluster", self.cluster.clone()),
            ("initial-cluster-state", self.joins.to_owned()),
            ("initial-cluster-token", "jepsen".to_owned()),
        ];
        let replaced = |name: &str| {
            extra
                .iter()
                .any(|e| e.trim_start_matches('-').split('=').next() == Some(name))
        };
        flags
            .into_iter()
            .filter(|(name, _)| !replaced(name))
            .map(|(name, value)| format!("--{name}={value}"))
            .chain(extra.iter().cloned())
            .collect()
    }

    pub(super) fn kill(&mut self) {
        // If it has ended by itself, that is not forgotten.
        self.state();
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
        // It has nothing to trace any more, and ends.
        self.tracer = None;
        self.paused = false;
    }

    /// SIGSTOP; returns when every thread stands still or waits in the kernel.
    pub(super) fn pause(&mut self) -> Result<(), WorldError> {
        let Some(process) = self.process.as_mut() else {
            return Err(self.error("is not running"));
        };
        process.signal(Signal::SIGSTOP)?;
        self.paused = true;
        let tasks = format!("/proc/{}/task", process.pid());
        let deadline = Instant::now() + STOP;
        while threads_moving(&tasks).doing(|| format!("read {tasks}"))? {
            if Instant::now() > deadline {
                return Err(self.error(format!("does not stop within {STOP:?}")));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    pub(super) fn resume(&mut self) -> Result<(), WorldError> {
        let Some(process) = self.process.as_mut() else {
            return Err(self.error("is not running"));
        };
        process.signal(Signal::SIGCONT)?;
        self.paused = false;
        Ok(())
    }
}

/// Whether any thread of a process is on a processor or about to be. One in an uninterruptible wait, for a disk, cannot
/// send anything before it sees the signal.
fn threads_moving(tasks: &str) -> std::io::Result<bool> {
    for task in std::fs::read_dir(tasks)? {
        let Ok(stat) = std::fs::read_to_string(task?.path().join("stat")) else {
            // The thread ended meanwhile.
            continue;
        };
        // The state follows the name, which is in parentheses and may have any characters.
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        if matches!(state, Some('R' | 'S')) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn member_name(node: usize) -> String {
    format!("n{node}")
}

/// Where a member is reached by its peers.
pub fn peer_url(node: usize) -> String {
    format!("http://{}:{PEER_PORT}", address(node))
}
