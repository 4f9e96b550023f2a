//! The Kubernetes API server: one generic registry for every kind over a [`storage::Storage`].
//!
//! What it is not: it runs no controller, and no component passes it by.
//!
//! Layout: `storage/` (trait, embedded store, etcd client, watch cache), `registry/` (the generic
//! create/get/list/watch/update/patch/delete), `kinds/` (per-kind strategy: prepare, validate, columns),
//! `auth/` (authentication, RBAC, tokens), `admission/`, `bootstrap/` (the objects every cluster starts
//! with), `endpoints/` (request parsing, content negotiation, discovery, OpenAPI), `streaming/` (logs,
//! exec, attach, port-forward, proxy). `objects` is how the server's own parts read and write stored objects.

#[macro_use]
mod seeded;

pub mod admission;
pub mod auth;
pub mod bootstrap;
pub mod endpoints;
pub mod kinds;
pub mod objects;
pub mod registry;
pub mod storage;
pub mod streaming;

mod server;
pub use server::{Options, Server};
