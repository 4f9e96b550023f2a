//! HTTP/2 on a connection: calls come in, go to whoever answers them, and their answers leave together.
//!
//! What it is: the driver of an `h2` connection. A call that is answered at once is answered where it was read, without a
//! task; any other gets a task of its own. When a connection has nothing more to do, all that it has to say leaves in
//! one write.
//! What it is not: it knows no service. A [`crate::http::Split`] says who answers.
//!
//! Cancellation: a client that resets a stream, or goes away, ends the task of the call.

mod body;
mod gather;
mod keepalive;
mod serve;

pub use body::room;
pub use serve::{Client, Terms, serve};
