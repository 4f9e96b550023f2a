//! The faults by name, and what each of them needs.

use crate::world::{Equipment, Target};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! kinds {
    ($($(#[$about:meta])* $variant:ident = $name:literal,)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Kind { $($(#[$about])* $variant,)* }

        impl Kind {
            /// All of them.
            pub const ALL: &[Kind] = &[$(Kind::$variant,)*];

            /// What the command line and `faults.jsonl` call it.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name,)* }
            }
        }
    };
}

kinds! {
    /// SIGKILL, and a start later.
    Kill = "kill",
    /// SIGSTOP and SIGCONT.
    Pause = "pause",
    /// The process and everything that was not synced is gone.
    PowerLoss = "power-loss",
    /// Peers that do not reach each other: halves, bridges, rings, one-way.
    Partition = "partition",
    /// Clients that do not reach members, or are not answered.
    ClientPartition = "client-partition",
    /// A share of the packets is dropped.
    Loss = "loss",
    /// Peer links take longer, by turns.
    Delay = "delay",
    /// Peer links take bytes and hand none on.
    Blackhole = "blackhole",
    /// Disks write little and seldom.
    SlowDisk = "slow-disk",
    /// Syncs fail with EIO.
    FsyncError = "fsync-error",
    /// Syncs take hundreds of milliseconds.
    FsyncSlow = "fsync-slow",
    /// Syncs of one member do nothing, then its power goes; it is replaced.
    FsyncLie = "fsync-lie",
    /// No space left.
    DiskFull = "disk-full",
    /// Wall clocks jump, drift and strobe.
    Clock = "clock",
    /// Members are removed and come again with nothing, as voters or as learners.
    Churn = "churn",
    /// The leadership is handed on.
    Leader = "leader",
    /// Compactions, many and close behind the newest revision.
    Compact = "compact",
    /// Defragmentations.
    Defrag = "defrag",
    /// A member is cut off until the others' logs begin after its own.
    Snapshot = "snapshot",
    /// Bits flip in the files of one member; it is replaced when it notices.
    BitFlip = "bit-flip",
    /// SIGKILL of API servers, and a start later.
    KillApiserver = "kill-apiserver",
    /// SIGSTOP and SIGCONT of API servers.
    PauseApiserver = "pause-apiserver",
    /// An API server that does not reach some or all members.
    CutApiserver = "cut-apiserver",
    /// SIGKILL of schedulers, and a start later.
    KillScheduler = "kill-scheduler",
    /// SIGSTOP and SIGCONT of schedulers, longer than their Lease lasts or shorter.
    PauseScheduler = "pause-scheduler",
}

impl Kind {
    /// What a world needs for these faults.
    pub fn equipment(kinds: &[Kind]) -> Equipment {
        Equipment {
            proxies: kinds.iter().any(|k| matches!(k, Kind::Delay | Kind::Blackhole)),
            clocks: kinds.contains(&Kind::Clock),
            throttles: kinds.contains(&Kind::SlowDisk),
        }
    }

    /// Whether it strikes API servers or schedulers.
    pub fn needs_kube(self) -> bool {
        matches!(
            self,
            Kind::KillApiserver
                | Kind::PauseApiserver
                | Kind::CutApiserver
                | Kind::KillScheduler
                | Kind::PauseScheduler
        )
    }

    /// Why it cannot be done to this target, with API servers (`kube`) or without; `None` when it can.
    pub fn impossible(self, target: &Target, kube: bool) -> Option<&'static str> {
        if self.needs_kube() && !kube {
            return Some("no workload of the run has API servers");
        }
        match (self, target) {
            (Kind::Clock, Target::Etcd(_)) => Some("Go asks the kernel for the time, where no shim is"),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Kind, String> {
        let known = || Kind::ALL.iter().map(|k| k.name()).collect::<Vec<_>>().join(", ");
        Kind::ALL
            .iter()
            .copied()
            .find(|k| k.name() == name)
            .ok_or_else(|| format!("no fault is named {name:?}: there are {}, random, all, none", known()))
    }
}

/// How many kinds `random` chooses.
const RANDOM_KINDS: std::ops::RangeInclusive<usize> = 2..=5;

/// The kinds that are asked for by these words: names, `all`, `none`, and `random`, which the seed chooses by.
///
/// # Errors
/// A sentence for a name that there is not, and for a fault that the target cannot have.
pub fn choose(words: &[String], seed: u64, target: &Target, kube: bool) -> Result<Vec<Kind>, String> {
    let possible = || {
        Kind::ALL
            .iter()
            .copied()
            .filter(|k| k.impossible(target, kube).is_none())
    };
    let mut chosen: Vec<Kind> = Vec::new();
    for word in words {
        match word.as_str() {
            "none" => {}
            "all" => chosen.extend(possible()),
            "random" => {
                let mut rng = StdRng::seed_from_u64(seed);
                let mut deck: Vec<Kind> = possible().collect();
                deck.shuffle(&mut rng);
                deck.truncate(rng.random_range(RANDOM_KINDS));
                chosen.extend(deck);
            }
            name => {
                let kind: Kind = name.parse()?;
                if let Some(why) = kind.impossible(target, kube) {
                    return Err(format!("{kind} is not for {}: {why}", target.name()));
                }
                chosen.push(kind);
            }
        }
    }
    chosen.sort_unstable();
    chosen.dedup();
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words_choose_kinds() {
        let (ours, etcd) = (Target::Keelson("k".into()), Target::Etcd("e".into()));
        let words = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            choose(&words("pause,kill,kill"), 1, &ours, true).unwrap(),
            [Kind::Kill, Kind::Pause]
        );
        assert_eq!(choose(&words("none"), 1, &ours, true).unwrap(), []);
        assert_eq!(choose(&words("all"), 1, &ours, true).unwrap(), Kind::ALL);
        assert_eq!(
            choose(&words("all"), 1, &etcd, true).unwrap().len(),
            Kind::ALL.len() - 1
        );
        assert!(
            choose(&words("clock"), 1, &etcd, true)
                .unwrap_err()
                .contains("not for etcd")
        );
        assert!(
            choose(&words("kil"), 1, &ours, true)
                .unwrap_err()
                .contains("kill, pause")
        );
        assert!(
            choose(&words("kill-apiserver"), 1, &ours, false)
                .unwrap_err()
                .contains("no workload")
        );
        assert!(
            choose(&words("all"), 1, &ours, false)
                .unwrap()
                .iter()
                .all(|k| !k.needs_kube())
        );
        let random = choose(&words("random"), 5, &ours, true).unwrap();
        assert!(RANDOM_KINDS.contains(&random.len()));
        assert_eq!(random, choose(&words("random"), 5, &ours, true).unwrap());
    }

    #[test]
    fn names_are_those_that_are_written_down() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
