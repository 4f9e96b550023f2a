//! The vocabulary of the log.
use crate::disk::{Disk, OsDisk};
use bytes::Bytes;
use std::{fmt, path::PathBuf, sync::Arc};

/// Where an entry stands: the term that proposed it and its index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    pub term: u64,
    pub index: u64,
}

/// One entry. `tag` is the caller's: what kind of payload this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: EntryId,
    pub tag: u8,
    pub payload: Bytes,
}

/// A vote of this member, or the knowledge that a quorum granted it (`committed`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    pub term: u64,
    pub node: u64,
    pub committed: bool,
}

/// What the log holds now, changes that are not yet durable included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Index of the oldest entry present.
    pub first: Option<u64>,
    /// The newest entry, or what was purged last if no entry is present.
    pub last: Option<EntryId>,
    pub purged: Option<EntryId>,
    pub vote: Option<Vote>,
}

/// For metrics and tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub syncs: u64,
    pub written_bytes: u64,
    pub segments: usize,
    pub recycled_segments: u64,
    pub tail_bytes: usize,
}

#[derive(Clone)]
pub struct Options {
    pub dir: PathBuf,
    /// Kept in every segment and compared at open, so that folders are not mixed up.
    pub cluster_id: u64,
    pub node_id: u64,
    /// Size of a segment in bytes; one entry that is larger gets a segment of its own size.
    pub segment_bytes: u64,
    /// Payload bytes kept in memory for readers; entries that are not durable yet always are.
    pub tail_bytes: usize,
    pub disk: Arc<dyn Disk>,
}

impl Options {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Options {
            dir: dir.into(),
            cluster_id: 0,
            node_id: 0,
            segment_bytes: 64 << 20,
            tail_bytes: 4 << 20,
            disk: Arc::new(OsDisk),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("dir", &self.dir)
            .field("segment_bytes", &self.segment_bytes)
            .field("tail_bytes", &self.tail_bytes)
            .finish_non_exhaustive()
    }
}
