//! What can go wrong with a proposal or a read, as callers branch on it.

/// Cloneable so that a failure of the node reaches everyone who waits on it.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Another member leads: ask it.
    #[error("not the leader (leader: {leader:?})")]
    NotLeader { leader: Option<u64> },
    /// No leader is known at the moment: try again.
    #[error("no leader")]
    Unavailable,
    /// More is committed than applied, or more is in flight than allowed: try again later.
    #[error("too many requests are pending")]
    TooManyPending,
    /// One command is larger than the log takes.
    #[error("command of {bytes} bytes is over the limit of {limit_bytes}")]
    TooLarge { bytes: usize, limit_bytes: usize },
    /// Several members are not built yet: snapshots and messages between members.
    #[error("not supported: {0}")]
    Unsupported(&'static str),
    /// Storage failed or is damaged. The node is dead; the process must exit and start again.
    #[error("fatal: {0}")]
    Fatal(String),
    /// The node was shut down.
    #[error("shut down")]
    Shutdown,
}

impl Error {
    pub(crate) fn not_leader(leader: Option<u64>) -> Self {
        match leader {
            Some(_) => Error::NotLeader { leader },
            None => Error::Unavailable,
        }
    }
}
