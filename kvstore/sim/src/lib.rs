//! Deterministic simulation of the datastore: a whole group of members in one thread, over a simulated disk, network and
//! clock, with a model beside it that checks every answer.
//!
//! # What is real
//! The log ([`keelson_wal`]), its writer driven step by step; raft with everything around it ([`keelson_raft`]), on an
//! executor of this crate; the store ([`keelson_mvcc`]) over its engine in memory.
//!
//! # What it is not
//! It knows no sockets, no gRPC and none of the server above the log: what clients do here is what the server does with
//! its node and its store. RocksDB, files and real fsyncs have tests of their own.
//!
//! # Invariants
//! - Nothing here reads a clock, a random number or a thread that is not the seed's: the same seed and options give the
//!   same trace, which the hash in [`Report`] tells.
//! - The model is written from etcd's contract and shares no code with the store.
//!
//! # Entry points
//! [`run`] with [`Options`]; the program of this crate runs many seeds.

mod client;
mod cluster;
mod disk;
mod executor;
mod faults;
mod history;
mod machine;
mod model;
mod network;
mod options;
mod rng;
mod run;
mod seeds;
mod trace;

pub use history::Counts;
pub use options::{Bug, Options};
pub use run::{Report, run};
pub use seeds::run_seeds;
