//! The replicated log: openraft behind an API of our own, over `keelson-wal` and a
//! [`keelson_mvcc::StateMachine`].
pub mod error;
pub mod node;
pub mod options;

pub use error::Error;
pub use node::{LeaderState, Node};
pub use options::{Options, Timers};
