//! Why a command or a read was refused. Refusals are answers: the same on every member.

use crate::auth::AuthError;

/// What a client did wrong, or what the store cannot give it; one gRPC status each (mapped in the server).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("mvcc: required revision has been compacted")]
    Compacted,
    #[error("mvcc: required revision is a future revision")]
    FutureRevision,
    #[error("mvcc: database space exceeded")]
    NoSpace,
    #[error("corrupt cluster")]
    Corrupt,
    #[error("key not found")]
    KeyNotFound,
    #[error("requested lease not found")]
    LeaseNotFound,
    #[error("lease already exists")]
    LeaseExists,
    #[error("too large lease TTL")]
    LeaseTtlTooLarge,
    /// The caller may not, or the auth store refuses a change.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// A log entry that no version of this program writes.
    #[error("malformed command")]
    Malformed,
    /// The disk failed under a read; the store must be restarted.
    #[error("storage failed")]
    Storage,
}
