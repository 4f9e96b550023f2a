//! Consistency testing from outside: real processes, injected faults, recorded histories, and checkers that judge them.
//!
//! What it is: a runner. It starts members of the datastore (ours or a real etcd) in network namespaces with disks of
//! their own, lets concurrent clients work on them, breaks things by a schedule that follows from a seed, heals, reads
//! everything back and judges what was recorded. What it is not: it knows nothing of the insides of what it tests; it
//! uses the wire formats of `proto` and programs that it starts.
//!
//! # Invariants
//! - A verdict is pass, fail or unknown. Too few operations or too few effects of the faults make a run unknown, and
//!   unknown is never green.
//! - All times of a run are nanoseconds of one monotonic clock. An operation took effect, if at all, between its call
//!   and its return; what ended indefinitely has no return, and its process is not used again.
//! - Values that are written are unique within a key, so that a read names the write it saw.
//! - What was recorded can be judged again: checkers read only the folder of a run.
//!
//! # Entry points
//! [`history`] is what is recorded, [`checker`] judges it, [`world`] is what is tested, [`faults`] break it,
//! [`workload`] are the clients, [`runner`] puts them together, [`soak`] makes many runs, [`gate`] proves with planted bugs that it bites,
//! [`report`] draws a run.
//!
//! # Crash
//! Namespaces, mounts and processes end with the process that made them; a folder of a run without `verdict.json` was
//! cut off.

pub mod checker;
pub mod cli;
pub mod client;
pub mod faults;
pub mod gate;
pub mod history;
pub mod report;
pub mod runner;
pub mod soak;
pub mod workload;
pub mod world;
