//! bbolt files, read and written: how data moves in from an etcd and out to one.
//!
//! What it is: the file format of bbolt 1.3 to 1.5 (go.etcd.io/bbolt, `internal/common`), a [`Reader`] that walks a
//! file in order and a [`Writer`] that builds one from sorted streams; above them [`etcd`], the schema that etcd 3.5
//! to 3.7 keeps in such a file, and [`snapshot`], the file that `etcdctl snapshot save` leaves.
//!
//! What it is not: no database. Nothing is changed in place, there are no transactions, and a file is either being
//! written or being read. It knows nothing of how our own store keeps data.
//!
//! Invariants:
//! - The reader never trusts a file: every offset, length, order and page number is checked before it is used, and
//!   damage is an error that says where, never a panic and never an endless walk.
//! - Memory is bounded on both sides: a page for each level of the tree, and the largest single row.
//! - What the writer leaves passes `bbolt check` and bbolt may go on writing to it: every branch has two children.
//!
//! Entry points: [`Reader::open`], [`Reader::check`], [`Bucket::iter`]; [`Writer::create`], [`Tree`];
//! [`etcd::Contents`]; [`snapshot::Status`].
//!
//! A crash while a file is written leaves a file without valid meta pages, which every reader refuses: they are
//! written last.

mod error;
pub mod etcd;
mod meta;
mod page;
mod reader;
pub mod snapshot;
mod tree;
mod walk;
mod writer;

pub use error::Error;
pub use reader::{Bucket, Reader};
pub use tree::{Root, Tree};
pub use walk::{Element, Iter, Value};
pub use writer::Writer;

/// Page size of the files that we write, bytes: what bbolt takes on every machine that etcd is run on.
pub const PAGE_BYTES: usize = 4096;
/// Longest key, bytes: bbolt's `MaxKeySize`.
pub const KEY_BYTES_MAX: usize = 32_768;
/// Longest value, bytes: bbolt's `MaxValueSize`.
pub const VALUE_BYTES_MAX: usize = (1 << 31) - 2;
/// Longest run of pages that is read as one, bytes. A row of etcd is bounded by its `max-request-bytes`, 1.5 MiB
/// unless someone raises it; this is far above.
pub const RUN_BYTES_MAX: usize = 256 << 20;
