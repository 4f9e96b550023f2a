//! Who calls, and what that caller may do.
//!
//! What it is: the identity of a call (a token, or the common name of a client's certificate), tokens and passwords,
//! and the Auth service's calls. What it is not: users, roles and permissions are in `keelson-mvcc`, and every
//! command is judged there once more when it is applied.
//!
//! Invariants: a call is judged behind its read barrier, so that what was acknowledged anywhere counts here. With
//! authentication off, a call costs one look at an atomic. Passwords never reach the log, nor do hashes the threads
//! that serve.

mod authenticator;
mod caller;
mod jwt;
mod passwords;
mod service;
mod simple;

pub use authenticator::{Authenticator, refusal_reason};
pub use caller::Caller;
