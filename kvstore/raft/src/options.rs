//! What a node is told at its start.
use crate::{Disk, Member};
use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

/// Times of the election, etcd's by default.
#[derive(Clone, Debug)]
pub struct Timers {
    pub heartbeat: Duration,
    pub election: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Timers {
            heartbeat: Duration::from_millis(100),
            election: Duration::from_millis(1000),
        }
    }
}

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
    /// Log beyond the state machine's durable index that asks for a flush.
    pub flush_log_bytes: u64,
    /// What a new group says of this member.
    pub member: Member,
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
            member: Member::default(),
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
