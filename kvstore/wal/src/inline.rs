//! The log's writer without a thread: for simulators, which decide when the disk gets on with its work.
use crate::writer::Writer;

/// The writer of one open log, driven step by step. Dropping it is a crash: what is queued is never written, and nobody is
/// called back.
pub struct InlineWriter(pub(crate) Writer);

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There was nothing to do.
    Idle,
    /// One batch was written, made durable and called back.
    Wrote,
    /// The log is closed and written to its end, or poisoned. There are no more steps.
    Ended,
}

impl InlineWriter {
    /// Does what the thread would do between two waits.
    pub fn step(&mut self) -> Step {
        self.0.step()
    }

    /// Whether so many bytes go into the segment that is open.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.0.has_room(bytes)
    }
}
