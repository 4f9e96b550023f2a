//! The segmented log of the datastore: raft's entries, votes, truncations and purges in one order on disk.
//!
//! # What it is not
//! It knows nothing of raft but indexes, terms and votes, and nothing of what a payload means. It is no
//! state machine: what it holds is what raft may still need to replay or to send.
//!
//! # How it works
//! One writer owns the files, and a thread drives it, or for a moment a caller with nothing else to do
//! ([`Wal::write_here`]). It drains the queue, writes everything queued at one place with one `pwrite`, makes it durable
//! with one `fdatasync`, and then calls back, in order. While it waits for the disk the queue fills, so that the number
//! of syncs follows the disk and not the number of callers. Readers are served from a tail in memory, and from the files
//! by an index of places for what is older.
//!
//! # Invariants
//! - Everything is in one total order: a callback that answered `Ok` means that this change and every change
//!   before it is on disk.
//! - Entries are consecutive. An entry is readable as soon as `append` returned, durable or not.
//! - A segment's checksums are salted with numbers of its own, so that what a recycled file held before cannot
//!   be read as part of the log.
//! - Every segment but the last ends with a seal, and each frame names where its batch began: a batch is written
//!   only when all before it is durable. So a frame that cannot be read is a torn tail only if no later batch
//!   follows it; anything else is damage, and [`Wal::open`] refuses.
//! - A write or sync that failed poisons the log. It is never tried again: the kernel may have dropped the pages.
//!
//! # Entry points
//! [`Wal::open`], then [`Wal::append`], [`Wal::save_vote`], [`Wal::truncate_after`], [`Wal::purge`] with a callback
//! each, [`Wal::append_held`] and [`Wal::write_here`], [`Wal::barrier`], [`Wal::read`], [`Wal::state`], [`Wal::close`]. [`check`] reads a log that nobody has open.
//!
//! # What a crash leaves
//! Everything that was called back, and perhaps more: a prefix of what was queued. A bit that flips in the very last
//! batch cannot be told from a torn write, as in any log; [`Wal::close`] ends with a batch of its own, so that after
//! an orderly stop it can.

use std::time::Duration;

#[macro_use]
mod seeded;

mod disk;
mod error;
mod frame;
mod inline;
mod log;
mod read;
mod recover;
mod scan;
mod segment;
mod types;
mod wal;
mod writer;

pub use disk::{Disk, OsDisk};
pub use error::Error;
pub use inline::{InlineWriter, Step};
pub use recover::{Checked, check};
pub use types::{Entry, EntryId, Options, State, Stats, Vote};
pub use wal::{Callback, Wal};

/// Longest payload of one entry, in bytes. etcd takes requests of 1.5 MiB; a wide margin above.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;
/// Bytes that may wait for the writer; `append` waits for room beyond it.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Bytes that one write and one sync cover at most, but for a single entry that is larger.
pub const BATCH_BYTES_MAX: usize = 8 << 20;
/// A caller of [`Wal::write_here`] writes no more than this many bytes of entries itself,
pub const HERE_BYTES_MAX: usize = 256 << 10;
/// and only while syncs take no longer than this on average.
pub const HERE_SYNC_MAX: Duration = Duration::from_micros(500);
/// Purged segments that are kept for reuse; more are deleted.
pub const SPARE_SEGMENTS_MAX: usize = 1;
/// A fresh segment is written this many bytes ahead with zeros, so that most syncs change no file metadata.
pub const PREWRITE_BYTES: u64 = 1 << 20;
