//! The client of the Kubernetes API that every Keelson component uses.
//!
//! What it is: a transport-neutral client, informers with indexers, a rate-limited workqueue, leader
//! election and an event recorder. What it is not: a copy of the API's types (those are
//! `k8s-openapi`'s), or a way round the API: every byte goes through a [`Transport`].
//!
//! Entry points: [`Client`], [`Api`], [`DynamicApi`], [`Informer`], [`WorkQueue`].

pub mod api;
pub mod client;
pub mod config;
pub mod dynamic;
mod endpoint;
pub mod error;
pub mod events;
#[cfg(test)]
mod fake;
pub mod informer;
pub mod leader;
mod lines;
pub mod net;
mod query;
pub mod transport;
mod watch;
pub mod workqueue;

pub use api::{Api, DeleteParams, ListParams, Patch, PatchParams, Propagation, WatchEvent};
pub use client::Client;
pub use config::Config;
pub use dynamic::{DynamicApi, DynamicObject, GroupVersionResource};
pub use error::{Error, Result};
pub use events::EventRecorder;
pub use informer::{Event, Informer, InformerFactory, Store};
pub use transport::{Body, Transport};
pub use workqueue::WorkQueue;
