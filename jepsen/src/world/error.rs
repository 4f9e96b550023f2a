//! What can go wrong with a world itself, as opposed to with what is tested in it.

use std::io;
use std::time::Duration;
use thiserror::Error;

/// The environment failed: nothing can be said about the store.
#[derive(Debug, Error)]
pub enum WorldError {
    #[error("root is needed: network namespaces, mounts and loop devices are made ({0})")]
    NotRoot(io::Error),
    #[error("{doing}: {source}")]
    Io { doing: String, source: io::Error },
    #[error("{command} failed: {said}")]
    Command { command: String, said: String },
    #[error("{0}")]
    Unavailable(String),
    #[error("member {node}: {what}")]
    Member { node: usize, what: String },
    #[error("{what}: not within {bound:?}; last seen: {seen}")]
    Late {
        what: String,
        bound: Duration,
        seen: String,
    },
}

/// Says what was being done when the system refused.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, WorldError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, WorldError> {
        self.map_err(|e| WorldError::Io {
            doing: what(),
            source: e.into(),
        })
    }
}
