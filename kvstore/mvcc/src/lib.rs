//! The datastore's deterministic core: revisions, the key index, leases' attachments, transactions,
//! compaction and the event ring, over RocksDB.
//!
//! What it is not: it knows no socket, clock or async runtime, and nothing of raft but an index and a term.

pub mod state_machine;
pub use state_machine::{AppliedState, LogEntry, StateMachine};
