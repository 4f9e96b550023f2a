//! What a node is told at its start.
use crate::{Disk, Member};
use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

/// etcd's request timeout: this, and two elections.
const REQUEST_TIMEOUT_BASE: Duration = Duration::from_secs(5);

/// Times of the election, etcd's by default.
#[derive(Clone, Debug)]
pub struct Timers {
    pub heartbeat: Duration,
    /// A follower that hears nothing for this long, up to twice, asks for votes; a leader without its quorum for this
    /// long is none. At least twice the heartbeat.
    pub election: Duration,
    pub pre_vote: bool,
}

impl Default for Timers {
    fn default() -> Self {
        Timers {
            heartbeat: Duration::from_millis(100),
            election: Duration::from_millis(1000),
            pre_vote: true,
        }
    }
}

impl Timers {
    /// How long a proposal or a read is waited for.
    pub fn request(&self) -> Duration {
        REQUEST_TIMEOUT_BASE + self.election * 2
    }
}

/// The election's times as openraft takes them, in milliseconds. A follower waits for its lease of the leader (`max`)
/// and then for a random part of `min..max`: that is etcd's "once to twice the election timeout".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub heartbeat: u64,
    pub min: u64,
    pub max: u64,
}

impl Times {
    pub(crate) fn of(timers: &Timers) -> Self {
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX >> 8).max(1);
        let (heartbeat, election) = (millis(timers.heartbeat), millis(timers.election));
        let min = (election / 4).max(heartbeat + 1);
        Times {
            heartbeat,
            min,
            max: election.max(min + 1),
        }
    }
}

/// What a member does at its start. All but [`Start::ForceNew`] matter only to a member whose log is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Forms the group that is listed, this member among it. Every member is told the same list.
    Form(BTreeMap<u64, Member>),
    /// Waits for a leader that adds it.
    Join,
    /// Keeps the data, all of the log included, and becomes a group of one. Without data it is [`Start::Form`] of this
    /// member alone.
    ForceNew,
}

impl Start {
    /// A group of this member.
    pub fn alone(options: &Options) -> Self {
        Start::Form(BTreeMap::from([(options.node_id, options.member.clone())]))
    }
}

/// Whether a member was removed once, by id, as the machine knows it.
pub type WasRemoved = Arc<dyn Fn(u64) -> bool + Send + Sync>;

#[derive(Clone)]
pub struct Options {
    /// Never 0.
    pub node_id: u64,
    pub cluster_id: u64,
    /// Folder of the log; made if absent.
    pub dir: PathBuf,
    pub timers: Timers,
    /// Size of one file of the log.
    pub segment_bytes: u64,
    /// Log beyond the state machine's durable index that asks for a flush, in bytes and in entries: replay costs by
    /// the entry too.
    pub flush_log_bytes: u64,
    pub flush_entries: u64,
    /// Entries kept in the log below a flush, so that a follower that was away catches up from the log.
    pub catchup_entries: u64,
    /// What a group of this member alone says of it.
    pub member: Member,
    /// Removed members are told so when they call. Those that this process saw leave are known without it.
    pub was_removed: Option<WasRemoved>,
    /// The log's disk, if not the machine's own.
    pub disk: Option<Arc<dyn Disk>>,
}

impl Options {
    pub fn new(node_id: u64, cluster_id: u64, dir: impl Into<PathBuf>) -> Self {
        Options {
            node_id,
            cluster_id,
            dir: dir.into(),
            timers: Timers::default(),
            segment_bytes: 64 << 20,
            flush_log_bytes: 32 << 20,
            flush_entries: 200_000,
            catchup_entries: 5000,
            member: Member::default(),
            was_removed: None,
            disk: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("node_id", &self.node_id)
            .field("cluster_id", &self.cluster_id)
            .field("dir", &self.dir)
            .field("timers", &self.timers)
            .finish_non_exhaustive()
    }
}
