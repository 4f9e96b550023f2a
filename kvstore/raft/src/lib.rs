//! The replicated log: openraft behind an API of our own, over `keelson-wal` and a
//! [`keelson_mvcc::StateMachine`].
//!
//! # What it is not
//! It knows nothing of keys, requests or sockets: a command is bytes that are logged as they arrived, an answer is the
//! machine's own. Messages to other members leave by a [`Transport`] and arrive at a [`PeerHandler`]; time, tasks and
//! chance come from [`runtime`].
//!
//! # Invariants
//! - An answer is given after the command is durable in the logs of a quorum and applied here, never before. A command
//!   is handed to a leader once: it is applied once or never.
//! - The log is the only write-ahead log. It is purged only below what the machine has on disk, and only by a
//!   snapshot, which is a flush of the machine and the name of the index it covers.
//! - After a restart a member votes and leads in a new term, and answers as leader when everything logged before is
//!   applied.
//! - A leader that has not heard its quorum for an election timeout takes no proposals and says that there is no leader.
//! - A member gets its vote when it has caught up, never at its addition: no quorum counts on a member that never came.
//! - Nothing here polls. Alone in its group a node has no timer that runs.
//!
//! # Entry points
//! [`Node::start`], [`Node::propose`], [`Node::read_index`], [`Node::watch_leader`], [`Node::members`] and the changes of
//! them, [`Node::peer_handler`], [`Node::failed`], [`Node::shutdown`].
//!
//! # What a crash leaves
//! Everything that was answered is in the log; what the machine had not flushed is replayed at the next start. A command
//! that was not answered may or may not be there. A snapshot from another member is swapped in whole or not at all; a mark
//! beside the log tells a crash between that and the cut of the log from a log that was lost. A failed write or sync ends
//! the node for good ([`Node::failed`]): the process exits, and the next start reads what the disk really holds.
//! Dropping the future of a call takes nothing back.

#[macro_use]
mod seeded;

mod barrier;
mod changes;
mod context;
mod error;
mod forward;
mod log_store;
mod machine;
mod marker;
mod members;
mod network;
mod node;
mod options;
mod peer;
pub mod runtime;
mod scribe;
mod snapshot;
mod start;
mod stats;
#[cfg(test)]
mod tests;
mod tie;
mod transport;
mod types;
mod verify;
mod waiters;
mod watcher;
mod wire;

pub use changes::{CAUGHT_UP_ENTRIES, PeerProgress};
pub use error::Error;
pub use keelson_wal::Disk;
pub use marker::{mark_restored, membership_blob};
pub use members::{MemberView, Members};
pub use node::{APPLY_GAP_MAX, COMMAND_BYTES_MAX, LeaderState, Node, PENDING_BYTES_MAX, PENDING_PROPOSALS_MAX};
pub use options::{Options, Start, Timers, WasRemoved};
pub use peer::PeerHandler;
pub use snapshot::PIECE_BYTES_MAX;
pub use stats::{PeerStats, ROUND_TRIP_BUCKETS_MICROS, Stats};
pub use transport::{NoTransport, Requests, Responses, Transport, TransportError};
pub use types::Member;
pub use verify::{LogReport, verify_log};
