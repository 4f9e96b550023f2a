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

    /// The whole state as it is at one applied index, to be sent to another member. It stands still while it is read,
    /// and everything else goes on.
    fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, StorageError> {
        Err(StorageError("this machine's state cannot be sent".to_owned()))
    }

    /// Begins to receive another member's state, beside the live one, which is untouched until the end. The
    /// one that began last counts: an earlier one that is not finished takes nothing more.
    fn begin_install(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        Err(StorageError("this machine cannot receive a state".to_owned()))
    }
}

/// One piece of a snapshot, with checksums of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotChunk {
    pub data: Bytes,
    /// Where the next one begins: the token to ask for it with. `None`: this was the last.
    pub next: Option<Bytes>,
}

/// A state that stands still.
pub trait SnapshotReader: Send {
    /// What it is the state after.
    fn state(&self) -> &AppliedState;
    /// The piece that begins at a token (empty: the first), of about `bytes_max` bytes but at least one row. The same
    /// question has the same answer, so that a stream that was cut goes on where it was.
    fn chunk(&mut self, after: &[u8], bytes_max: usize) -> Result<SnapshotChunk, StorageError>;
}

/// A state that is being received. Dropped before [`SnapshotWriter::finish`] it leaves nothing.
pub trait SnapshotWriter: Send {
    /// Takes the next piece. One that is damaged, out of order or of another snapshot is refused and changes nothing.
    fn add(&mut self, chunk: Bytes) -> Result<(), StorageError>;
    /// Checks that all is there, makes it durable, and puts it in the live state's place. After a crash the machine
    /// opens to the one or the other.
    fn finish(self: Box<Self>) -> Result<AppliedState, StorageError>;
}

#[derive(Debug, thiserror::Error)]
#[error("storage: {0}")]
pub struct StorageError(pub String);
