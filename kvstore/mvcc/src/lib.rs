//! The datastore's deterministic core: revisions, the key index, leases' attachments, transactions,
//! compaction and the event ring, over RocksDB (or over maps in memory, for simulations).
//!
//! What it is: [`Store`], a [`StateMachine`] that applies committed commands and answers reads at any revision that
//! is not compacted. What it is not: it knows no socket, clock or async runtime, and nothing of raft but an index
//! and a term. When leases expire and when compactions run is decided elsewhere and comes in as commands and calls.
//!
//! Invariants:
//! - The same entries in the same order give the same state, the same answers and the same events.
//! - `data` is append-only but for compaction; a record is immutable. The index in memory is the sum of `key`.
//! - The applied index is in the same RocksDB batch as the data that it covers, and column families are flushed
//!   together, so what is on disk is always the state after some entry.
//! - Nobody reads below the compacted revision, and a revision that is being read is pinned: no answer depends on
//!   how far a compaction has come physically.
//! - Apply never waits for a watcher.
//!
//! Entry points: [`Store::open`], [`StateMachine::apply`], [`Store::range`] and [`Store::cursor`],
//! [`Store::catch_up`], [`Ring`], [`Matcher`], [`Store::trim_slice`], [`StateMachine::snapshot`] and
//! [`StateMachine::begin_install`].
//!
//! After a crash the store stands where it was last flushed, which [`StateMachine::durable_index`] tells; the log
//! is applied again from there. A compaction that was under way starts over. A state that was being installed is there
//! whole or not at all.

#[macro_use]
mod seeded;

mod apply;
pub mod auth;
mod catchup;
mod cluster;
mod command;
mod compact;
mod compare;
mod counts;
mod db;
mod dump;
mod error;
mod events;
mod hash;
mod history;
mod index;
mod keyrange;
mod leases;
mod listing;
mod load;
mod matcher;
mod meta;
mod pins;
pub mod range;
mod read;
mod record;
mod reload;
mod revision;
mod snapshot;
pub mod state_machine;
mod store;
pub mod txn;
mod verify;
mod view;
mod writer;

pub use apply::{Reply, Response};
pub use auth::{Access, Auth, AuthChange, AuthError, Authenticated, StoredAuth};
pub use catchup::Caught;
pub use cluster::{Attributes, ClusterMeta};
pub use command::{Asker, Command};
pub use compact::Slice;
pub use counts::{Commit, Counts};
pub use db::MemoryDisk;
pub use dump::{Dump, Holdings};
pub use error::Error;
pub use events::{Event, RevisionEvents, Ring};
pub use hash::{COMPACTION_HASHES_MAX, Hashed};
pub use keyrange::{End, KeyRange};
pub use leases::{LeaseChange, TTL_MAX_SECONDS, TTL_MIN_SECONDS};
pub use listing::{Listing, Reading};
pub use load::Load;
pub use matcher::Matcher;
pub use read::{Cursor, ReadError, SLICE_KEYS_MAX};
pub use revision::{Rev, Version};
pub use state_machine::{
    AppliedState, LogEntry, SnapshotChunk, SnapshotReader, SnapshotWriter, StateMachine, StorageError,
};
pub use store::{CACHE_BYTES_DEFAULT, FIRST_REVISION, Options, Store};
pub use verify::{Verified, verify};
