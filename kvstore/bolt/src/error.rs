//! What can go wrong with a file.

use std::path::Path;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{context}: {source}")]
    Io { context: String, source: std::io::Error },
    /// The file is no bbolt file, or a broken one.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// The file holds what this version does not understand, or lacks what it needs.
    #[error("{0}")]
    Refused(String),
    /// The caller asked the writer for what no file can hold.
    #[error("{0}")]
    Misuse(String),
}

impl Error {
    pub(crate) fn io(context: impl Into<String>, source: std::io::Error) -> Self {
        Error::Io {
            context: context.into(),
            source,
        }
    }

    pub(crate) fn at(what: &str, path: &Path, source: std::io::Error) -> Self {
        Error::io(format!("{what} {}", path.display()), source)
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Error::Damaged(what.into())
    }
}
