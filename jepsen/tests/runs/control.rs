//! Controls: a real etcd passes, and a bug that was planted is found.
#![allow(clippy::unwrap_used)]

use crate::program::{Runner, finish, kvstore_with_bugs, said};

#[test]
fn a_real_etcd_passes() {
    let etcd = std::env::var_os("ETCD").expect("set ETCD to what `bench/peers/build etcd` prints");
    let runner = Runner::new();
    let mut command = runner.command(
        "run --quiet --folder run --target etcd --workload register,append,watch --faults kill,partition --time 10s --seed 1",
    );
    let out = finish(command.arg("--binary").arg(etcd).spawn().unwrap());
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
}

#[test]
fn the_gate_catches_a_planted_bug_by_name() {
    let runner = Runner::new();
    let mut command = runner.command("gate --bug guard-before-apply --no-clean --out gate");
    let out = finish(command.arg("--binary").arg(kvstore_with_bugs()).spawn().unwrap());
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
}
