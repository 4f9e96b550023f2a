//! How each bug is hunted: a row a bug.

use keelson_bugs::Bug;
use std::time::Duration;

/// The program that has the bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The datastore alone.
    Kvstore,
    /// All of Keelson: the API server as well.
    Keelson,
}

impl Program {
    pub(super) fn package(self) -> &'static str {
        match self {
            Program::Kvstore => "keelson-kvstore-cli",
            Program::Keelson => "keelson",
        }
    }

    pub(super) fn binary(self) -> &'static str {
        match self {
            Program::Kvstore => "keelson-kvstore",
            Program::Keelson => "keelson",
        }
    }
}

/// How one bug is hunted.
#[derive(Clone, Debug)]
pub struct Row {
    pub bug: Bug,
    pub program: Program,
    pub workloads: &'static [&'static str],
    pub faults: &'static [&'static str],
    pub nodes: u8,
    /// Seeds of the first runs; those that follow count up from the last.
    pub seeds: &'static [u64],
    /// How long faults strike in one run.
    pub time: Duration,
    /// No run begins later than this.
    pub budget: Duration,
    /// Flags of the members.
    pub flags: &'static [&'static str],
    /// Options of the run, by name.
    pub options: &'static [(&'static str, &'static str)],
    /// Checkers, and the names under which each may find the bug.
    pub expect: &'static [(&'static str, &'static [&'static str])],
}

impl Row {
    /// The seed of a run; `first` takes the place of the row's own.
    pub(super) fn seed(&self, first: Option<u64>, number: u64) -> u64 {
        if let Some(first) = first {
            return first.wrapping_add(number);
        }
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        match (self.seeds.get(at), self.seeds.last()) {
            (Some(seed), _) => *seed,
            (None, Some(last)) => last.wrapping_add(number + 1 - self.seeds.len() as u64),
            (None, None) => number + 1,
        }
    }
}

/// What most rows have.
const USUAL: Row = Row {
    bug: Bug::AckBeforeFsync,
    program: Program::Kvstore,
    workloads: &[],
    faults: &["none"],
    nodes: 3,
    seeds: &[1],
    time: Duration::from_secs(20),
    budget: Duration::from_secs(90),
    flags: &[],
    options: &[],
    expect: &[],
};

/// Snapshots, which are flushes of the state, every few entries, and a log that ends soon behind them: members that were
/// away are sent the state, and restarts find it on disk.
const SNAPSHOTS_OFTEN: &[&str] = &["--snapshot-count=20", "--snapshot-catchup-entries=5"];
/// Hardly any snapshot: a restart finds what is in the log, and nothing else.
const SNAPSHOTS_SELDOM: &[&str] = &["--snapshot-count=100000"];

/// How the checkers of registers tell that an acknowledged write is gone.
const LOST: (&str, &[&str]) = (
    "register-replay",
    &["lost-write", "stale-read", "revision-rewind", "duplicate-revision"],
);

/// All rows, in the order of [`Bug::ALL`].
pub fn rows() -> Vec<Row> {
    vec![
        Row {
            bug: Bug::AckBeforeFsync,
            workloads: &["register"],
            // Of all at once, as this seed has it soon: what a minority loses, the others still have.
            faults: &["power-loss"],
            flags: SNAPSHOTS_SELDOM,
            budget: Duration::from_secs(120),
            expect: &[LOST, ("replay", &["lost-write", "member-disagreement"])],
            ..USUAL
        },
        Row {
            bug: Bug::VoteNotPersisted,
            workloads: &["register", "terms"],
            // Of all at once: while one is left that remembers the term, the others learn it from that one.
            faults: &["kill"],
            seeds: &[3],
            budget: Duration::from_secs(120),
            expect: &[
                ("terms", &["term-rewind", "two-leaders"]),
                LOST,
                ("replay", &["lost-write", "member-disagreement"]),
            ],
            ..USUAL
        },
        Row {
            bug: Bug::ReadWithoutQuorum,
            workloads: &["register"],
            faults: &["partition"],
            expect: &[
                ("register-replay", &["stale-read"]),
                ("register-linearizable", &["non-linearizable"]),
            ],
            ..USUAL
        },
        Row {
            bug: Bug::GuardBeforeApply,
            workloads: &["register"],
            time: Duration::from_secs(10),
            expect: &[
                ("register-replay", &["lost-update", "refused-update"]),
                ("register-linearizable", &["non-linearizable"]),
            ],
            ..USUAL
        },
        Row {
            bug: Bug::EventLostOnCompaction,
            // Spectators that were cut off resume below what the clients have compacted meanwhile.
            workloads: &["past"],
            faults: &["kill"],
            expect: &[("watch", &["lost-event", "wrong-compacted-cancel"])],
            ..USUAL
        },
        Row {
            bug: Bug::DuplicateAfterReconnect,
            workloads: &["register"],
            faults: &["kill"],
            time: Duration::from_secs(12),
            expect: &[("watch", &["duplicate-event", "before-start-event"])],
            ..USUAL
        },
        Row {
            bug: Bug::TxnEventsSplit,
            workloads: &["watch"],
            time: Duration::from_secs(10),
            expect: &[("watch", &["split-revision", "partial-revision"])],
            ..USUAL
        },
        Row {
            bug: Bug::EarlyProgressNotify,
            workloads: &["watch"],
            time: Duration::from_secs(15),
            // Stale is a promise below the start of a watch in the future, which is not due yet.
            expect: &[("watch", &["early-progress", "stale-progress"])],
            ..USUAL
        },
        Row {
            bug: Bug::CompactionOffByOne,
            workloads: &["past"],
            time: Duration::from_secs(15),
            expect: &[("past", &["wrong-past"])],
            ..USUAL
        },
        Row {
            bug: Bug::RevisionRewindsAfterCrash,
            workloads: &["register"],
            faults: &["kill"],
            flags: SNAPSHOTS_OFTEN,
            budget: Duration::from_secs(120),
            expect: &[
                LOST,
                ("replay", &["member-disagreement", "final-state-differs", "lost-write"]),
            ],
            ..USUAL
        },
        Row {
            bug: Bug::LeaseOnWallClock,
            workloads: &["lease"],
            faults: &["clock"],
            expect: &[("lease", &["early-expiry"])],
            ..USUAL
        },
        Row {
            bug: Bug::LockWithoutLeaseCheck,
            // A holder that is held up, or whose member is, keeps those behind it waiting beyond their leases.
            workloads: &["lock"],
            faults: &["pause"],
            expect: &[("lock", &["expired-holder", "overlapping-holders", "fencing-violation"])],
            ..USUAL
        },
        Row {
            bug: Bug::SnapshotInstallSkipsWatchers,
            workloads: &["register"],
            faults: &["snapshot"],
            flags: SNAPSHOTS_OFTEN,
            expect: &[("watch", &["lost-event"])],
            ..USUAL
        },
        Row {
            bug: Bug::ResourceVersionIgnored,
            program: Program::Keelson,
            workloads: &["kube-rv"],
            expect: &[("kube", &["precondition-ignored"])],
            ..USUAL
        },
        Row {
            bug: Bug::StaleList,
            program: Program::Keelson,
            workloads: &["kube-watch", "kube-page"],
            // What keeps a cache behind its store: a member that stands still or is out of reach.
            faults: &["pause", "cut-apiserver"],
            expect: &[("kube", &["stale-list"])],
            ..USUAL
        },
        Row {
            bug: Bug::CacheSkipsEvent,
            program: Program::Keelson,
            workloads: &["kube-watch"],
            expect: &[("kube", &["lost-event"])],
            ..USUAL
        },
    ]
}
