//! What can go wrong, and what the operator is to do about it.
use std::path::PathBuf;

/// Cloneable, because one failed sync answers every caller that waits.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the log in {dir} is in use by another process: stop that process first, two writers would destroy the log"
    )]
    Locked { dir: PathBuf },

    #[error(
        "{file} is damaged at offset {offset}: {what}. Acknowledged writes may be in the damaged part, so the log is not \
         opened. Check the disk; then restore this member from a snapshot, or remove it from its group and add it anew"
    )]
    Damaged { file: PathBuf, offset: u64, what: String },

    #[error(
        "{file} belongs to cluster {found_cluster:x} node {found_node:x}, and this is cluster {cluster:x} node {node:x}: \
         start with the folder of this member"
    )]
    Foreign {
        file: PathBuf,
        cluster: u64,
        node: u64,
        found_cluster: u64,
        found_node: u64,
    },

    #[error(
        "{file} has log format {found}, and this program reads format {known}: use the version that wrote it, or newer"
    )]
    Version { file: PathBuf, found: u32, known: u32 },

    /// The first failure of a write or sync; every later call answers with the same.
    #[error("the log failed and takes no more writes: {0}")]
    Poisoned(String),

    #[error("the log is closed")]
    Closed,

    #[error("{context}: {message}")]
    Io { context: String, message: String },

    /// A caller broke the log's rules (a hole, a truncation below what is purged).
    #[error("misuse of the log: {0}")]
    Misuse(String),

    #[error("entry {index} is no longer in the log: purged up to {purged}")]
    Purged { index: u64, purged: u64 },
}

impl Error {
    pub(crate) fn io(context: impl Into<String>, e: impl std::fmt::Display) -> Self {
        Error::Io {
            context: context.into(),
            message: e.to_string(),
        }
    }
}
