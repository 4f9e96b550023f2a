//! The whole state, sent from one member to another in pieces.
//!
//! A sender freezes its store ([`Export`]) and cuts the frozen copy into chunks of rows, the same ones whichever engine
//! holds them. A receiver fills a second store beside its own ([`Install`]) and swaps the two when all is there.
//!
//! Invariants:
//! - All chunks of a snapshot are of one applied index, and each says which.
//! - A chunk has a checksum, and names the position where it begins and the one where it ends. A position counts and
//!   hashes every row before it, so that nothing can be lost, repeated or swapped between chunks without being seen.
//! - The live state is not touched until the received one is complete, checked and durable.

mod chunk;
mod export;
mod install;

pub use install::Install;

/// Rows of one chunk, bytes: whatever is asked for. One row that is larger has a chunk of its own.
pub const CHUNK_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests;
