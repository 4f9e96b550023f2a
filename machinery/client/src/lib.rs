//! The client of the Kubernetes API that every Keelson component uses.
//!
//! What it is: a transport-neutral client, informers with indexers, a rate-limited workqueue, leader
//! election and an event recorder. What it is not: a copy of the API's types (those are
//! `k8s-openapi`'s), or a way round the API: every byte goes through a [`Transport`].
//!
//! Invariants: an informer's handlers see a change only after its store holds it, in the order of the watch;
//! a workqueue hands an item to one worker at a time; a leader's work runs only while its Lease is renewed;
//! no answer and no file of the user's makes the crate panic; what repeats has a bound and a backoff.
//!
//! Entry points: [`Client`], [`Api`], [`DynamicApi`], [`Informer`], [`InformerFactory`], [`WorkQueue`],
//! [`leader::LeaderElection`], [`EventRecorder`], [`Config`].
//!
//! A crash or a cancel leaves nothing but what the server has: copies and queues are rebuilt from a list, a
//! Lease that was not released expires, events that were not yet written are lost.

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
