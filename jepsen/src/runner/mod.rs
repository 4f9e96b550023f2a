//! A run from its beginning to its verdict.
//!
//! Phases: the members start and become healthy; clients work and faults strike for a time; the faults are healed and
//! the members must become healthy again; clients go on for a moment and end; everything is read back; what was
//! recorded is judged.

mod finals;
mod judge;
mod phases;
mod progress;
mod spec;

pub use judge::{Ruling, judge};
pub use phases::run;
pub use spec::{RunError, RunSpec};
