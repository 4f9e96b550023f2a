//! What the replicated log applies to.
use bytes::Bytes;

/// Where a state machine stands. Indexes count from 1: index 0 means that nothing is applied. `membership` is the log's own blob: stored beside the data, not read here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppliedState {
    pub index: u64,
    pub term: u64,
    /// Node that led `term`; raft implementations with leader ids of (term, node) need it back.
    pub leader: u64,
    pub membership: Bytes,
}

/// One committed entry. `command` is empty for entries that carry no client work (leader blanks);
/// `membership` is set on membership changes.
#[derive(Clone, Debug)]
pub struct LogEntry {
    pub index: u64,
    pub term: u64,
    pub leader: u64,
    pub command: Bytes,
    pub membership: Option<Bytes>,
}

/// A deterministic machine: the same entries in the same order give the same state and the same answers.
///
/// Duties: `applied` is written in the same batch as the data that it covers; after a crash the machine
/// stands at `durable_index() <= applied_state().index` and the log is replayed from there.
pub trait StateMachine: Send + Sync + 'static {
    /// The answer to one command, handed back to whoever proposed it.
    type Response: Send + Sync + 'static;

    fn applied_state(&self) -> AppliedState;
    /// Applies entries in order; one response each (a default for entries without a command). An error is
    /// damage of the store, never a refusal of a command: refusals are responses.
    fn apply(&self, entries: &[LogEntry]) -> Result<Vec<Self::Response>, StorageError>;
    /// Highest index whose effects are on disk: the log may be purged up to it and no further.
    fn durable_index(&self) -> Result<u64, StorageError>;
    /// Makes everything applied so far durable, atomically.
    fn flush(&self) -> Result<(), StorageError>;
}

#[derive(Debug, thiserror::Error)]
#[error("storage: {0}")]
pub struct StorageError(pub String);
