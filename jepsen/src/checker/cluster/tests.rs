use super::ClusterChecker;
use crate::checker::golden::{Run, failed_with, passes};
use serde_json::{Value, json};

/// Two nodes with room for 1000 thousandths and two Pods.
fn run() -> Run {
    let mut run = Run::new();
    for node in ["hollow-01", "hollow-02"] {
        run.ok(
            "kube-bind",
            1,
            "node",
            Some(node),
            json!({"milli": 1000, "pods": 2}),
            Value::Null,
            None,
        );
    }
    run
}

fn pod(run: &mut Run, name: &str, node: &str) {
    run.put(
        &format!("/registry/pods/kube-bind/{name}"),
        &format!("k8s {name} \u{fffd}{node}\u{fffd}"),
    );
}

fn gone(run: &mut Run, name: &str) {
    run.delete(&format!("/registry/pods/kube-bind/{name}"));
}

fn anomaly(mut run: Run, name: &str) {
    failed_with(&ClusterChecker, &run.spectators(2).evidence(), name);
}

#[test]
fn good_runs_pass() {
    let mut run = run();
    for (name, node) in [
        ("p-1-600", "hollow-01"),
        ("p-2-400", "hollow-01"),
        ("p-3-700", "hollow-02"),
    ] {
        pod(&mut run, name, "");
        pod(&mut run, name, node);
        pod(&mut run, name, node);
    }
    gone(&mut run, "p-1-600");
    pod(&mut run, "p-4-600", "hollow-01");
    // Another Pod of the same name may be elsewhere.
    pod(&mut run, "p-1-600", "");
    gone(&mut run, "p-3-700");
    pod(&mut run, "p-1-600", "hollow-02");
    run.ok(
        "kube-bind",
        1,
        "settle",
        None,
        Value::Null,
        json!({"pending": []}),
        None,
    );
    passes(&ClusterChecker, &run.spectators(2).evidence());
}

#[test]
fn a_pod_keeps_its_node() {
    let mut moved = run();
    pod(&mut moved, "p-1-600", "hollow-01");
    pod(&mut moved, "p-1-600", "hollow-02");
    anomaly(moved, "double-bind");
    let mut taken = run();
    pod(&mut taken, "p-1-600", "hollow-01");
    pod(&mut taken, "p-1-600", "");
    anomaly(taken, "double-bind");
}

#[test]
fn nodes_hold_what_they_have() {
    let mut cpu = run();
    pod(&mut cpu, "p-1-600", "hollow-01");
    pod(&mut cpu, "p-2-401", "hollow-01");
    let mut both = cpu.clone();
    anomaly(cpu, "overcommitted-node");
    let mut evidence = both.spectators(2).evidence();
    evidence
        .meta
        .options
        .insert("kube-schedulers".to_owned(), json!("both"));
    passes(&ClusterChecker, &evidence);
    let mut count = run();
    for name in ["p-1-1", "p-2-1", "p-3-1"] {
        pod(&mut count, name, "hollow-02");
    }
    anomaly(count, "overcommitted-node");
}

#[test]
fn what_fits_gets_a_node() {
    let mut run = run();
    pod(&mut run, "p-1-600", "");
    run.ok(
        "kube-bind",
        1,
        "settle",
        None,
        Value::Null,
        json!({"pending": ["p-1-600"]}),
        None,
    );
    anomaly(run, "pending-pod");
}
