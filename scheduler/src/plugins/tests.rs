#![allow(clippy::unwrap_used)]
use crate::config::PluginChoice;
use crate::framework::profile::Failure;
use crate::framework::{ClusterEvent, CycleState, NodeInfo, PodInfo, Profile, Snapshot};
use expect_test::{Expect, expect};
use serde_json::{Value, json};
use std::sync::Arc;

fn pod(name: &str, spec: Value) -> Arc<PodInfo> {
    let p = serde_json::from_value(json!({"metadata": {"namespace": "d", "name": name}, "spec": spec})).unwrap();
    Arc::new(PodInfo::new(Arc::new(p)))
}

fn asks(name: &str, cpu: &str, memory: &str) -> Arc<PodInfo> {
    pod(
        name,
        json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]}),
    )
}

fn node(name: &str, spec: Value, labels: Value) -> k8s_openapi::api::core::v1::Node {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "spec": spec,
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}}}))
    .unwrap()
}

fn info(n: k8s_openapi::api::core::v1::Node, pods: &[&Arc<PodInfo>]) -> NodeInfo {
    let mut i = NodeInfo::new(n.metadata.name.as_deref().unwrap());
    i.set_node(Arc::new(n));
    for p in pods {
        i.add_pod((*p).clone());
    }
    i
}

fn snapshot(nodes: Vec<NodeInfo>) -> Snapshot {
    let mut s = Snapshot::default();
    for n in nodes {
        s.put(Arc::new(n));
    }
    s
}

fn default_profile() -> Profile {
    super::profile(&PluginChoice::default())
}

fn decide(pod: &PodInfo, s: &Snapshot) -> Result<String, Failure> {
    default_profile()
        .decide(&mut CycleState::default(), pod, s, &mut 0)
        .map(|n| n.name.to_string())
}

fn check(pod: &PodInfo, s: &Snapshot, want: Expect) {
    let got = match decide(pod, s) {
        Ok(n) => n,
        Err(f) => format!("{}: {}", f.reason(), f.message()),
    };
    want.assert_eq(&got);
}

#[test]
fn refusals_read_as_upstreams_do() {
    check(
        &asks("p", "1", "1Gi"),
        &snapshot(vec![]),
        expect!["Unschedulable: no nodes available to schedule pods"],
    );
    let full = asks("full", "3500m", "1Gi");
    let one = snapshot(vec![info(node("n1", json!({}), json!({})), &[&full])]);
    check(
        &asks("p", "1", "1Gi"),
        &one,
        expect![
            "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
        ],
    );
    check(
        &asks("p", "10", "100Gi"),
        &one,
        expect![
            "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ],
    );
    let mixed = snapshot(vec![
        info(node("n1", json!({}), json!({})), &[&full]),
        info(
            node(
                "n2",
                json!({"taints": [{"key": "k", "effect": "NoSchedule"}]}),
                json!({}),
            ),
            &[],
        ),
        info(node("n3", json!({"unschedulable": true}), json!({})), &[]),
    ]);
    check(
        &asks("p", "1", "1Gi"),
        &mixed,
        expect![
            "Unschedulable: 0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable. preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
        ],
    );
    let elsewhere = pod("p", json!({"containers": [], "nodeSelector": {"disk": "ssd"}}));
    check(
        &elsewhere,
        &one,
        expect![
            "Unschedulable: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ],
    );
    let web = |n| {
        pod(
            n,
            json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]}),
        )
    };
    let busy = snapshot(vec![info(node("n1", json!({}), json!({})), &[&web("a")])]);
    check(
        &web("b"),
        &busy,
        expect![
            "Unschedulable: 0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
        ],
    );
}

#[test]
fn tolerations_and_affinity_open_nodes() {
    let tainted = node(
        "n1",
        json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}),
        json!({"disk": "ssd"}),
    );
    let s = snapshot(vec![info(tainted, &[])]);
    for t in [
        json!({"key": "k", "value": "v"}),
        json!({"operator": "Exists"}),
        json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"}),
    ] {
        check(
            &pod(
                "p",
                json!({"containers": [], "tolerations": [t], "nodeSelector": {"disk": "ssd"}}),
            ),
            &s,
            expect!["n1"],
        );
    }
}

#[test]
fn the_emptier_node_wins() {
    let s = snapshot(vec![
        info(node("n1", json!({}), json!({})), &[&asks("x", "2", "4Gi")]),
        info(node("n2", json!({}), json!({})), &[]),
    ]);
    check(&asks("p", "500m", "1Gi"), &s, expect!["n2"]);
}

#[test]
fn a_preference_and_a_soft_taint_weigh_in() {
    let soft = json!({"taints": [{"key": "k", "effect": "PreferNoSchedule"}]});
    let s = snapshot(vec![
        info(node("n1", soft, json!({"zone": "a"})), &[]),
        info(node("n2", json!({}), json!({"zone": "b"})), &[]),
    ]);
    check(&pod("p", json!({"containers": []})), &s, expect!["n2"]);
    let prefers = pod(
        "p",
        json!({"containers": [], "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 10, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}}]}}}),
    );
    check(&prefers, &s, expect!["n1"]);
}

#[test]
fn only_events_that_can_help_wake_a_pod() {
    let p = default_profile();
    let refused = |n: &'static str| std::collections::BTreeSet::from([n]);
    let big = asks("p", "3", "1Gi");
    let added = ClusterEvent::NodeAdded(Arc::new(node("n", json!({}), json!({}))));
    assert!(p.may_help(&refused("NodeResourcesFit"), &big, &added));
    assert!(!p.may_help(&refused("NodeResourcesFit"), &asks("q", "30", "1Gi"), &added));
    let relabel = ClusterEvent::NodeUpdated {
        old: Arc::new(node("n", json!({}), json!({}))),
        new: Arc::new(node("n", json!({}), json!({"disk": "ssd"}))),
    };
    assert!(!p.may_help(&refused("NodeResourcesFit"), &big, &relabel));
    let picky = pod("p", json!({"containers": [], "nodeSelector": {"disk": "ssd"}}));
    assert!(p.may_help(&refused("NodeAffinity"), &picky, &relabel));
    assert!(!p.may_help(&refused("TaintToleration"), &picky, &relabel));
    let gone = ClusterEvent::AssignedPodRemoved(asks("x", "1", "1Gi"));
    assert!(p.may_help(&refused("NodeResourcesFit"), &big, &gone));
    assert!(!p.may_help(&refused("NodeAffinity"), &picky, &gone));
}

#[test]
fn gates_keep_a_pod_out_of_the_queue() {
    let p = pod(
        "p",
        json!({"containers": [], "schedulingGates": [{"name": "foo"}, {"name": "bar"}]}),
    );
    let r = default_profile().pre_enqueue(&p).unwrap_err();
    expect!["waiting for scheduling gates: [foo bar]"].assert_eq(&r.reasons.join(", "));
}

/// The goal is a decision in under 5 ms; this is a debug build and a thousand nodes.
#[test]
fn a_thousand_nodes_decide_in_bounded_work() {
    let s = snapshot(
        (0..1000)
            .map(|i| info(node(&format!("n{i}"), json!({}), json!({})), &[]))
            .collect(),
    );
    let p = asks("p", "1", "1Gi");
    let profile = default_profile();
    let mut start = 0;
    profile.decide(&mut CycleState::default(), &p, &s, &mut start).unwrap();
    // 42% of a thousand nodes are enough, and the next decision begins where this one ended.
    assert_eq!(start, 420);
}
