//! What etcd 3.5 to 3.7 keeps in its bbolt file (server/storage/schema): which buckets there are, and how their
//! rows are encoded.
//!
//! [`Contents`] is everything but the versions of keys, and small; the versions go by as a stream, in order.

mod contents;
mod keys;
mod meta;
mod rows;

pub use contents::{Auth, Contents, Lease, Member};
pub use keys::{KeyIter, Keys, RevKey, Versions, decode_record};
pub use meta::{ConfState, Downgrade};
pub use rows::{FileSink, HashSink, Sink, write};

/// Names of the buckets.
pub mod bucket {
    pub const ALARM: &[u8] = b"alarm";
    pub const AUTH: &[u8] = b"auth";
    pub const AUTH_ROLES: &[u8] = b"authRoles";
    pub const AUTH_USERS: &[u8] = b"authUsers";
    pub const CLUSTER: &[u8] = b"cluster";
    pub const KEY: &[u8] = b"key";
    pub const LEASE: &[u8] = b"lease";
    pub const MEMBERS: &[u8] = b"members";
    pub const MEMBERS_REMOVED: &[u8] = b"members_removed";
    pub const META: &[u8] = b"meta";
}

/// The storage version that the files we write declare: that of the etcd whose API we speak.
pub const STORAGE_VERSION: &str = "3.7.0";
