//! The replicated log: openraft behind an API of our own, over `keelson-wal` and a
//! [`keelson_mvcc::StateMachine`].
//!
//! # What it is not
//! It knows nothing of keys, requests or sockets: a command is bytes that are logged as they arrived, an answer is the
//! machine's own. Groups of several members, their messages and their snapshots come later and answer
//! [`Error::Unsupported`] until then; what is here has their shape.
//!
//! # Invariants
//! - An answer is given after the command is durable in the log and applied, never before.
//! - The log is the only write-ahead log. It is purged only below what the machine has on disk, and only by a
//!   snapshot, which is a flush of the machine and the name of the index it covers.
//! - After a restart a member votes and leads in a new term, and answers as leader when everything logged before is
//!   applied.
//! - Nothing here polls. Alone in its group a node has no timer that runs.
//!
//! # Entry points
//! [`Node::start`], [`Node::propose`], [`Node::read_index`], [`Node::watch_leader`], [`Node::failed`],
//! [`Node::shutdown`].
//!
//! # What a crash leaves
//! Everything that was answered is in the log; what the machine had not flushed is replayed at the next start. A command
//! that was not answered may or may not be there. A failed write or sync ends the node for good ([`Node::failed`]):
//! the process exits, and the next start reads what the disk really holds.

mod barrier;
mod error;
mod log_store;
mod machine;
mod network;
mod node;
mod options;
mod start;
#[cfg(test)]
mod tests;
mod types;
mod watcher;

pub use error::Error;
pub use keelson_wal::Disk;
pub use node::{APPLY_GAP_MAX, COMMAND_BYTES_MAX, LeaderState, Node, PENDING_BYTES_MAX, PENDING_PROPOSALS_MAX};
pub use options::{Options, Timers};
pub use types::Member;
