//! The workloads on API servers pass under faults of the members, the servers and the schedulers.
#![allow(clippy::unwrap_used)]

use crate::program::{Runner, finish, keelson, kvstore, said};

/// A run of our datastore with our control plane that must pass.
#[track_caller]
fn passes(arguments: &str) {
    let runner = Runner::new();
    let mut command = runner.command("run --quiet --folder run");
    command.args(arguments.split_whitespace());
    command.arg("--binary").arg(kvstore()).arg("--keelson").arg(keelson());
    let out = finish(command.spawn().unwrap());
    assert_eq!(out.status.code(), Some(0), "run {arguments}\n{}", said(&out));
}

const SERVERS: &str = "kube-rv,kube-watch,kube-page,kube-watchlist";
const SCHEDULERS: &str = "kube-bind";

#[test]
fn api_servers_keep_their_promises() {
    passes(&format!(
        "--workload {SERVERS} --faults kill,kill-apiserver --time 12s --seed 1"
    ));
}

#[test]
fn schedulers_neither_bind_twice_nor_fill_a_node_twice() {
    passes(&format!(
        "--workload {SCHEDULERS} --faults kill-scheduler,pause-scheduler --time 12s --seed 2"
    ));
}

#[test]
fn no_workload_is_forgotten() {
    let here: Vec<&str> = SERVERS.split(',').chain([SCHEDULERS]).collect();
    for workload in keelson_jepsen::workload::kube::all() {
        assert!(here.contains(&workload.name()), "{} has no run", workload.name());
    }
}
