//! The Kubernetes API server: one generic registry for every kind over a [`storage::Storage`].
//!
//! What it is not: it runs no controller, and no component passes it by.
//!
//! Layout: `storage/` (trait, embedded store, etcd client, watch cache), `registry/` (the generic
//! create/get/list/watch/update/patch/delete), `kinds/` (per-kind strategy: prepare, validate, columns),
//! `auth/` (authentication, RBAC, tokens), `admission/`, `endpoints/` (request parsing, content
//! negotiation, discovery, OpenAPI), `streaming/` (logs, exec, attach, port-forward, proxy).

pub mod admission;
pub mod auth;
pub mod endpoints;
pub mod kinds;
pub mod registry;
pub mod storage;
pub mod streaming;

mod server;
pub use server::{Options, Server};
