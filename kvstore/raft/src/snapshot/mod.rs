//! Snapshots between members: the state in pieces of bounded size, each acknowledged, so that a cut costs no more than the
//! piece that was under way.
//!
//! The sender holds one consistent state for as long as it sends, under a random session number. The receiver stages the
//! pieces beside its live state, and tells on asking how many of a session it has and which token the sender goes on
//! with. A session that nobody has touched for [`SESSION_IDLE_MAX`] is dropped; then the sender starts over.

mod receive;
mod send;

pub(crate) use receive::Receiver;
pub(crate) use send::send;

use std::time::Duration;

/// Size of a piece, roughly, in bytes: with one read ahead, a transfer holds two on each side.
pub(crate) const PIECE_BYTES: usize = 1 << 20;
/// Longest piece that is taken, in bytes: a row can be larger than a piece was meant to be.
pub const PIECE_BYTES_MAX: usize = 32 << 20;
/// A half-received snapshot is kept this long without news of its sender.
pub(crate) const SESSION_IDLE_MAX: Duration = Duration::from_secs(120);
/// A sender that made no progress for this long gives its state back and starts over with a newer one.
pub(crate) const SEND_IDLE_MAX: Duration = Duration::from_secs(60);
