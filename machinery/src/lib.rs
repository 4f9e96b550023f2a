//! The vocabulary of the Kubernetes API: what types, fields and resources there are, and how their
//! objects are read, written, defaulted, selected, patched and explained.
//!
//! What it is not: it does no I/O, knows no sockets, clocks or runtimes, and holds no object.
//!
//! Everything is derived from one field table ([`schema`]), generated at build from the sources of the
//! crates that carry the API. In-flight objects are `serde_json::Value` trees on the write path; stored
//! and watched objects stay protobuf bytes and are transcoded from the table ([`codec`]).

pub mod codec;
pub mod convert;
pub mod defaults;
pub mod labels;
pub mod meta;
pub mod openapi;
pub mod patch;
pub mod quantity;
pub mod resources;
pub mod schema;
pub mod status;
pub mod strategic;
pub mod strict;
pub mod time;
