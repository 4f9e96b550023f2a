//! What a world is made of.

use super::kube::KubeSpec;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program that is tested. Both take the same flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Ours: `keelson-kvstore`, or `keelson`, which is then run as `keelson kvstore`.
    Keelson(PathBuf),
    /// A real etcd.
    Etcd(PathBuf),
}

impl Target {
    pub fn name(&self) -> &'static str {
        match self {
            Target::Keelson(_) => "keelson",
            Target::Etcd(_) => "etcd",
        }
    }

    pub fn program(&self) -> &Path {
        match self {
            Target::Keelson(path) | Target::Etcd(path) => path,
        }
    }

    /// Words between the program and its flags.
    pub(super) fn verb(&self) -> Option<&'static str> {
        match self {
            Target::Keelson(path) if path.file_name().is_some_and(|name| name == "keelson") => Some("kvstore"),
            _ => None,
        }
    }

    /// Whether a flipped bit in this file must be noticed or do no harm. bbolt has no sums for its pages; what RocksDB
    /// tells of itself for people is read by nobody.
    pub(super) fn guards(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match self {
            Target::Keelson(_) => !name.starts_with("LOG") && !name.starts_with("OPTIONS-"),
            Target::Etcd(_) => name.ends_with(".wal") || name.ends_with(".snap"),
        }
    }

    /// What the program says of itself, in one line.
    ///
    /// # Errors
    /// When it cannot be run, or tells nothing.
    pub fn version(&self) -> std::io::Result<String> {
        let out = Command::new(self.program())
            .args(self.verb())
            .arg("--version")
            .output()?;
        let text = String::from_utf8_lossy(&out.stdout);
        if !out.status.success() || text.trim().is_empty() {
            return Err(std::io::Error::other(format!("{}, and it told no version", out.status)));
        }
        Ok(text.lines().map(str::trim).collect::<Vec<_>>().join("; "))
    }
}

/// What has to be built into a world for some faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Equipment {
    /// Peer links go through proxies of the runner's own, which can delay and swallow.
    pub proxies: bool,
    /// Members of ours read the wall clock through a shim.
    pub clocks: bool,
    /// Members are in control groups of their own, which can slow their disks down.
    pub throttles: bool,
}

/// A world to be started.
#[derive(Clone, Debug)]
pub struct WorldSpec {
    /// How many members; they are numbered from 1.
    pub nodes: usize,
    pub target: Target,
    /// More flags of every member, as `--name=value`; they replace those of the same name.
    pub flags: Vec<String>,
    /// A seeded bug: the value of `KEELSON_BUG`.
    pub bug: Option<String>,
    /// Size of each member's disk.
    pub disk_mib: u64,
    pub equipment: Equipment,
    /// API servers and schedulers on the members.
    pub kube: Option<KubeSpec>,
}

impl WorldSpec {
    /// The usual disks, no bug, nothing for special faults.
    pub fn new(nodes: usize, target: Target) -> WorldSpec {
        WorldSpec {
            nodes,
            target,
            flags: Vec::new(),
            bug: None,
            disk_mib: 512,
            equipment: Equipment::default(),
            kube: None,
        }
    }
}
