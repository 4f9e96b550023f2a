//! What can go wrong with a proposal, a read or a change of members, as callers branch on it.

/// Cloneable so that a failure of the node reaches everyone who waits on it.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Another member leads, and this cannot be forwarded: ask it.
    #[error("not the leader (leader: {leader:?})")]
    NotLeader { leader: Option<u64> },
    /// No leader is known at the moment: nothing was done, try again.
    #[error("no leader")]
    Unavailable,
    /// The leader changed while this was under way. Whether a command will be applied is unknown.
    #[error("leader changed")]
    LeaderChanged,
    /// No answer in time. Whether a command will be applied is unknown.
    #[error("request timed out")]
    TimedOut,
    /// The same, and the leader was lost meanwhile.
    #[error("request timed out, possibly due to previous leader failure")]
    LeaderLost,
    /// The transferee did not lead within an election timeout.
    #[error("request timed out, leader transfer took too long")]
    TransferTimedOut,
    /// More is committed than applied, or more is in flight than allowed: try again later.
    #[error("too many requests are pending")]
    TooManyPending,
    /// One command is larger than the log takes.
    #[error("command of {bytes} bytes is over the limit of {limit_bytes}")]
    TooLarge { bytes: usize, limit_bytes: usize },
    /// The group has no such member.
    #[error("member {0:x} is not in the group")]
    NotMember(u64),
    /// The group has this member already, or had it once.
    #[error("member {0:x} is in the group, or was")]
    AlreadyMember(u64),
    /// Only a learner can be promoted.
    #[error("member {0:x} is not a learner")]
    NotLearner(u64),
    /// Only a voter can lead.
    #[error("member {0:x} does not vote")]
    NotVoter(u64),
    /// Another change of members is under way: try again.
    #[error("another change of members is under way")]
    ChangeInProgress,
    /// A group has at least one voter.
    #[error("the last voter cannot leave")]
    LastVoter,
    /// This member was removed from its group for good; the process should end.
    #[error("the member has been permanently removed from the cluster")]
    Removed,
    /// The machine or the set-up cannot do this.
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
