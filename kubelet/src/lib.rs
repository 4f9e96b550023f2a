//! The node agent: makes the pods bound to one node run, over CRI, and tells the API how they are.
//!
//! What it is: node registration and Lease, a worker per pod, probes, volumes, images, logs, and the HTTPS server
//! behind `kubectl logs|exec|attach|port-forward`.
//!
//! What it is not: it decides no placement, programs no Service, runs no CNI plugin (the runtime does), and reads
//! nothing but through the API and CRI.
//!
//! Invariants:
//! - The runtime is the truth about containers: labels and annotations on sandboxes and containers carry all that a
//!   new agent needs, so nothing is kept on disk beside the volumes themselves.
//! - A pod's API object is deleted only after its containers are gone and its final status was written, and only
//!   with its uid as precondition.
//! - One worker task owns one pod uid: no two act on the same pod.
//!
//! Entry points: [`Options`], [`Kubelet::start`], [`Handle`].
//!
//! A crash or a cancel leaves containers running, mounts in place and directories under `root_dir/pods`; the next
//! start adopts what still has an API object and removes the rest.

mod agent;
mod cgroups;
mod cri;
mod env;
mod error;
mod images;
mod logs;
mod node;
mod objects;
mod options;
mod pod;
mod pod_worker;
mod pods;
mod probes;
mod registry_auth;
mod run;
mod server;
mod status;
mod volumes;

pub use error::{Error, Result};
pub use options::{ImageGc, Options, Reserved};

use keelson_client::Client;
use std::net::SocketAddr;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The node agent's entry point.
pub struct Kubelet;

/// A running agent; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    local_addr: SocketAddr,
    ready: watch::Receiver<bool>,
    tasks: TaskTracker,
}

impl Kubelet {
    /// Binds the HTTPS port, then registers the node and syncs pods in tasks until `stop`. The runtime and the API
    /// server may come later: both are retried. Containers are left running at `stop`.
    pub async fn start(options: Options, client: Client, stop: CancellationToken) -> Result<Handle> {
        run::start(options, client, stop).await
    }
}

impl Handle {
    /// Where the HTTPS server listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
    /// Returns when the Node was written with condition Ready=True, or when the agent stopped (`false`).
    pub async fn wait_ready(&self) -> bool {
        self.ready.clone().wait_for(|r| *r).await.is_ok()
    }
    /// Whether the Node was last written as Ready.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }
    /// Returns when all of the agent's tasks have ended, after `stop`.
    pub async fn wait_stopped(&self) {
        self.tasks.wait().await;
    }
}
