//! One fault with everything that is decided before a run.

use super::kind::Kind;
use super::shape::Shape;
use serde::{Deserialize, Serialize};

/// A fault and its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its number in `faults.jsonl`, from 1.
    pub id: u64,
    /// When it begins, milliseconds after the clients did.
    pub at_ms: u64,
    /// How long it lasts. What ends by itself may end before, what undoes itself a little later.
    pub for_ms: u64,
    pub fault: Fault,
}

/// Who is struck.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Victims {
    Nodes(Vec<usize>),
    /// Whoever leads when it begins.
    Leader,
}

/// Which way packets between clients and members are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    Both,
    /// Requests do not arrive.
    In,
    /// Answers do not arrive.
    Out,
}

/// How a removed member comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Return {
    Voter,
    /// As a learner, promoted as soon as it may be.
    Learner,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    Kill(Victims),
    Pause(Victims),
    PowerLoss(Victims),
    Partition(Shape),
    ClientPartition {
        victims: Victims,
        way: Way,
    },
    Loss {
        victims: Victims,
        percent: u8,
    },
    Delay {
        victims: Victims,
        delay_ms: u64,
        jitter_ms: u64,
    },
    Blackhole {
        victims: Victims,
        way: Way,
    },
    SlowDisk {
        victims: Victims,
        bytes_per_s: u64,
        writes_per_s: u64,
    },
    FsyncError(Victims),
    FsyncSlow {
        victims: Victims,
        delay_ms: u64,
    },
    FsyncLie {
        node: usize,
    },
    DiskFull(Victims),
    Clock {
        victims: Victims,
        offset_ms: i64,
        drift_ppm: i64,
        strobe_ms: i64,
        strobe_period_ms: u64,
    },
    Churn {
        victims: Victims,
        how: Return,
    },
    Leader {
        /// Which of the followers follows it, counted from 0 and around.
        choice: usize,
    },
    Compact {
        every_ms: u64,
        /// Up to this many revisions behind the newest.
        behind_max: i64,
        seed: u64,
    },
    Defrag(Victims),
    Snapshot {
        node: usize,
    },
    BitFlip {
        node: usize,
        flips: usize,
        seed: u64,
    },
    /// By number, as the schedulers.
    KillApiserver(Vec<usize>),
    PauseApiserver(Vec<usize>),
    CutApiserver {
        servers: Vec<usize>,
        /// The members that it does not reach.
        victims: Victims,
    },
    KillScheduler(Vec<usize>),
    PauseScheduler(Vec<usize>),
}

impl Fault {
    pub fn kind(&self) -> Kind {
        match self {
            Fault::Kill(_) => Kind::Kill,
            Fault::Pause(_) => Kind::Pause,
            Fault::PowerLoss(_) => Kind::PowerLoss,
            Fault::Partition(_) => Kind::Partition,
            Fault::ClientPartition { .. } => Kind::ClientPartition,
            Fault::Loss { .. } => Kind::Loss,
            Fault::Delay { .. } => Kind::Delay,
            Fault::Blackhole { .. } => Kind::Blackhole,
            Fault::SlowDisk { .. } => Kind::SlowDisk,
            Fault::FsyncError(_) => Kind::FsyncError,
            Fault::FsyncSlow { .. } => Kind::FsyncSlow,
            Fault::FsyncLie { .. } => Kind::FsyncLie,
            Fault::DiskFull(_) => Kind::DiskFull,
            Fault::Clock { .. } => Kind::Clock,
            Fault::Churn { .. } => Kind::Churn,
            Fault::Leader { .. } => Kind::Leader,
            Fault::Compact { .. } => Kind::Compact,
            Fault::Defrag(_) => Kind::Defrag,
            Fault::Snapshot { .. } => Kind::Snapshot,
            Fault::BitFlip { .. } => Kind::BitFlip,
            Fault::KillApiserver(_) => Kind::KillApiserver,
            Fault::PauseApiserver(_) => Kind::PauseApiserver,
            Fault::CutApiserver { .. } => Kind::CutApiserver,
            Fault::KillScheduler(_) => Kind::KillScheduler,
            Fault::PauseScheduler(_) => Kind::PauseScheduler,
        }
    }
}
