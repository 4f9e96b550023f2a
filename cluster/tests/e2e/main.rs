//! End to end: the built binary, real containerd, real kubectl and etcdctl. Flows run in order on one cluster of a
//! name of its own; each is reported like a test, and whatever happens the cluster is purged at the end.
//!
//! `cargo test -p keelson --test e2e [FILTER]` runs the flows whose names contain FILTER (and `up` and `down`).
#![allow(clippy::unwrap_used)]

mod clientgo;
mod harness;
mod kubectl;
mod lifecycle;
mod store;
mod workloads;

use harness::{Cluster, Flow};

fn flows() -> Vec<Flow> {
    let mut all = lifecycle::first();
    all.extend(store::flows());
    all.extend(kubectl::flows());
    all.extend(clientgo::flows());
    all.extend(workloads::flows());
    all.extend(lifecycle::last());
    all
}

fn main() -> std::process::ExitCode {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    harness::run(Cluster::new(), flows(), filter.as_deref())
}
