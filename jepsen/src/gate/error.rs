//! Why the gate can say nothing.

use std::io;

/// The gate could not be passed through; nothing is said of the target.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    #[error("there is no bug {0:?}; `keelson-jepsen gate --list` lists them")]
    NoSuchBug(String),
    #[error("nothing is known of how to find {0:?}: the gate's table has no row for it")]
    NoRow(String),
    #[error("cannot {what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("cargo {0} failed")]
    Build(String),
    #[error("cargo {0} says nothing of a program")]
    NoProgram(String),
    /// The environment has failed several times in a row.
    #[error("no run can be made: {0}")]
    Runs(String),
}

impl GateError {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> GateError {
        let what = what.into();
        |source| GateError::Io { what, source }
    }
}
