//! Watches: a hub that matches events to watchers, a queue and a task for each stream.
//!
//! Overview: apply → ring → [`Hub`] → bounded queue of each stream → the stream's task → client. Nothing on the left
//! waits for anything on the right.
//!
//! Invariants: `created` precedes every other answer of a watcher; events come in order, once, whole revisions at a
//! time; a progress answer never overtakes an event, because both go through the same queue and are queued under
//! the hub's lock. A watcher is in the matcher exactly when it is synced.
//!
//! Cancellation: dropping the stream's task takes its watchers out of the hub.

mod hub;
mod queue;
mod respond;
pub mod stream;
mod watchers;

pub use hub::Hub;

#[cfg(test)]
mod tests;
