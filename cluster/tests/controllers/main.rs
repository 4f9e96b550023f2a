//! The controllers and the scheduler against the real API server and datastore, with hollow nodes.
#![allow(clippy::unwrap_used)]
mod flows;
mod world;
