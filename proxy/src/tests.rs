//! The rules, written by the real `nft` into the kernel of a network namespace that ends with the command.
#![allow(clippy::unwrap_used)]

use crate::rules::{Rules, Script};
use crate::{Options, host_ports, service, table};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

fn options() -> Options {
    Options {
        node_name: "n1".into(),
        node_ip: [192, 0, 2, 9].into(),
        table: "keelson-test".into(),
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
        service_cidr: "10.96.0.0/16".parse().unwrap(),
    }
}

fn svc(spec: Value) -> Service {
    serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec})).unwrap()
}

fn slice(endpoints: Value) -> Arc<EndpointSlice> {
    let s = json!({
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    });
    Arc::new(serde_json::from_value(s).unwrap())
}

fn endpoint(ip: &str, node: &str, ready: bool, terminating: bool) -> Value {
    json!({"addresses": [ip], "nodeName": node, "conditions": {"ready": ready, "serving": true, "terminating": terminating}})
}

const WEB: &str = r#"{"clusterIP":"10.96.0.5","type":"NodePort","ports":[{"name":"http","port":80,"nodePort":30080}]}"#;

fn web(extra: Value) -> Service {
    let mut spec: Value = serde_json::from_str(WEB).unwrap();
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    svc(spec)
}

fn rules_of(s: &Service, endpoints: Value) -> Rules {
    service::rules("default/web", s, &[slice(endpoints)], "n1")
}

/// Loads each script in turn in one namespace; returns the ruleset at the end.
fn kernel(scripts: &[String]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut command = String::from("set -e\n");
    for (i, s) in scripts.iter().enumerate() {
        let f = dir.path().join(format!("{i}.nft"));
        std::fs::File::create(&f).unwrap().write_all(s.as_bytes()).unwrap();
        command.push_str(&format!("nft -f {}\n", f.display()));
    }
    command.push_str("nft list ruleset\n");
    let out = Command::new("unshare")
        .args(["--net", "sh", "-c", &command])
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&out.stderr),
        scripts.join("----\n")
    );
    String::from_utf8(out.stdout).unwrap()
}

fn diff(old: &Rules, new: &Rules) -> String {
    let mut s = Script::default();
    s.diff("keelson-test", old, new);
    s.text()
}

#[test]
fn the_kernel_takes_every_kind_of_service_and_gives_it_all_back() {
    let start = table::skeleton(&options());
    let empty = kernel(std::slice::from_ref(&start));
    let two = json!([
        endpoint("10.244.0.20", "n1", true, false),
        endpoint("10.244.0.21", "n2", true, false)
    ]);
    let affinity =
        json!({"sessionAffinity": "ClientIP", "externalTrafficPolicy": "Local", "externalIPs": ["203.0.113.7"]});
    for extra in [json!({}), affinity] {
        let full = rules_of(&web(extra), two.clone());
        let one = rules_of(&web(json!({})), json!([endpoint("10.244.0.21", "n2", true, false)]));
        let none = Rules::default();
        let steps = [start.clone(), diff(&none, &full), diff(&full, &one), diff(&one, &none)];
        let loaded = kernel(&steps[..2]);
        assert!(loaded.contains("10.96.0.5 . tcp . 80 : goto"), "{loaded}");
        assert_eq!(kernel(&steps), empty);
    }
}

#[test]
fn ready_endpoints_win_and_draining_ones_serve_when_alone() {
    let s = web(json!({}));
    let both = rules_of(
        &s,
        json!([
            endpoint("10.244.0.20", "n1", true, false),
            endpoint("10.244.0.21", "n1", false, true)
        ]),
    );
    let text = format!("{both:?}");
    assert!(
        text.contains("10.244.0.20:8080") && !text.contains("10.244.0.21"),
        "{text}"
    );
    let draining = format!(
        "{:?}",
        rules_of(&s, json!([endpoint("10.244.0.21", "n1", false, true)]))
    );
    assert!(draining.contains("10.244.0.21:8080"), "{draining}");
}

#[test]
fn a_service_without_backends_is_refused_not_dropped() {
    let r = rules_of(&web(json!({})), json!([endpoint("10.244.0.20", "n1", false, false)]));
    let maps: Vec<&str> = r.elements.iter().map(|e| e.map).collect();
    assert_eq!(maps, ["closed_ips", "closed_node_ports"]);
    assert!(r.elements.iter().all(|e| e.value == "goto refuse"));
}

#[test]
fn policy_local_keeps_to_this_node() {
    let s = web(json!({"internalTrafficPolicy": "Local"}));
    let r = rules_of(
        &s,
        json!([
            endpoint("10.244.0.20", "n1", true, false),
            endpoint("10.244.0.21", "n2", true, false)
        ]),
    );
    let inside = r.elements.iter().find(|e| e.map == "service_ips").unwrap();
    let chain = inside.value.strip_prefix("goto ").unwrap();
    let [only] = r.chains[chain].as_slice() else {
        panic!("one rule")
    };
    let target = only.strip_prefix("goto ").unwrap();
    assert!(r.chains[target].iter().any(|l| l.contains("10.244.0.20:8080")));
}

#[test]
fn host_ports_follow_the_pod() {
    let pod = |phase: &str| -> Pod {
        let ports = json!([{"containerPort": 80, "hostPort": 8081}, {"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "192.0.2.9"}]);
        serde_json::from_value(json!({
            "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "ports": ports}]},
            "status": {"phase": phase, "podIP": "10.244.0.30"},
        }))
        .unwrap()
    };
    let r = host_ports::rules("default/p", &pod("Running"));
    let loaded = kernel(&[table::skeleton(&options()), diff(&Rules::default(), &r)]);
    assert!(
        loaded.contains("tcp . 8081 : goto") && loaded.contains("192.0.2.9 . udp . 53 : goto"),
        "{loaded}"
    );
    assert_eq!(host_ports::rules("default/p", &pod("Succeeded")), Rules::default());
}
