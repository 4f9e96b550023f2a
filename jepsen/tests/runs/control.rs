//! Controls: a real etcd passes, upstream's API server and scheduler on it do, and a bug that was planted is found.
#![allow(clippy::unwrap_used)]

use crate::program::{Runner, finish, kvstore_with_bugs, said};
use std::ffi::OsString;

/// The program that a variable names, as the test command sets it.
fn peer(variable: &str, name: &str) -> OsString {
    std::env::var_os(variable).unwrap_or_else(|| panic!("set {variable} to what `bench/peers/build {name}` prints"))
}

#[test]
fn a_real_etcd_passes() {
    let runner = Runner::new();
    let mut command = runner.command(
        "run --quiet --folder run --target etcd --workload register,append,watch --faults kill,partition --time 10s --seed 1",
    );
    command.arg("--binary").arg(peer("ETCD", "etcd"));
    let out = finish(command.spawn().unwrap());
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
}

#[test]
fn upstreams_control_plane_passes() {
    let runner = Runner::new();
    let mut command = runner
        .command("run --quiet --folder run --target etcd --workload kube --faults kill-apiserver --time 12s --seed 1");
    command
        .arg("--binary")
        .arg(peer("ETCD", "etcd"))
        .arg("--kube-apiserver")
        .arg(peer("KUBE_APISERVER", "kube-apiserver"))
        .arg("--kube-scheduler")
        .arg(peer("KUBE_SCHEDULER", "kube-scheduler"));
    let out = finish(command.spawn().unwrap());
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
}

#[test]
fn the_gate_catches_a_planted_bug_by_name() {
    let runner = Runner::new();
    let mut command = runner.command("gate --bug guard-before-apply --no-clean --out gate");
    let out = finish(command.arg("--binary").arg(kvstore_with_bugs()).spawn().unwrap());
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
}
