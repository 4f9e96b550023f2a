//! Failures told to a person: one line that says what failed and, where there is one, the mend.

/// A sentence for the terminal.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Failure(message.into())
    }
}

/// Adds what was being done, in the present tense.
pub trait Context<T> {
    fn context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T>;
}
impl<T, E: std::fmt::Display> Context<T> for Result<T, E> {
    fn context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| Failure(format!("{}: {e}", doing().into())))
    }
}
