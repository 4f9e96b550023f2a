//! Flow 5: real etcdctl on the cluster's own store.

use crate::harness::{Cluster, Flow, Printed, WAIT, eventually, flow, run_tool, tool};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

pub fn flows() -> Vec<Flow> {
    vec![
        flow("etcdctl reads what the API server stores", reads),
        flow("etcdctl puts, transacts, compacts and deletes", writes),
        flow("etcdctl watches", watches),
        flow("etcdctl leases keys that end", leases),
        flow("the datastore refuses a client without a certificate", refuses),
    ]
}

fn access(c: &Cluster) -> Vec<String> {
    let e = &c.status()["etcd"];
    let field = |k: &str| e[k].as_str().unwrap().to_owned();
    vec![
        format!("--endpoints={}", field("endpoint")),
        format!("--cacert={}", field("ca")),
        format!("--cert={}", field("cert")),
        format!("--key={}", field("key")),
    ]
}

fn etcdctl(c: &Cluster, args: &[&str]) -> Printed {
    let access = access(c);
    let mut all: Vec<&str> = access.iter().map(String::as_str).collect();
    all.extend(args);
    run_tool(&tool("ETCDCTL", "etcdctl"), &all)
}

fn ok(c: &Cluster, args: &[&str]) -> String {
    let p = etcdctl(c, args);
    assert!(p.ok, "etcdctl {}: {}{}", args.join(" "), p.out, p.err);
    p.out
}

fn reads(c: &Cluster) {
    let keys = ok(c, &["get", "/registry/namespaces/", "--prefix", "--keys-only"]);
    assert!(keys.lines().any(|l| l == "/registry/namespaces/default"), "{keys}");
    let value = ok(c, &["get", "/registry/namespaces/default", "--print-value-only"]);
    assert!(value.starts_with("k8s\0"), "upstream's envelope: {value:?}");
    let status = ok(c, &["endpoint", "status", "-w", "json"]);
    assert!(status.contains("\"version\":\"3.7"), "{status}");
}

fn writes(c: &Cluster) {
    assert_eq!(ok(c, &["put", "e2e/a", "1"]).trim(), "OK");
    assert_eq!(ok(c, &["put", "e2e/b", "2", "--prev-kv"]).lines().next(), Some("OK"));
    let got = ok(c, &["get", "e2e/", "--prefix"]);
    assert_eq!(got, "e2e/a\n1\ne2e/b\n2\n");
    let mut txn = Command::new(tool("ETCDCTL", "etcdctl"));
    txn.args(access(c))
        .args(["txn"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = txn.spawn().unwrap();
    use std::io::Write;
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"value(\"e2e/a\") = \"1\"\n\nput e2e/a 3\n\nput e2e/a 4\n\n")
        .unwrap();
    let out = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(out.starts_with("SUCCESS"), "{out}");
    let json: serde_json::Value = serde_json::from_str(&ok(c, &["get", "e2e/a", "-w", "json"])).unwrap();
    let revision = json["header"]["revision"].as_u64().unwrap();
    let old = (json["kvs"][0]["mod_revision"].as_u64().unwrap() - 1).to_string();
    assert_eq!(
        ok(c, &["get", "e2e/a", "--rev", &old, "--print-value-only"]).trim(),
        "1"
    );
    ok(c, &["compact", &revision.to_string()]);
    let gone = etcdctl(c, &["get", "e2e/a", "--rev", &old]);
    assert!(
        gone.err.contains("required revision has been compacted"),
        "{}",
        gone.err
    );
    assert_eq!(ok(c, &["del", "e2e/", "--prefix"]).trim(), "2");
}

fn watches(c: &Cluster) {
    let mut watch = Command::new(tool("ETCDCTL", "etcdctl"));
    watch
        .args(access(c))
        .args(["watch", "e2e/w", "--rev", "1"])
        .stdout(Stdio::piped());
    // From a revision that is compacted: told so, and ended.
    let out = watch.stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
    assert!(text.contains("compacted"), "{text}");

    ok(c, &["put", "e2e/w", "before"]);
    let json: serde_json::Value = serde_json::from_str(&ok(c, &["get", "e2e/w", "-w", "json"])).unwrap();
    let from = json["kvs"][0]["mod_revision"].as_u64().unwrap().to_string();
    let mut watch = Command::new(tool("ETCDCTL", "etcdctl"));
    watch
        .args(access(c))
        .args(["watch", "e2e/w", "--rev", &from, "--prev-kv"])
        .stdout(Stdio::piped());
    let mut child = watch.spawn().unwrap();
    ok(c, &["put", "e2e/w", "after"]);
    ok(c, &["del", "e2e/w"]);
    let expected = [
        "PUT", "e2e/w", "before", "PUT", "e2e/w", "before", "e2e/w", "after", "DELETE", "e2e/w", "after", "e2e/w",
    ];
    let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .take(expected.len())
        .map(Result::unwrap)
        .collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(lines, expected);
}

fn leases(c: &Cluster) {
    let granted = ok(c, &["lease", "grant", "2"]);
    let id = granted.split_whitespace().nth(1).unwrap().to_owned();
    ok(c, &["put", "e2e/l", "x", "--lease", &id]);
    let alive = ok(c, &["lease", "keep-alive", "--once", &id]);
    assert!(alive.contains("keepalived with TTL(2)"), "{alive}");
    let left = ok(c, &["lease", "timetolive", &id, "--keys"]);
    assert!(left.contains("e2e/l"), "{left}");
    eventually("the key ends with its lease", WAIT, || match ok(c, &["get", "e2e/l"]) {
        s if s.is_empty() => Ok(()),
        s => Err(s),
    });
}

fn refuses(c: &Cluster) {
    let e = c.status()["etcd"].clone();
    let (endpoint, ca) = (
        format!("--endpoints={}", e["endpoint"].as_str().unwrap()),
        format!("--cacert={}", e["ca"].as_str().unwrap()),
    );
    let p = run_tool(
        &tool("ETCDCTL", "etcdctl"),
        &[&endpoint, &ca, "--dial-timeout=1s", "--command-timeout=2s", "get", "x"],
    );
    assert!(!p.ok, "{}", p.out);
}
