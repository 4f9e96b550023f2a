//! What one simulation is told.

use std::path::PathBuf;

/// A bug that is put in on purpose, to see whether it is found. Each is in what the simulator gives to the members, and
/// none in the members themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bug {
    #[default]
    None,
    /// The disk says that a sync is done when nothing is.
    AckBeforeSync,
    /// The disk forgets votes.
    VoteNotDurable,
    /// Reads do not ask whether the member is still up to date.
    ReadWithoutQuorum,
    /// A transaction's guards are judged on an older state than it is applied to.
    GuardsJudgedEarly,
    /// Whoever keeps the leases' time is not told of an installed state.
    InstallForgetsLeases,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    /// Members at the start: 1, 3 or 5.
    pub members: u64,
    /// Requests of all clients together.
    pub steps: u64,
    pub bug: Bug,
    /// Of a thousand votes, how many the voter does not survive: it dies before it can answer, and is back at once.
    pub voters_die_permille: u64,
    /// Keep every line of the trace, not the last ones only.
    pub keep_trace: bool,
    /// Where the members' folders are made; removed at the end.
    pub root: PathBuf,
}

impl Options {
    pub fn new(seed: u64) -> Self {
        let memory = PathBuf::from("/dev/shm");
        Options {
            seed,
            members: [3, 3, 3, 5, 1].get(seed as usize % 5).copied().unwrap_or(3),
            steps: 300,
            bug: Bug::None,
            voters_die_permille: 0,
            keep_trace: false,
            root: if memory.is_dir() { memory } else { std::env::temp_dir() },
        }
    }
}
