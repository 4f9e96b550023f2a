//! The folders are the architecture: who may use whom, held against `cargo metadata`.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Crate, and the crates of ours that it may use, with optional ones. What is not here may use none. `keelson-bugs` is
/// used under the feature `seeded-bugs` alone: see `seeded_bugs_are_asked_for`.
const ARROWS: [(&str, &[&str]); 21] = [
    ("keelson-proto", &[]),
    ("keelson-wal", &["keelson-bugs"]),
    ("keelson-mvcc", &["keelson-bugs", "keelson-proto"]),
    (
        "keelson-raft",
        &["keelson-bugs", "keelson-proto", "keelson-wal", "keelson-mvcc"],
    ),
    ("keelson-bolt", &["keelson-proto"]),
    (
        "keelson-kvstore",
        &[
            "keelson-bugs",
            "keelson-proto",
            "keelson-wal",
            "keelson-mvcc",
            "keelson-raft",
            "keelson-bolt",
        ],
    ),
    (
        "keelson-kvstore-cli",
        &[
            "keelson-bugs",
            "keelson-proto",
            "keelson-wal",
            "keelson-mvcc",
            "keelson-bolt",
            "keelson-kvstore",
        ],
    ),
    (
        "keelson-sim",
        &["keelson-proto", "keelson-wal", "keelson-mvcc", "keelson-raft"],
    ),
    ("keelson-machinery", &[]),
    ("keelson-client", &["keelson-machinery"]),
    (
        "keelson-apiserver",
        &[
            "keelson-bugs",
            "keelson-machinery",
            "keelson-client",
            "keelson-kvstore",
            "keelson-proto",
        ],
    ),
    ("keelson-controllers", &["keelson-machinery", "keelson-client"]),
    ("keelson-scheduler", &["keelson-machinery", "keelson-client"]),
    (
        "keelson-kubelet",
        &["keelson-machinery", "keelson-client", "keelson-proto"],
    ),
    ("keelson-proxy", &["keelson-machinery", "keelson-client"]),
    ("keelson-dns", &["keelson-machinery", "keelson-client"]),
    ("keelson-bench-kv", &["keelson-proto"]),
    ("keelson-bugs", &[]),
    ("keelson-jepsen", &["keelson-proto", "keelson-bugs"]),
    ("keelson-jepsen-clock", &[]),
    ("keelson", &["*"]),
];

/// What a deterministic core must not reach for: sockets, clocks and runtimes of others.
const ABSENT: [(&str, &[&str]); 3] = [
    (
        "keelson-mvcc",
        &["tokio", "tonic", "hyper", "openraft", "axum", "socket2", "mio"],
    ),
    ("keelson-wal", &["tokio", "tonic", "hyper", "openraft", "rocksdb"]),
    ("keelson-machinery", &["tokio", "hyper", "tonic", "reqwest", "kube"]),
];

fn metadata() -> serde_json::Value {
    let out = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--offline",
            "--no-deps",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// Names of normal and build dependencies by crate of ours; those for tests may point anywhere.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let meta = metadata();
    let packages = meta["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|p| {
            let used = p["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|d| d["kind"] != "dev");
            let names = used.map(|d| d["name"].as_str().unwrap().to_owned()).collect();
            (p["name"].as_str().unwrap().to_owned(), names)
        })
        .collect()
}

#[test]
fn crates_use_only_what_the_arrows_allow() {
    let found = dependencies();
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let mut wrong = Vec::new();
    for (name, used) in &found {
        let Some(may) = allowed.get(name.as_str()) else {
            wrong.push(format!("{name} has no arrows: add it to ARROWS and to ARCHITECTURE.md"));
            continue;
        };
        for other in used.iter().filter(|u| found.contains_key(*u)) {
            if !may.contains(&"*") && !may.contains(&other.as_str()) {
                wrong.push(format!("{name} uses {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for name in allowed.keys() {
        assert!(
            found.contains_key(*name),
            "{name} is in ARROWS but not in the workspace"
        );
    }
}

/// A build that does not name the feature must not know of the bugs.
#[test]
fn seeded_bugs_are_asked_for() {
    let meta = metadata();
    for package in meta["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let used = package["dependencies"].as_array().unwrap();
        for bugs in used.iter().filter(|d| d["name"] == "keelson-bugs") {
            // The consistency tests take the names, and cannot switch anything on.
            let names_only = name == "keelson-jepsen" && bugs["features"] == serde_json::json!([]);
            assert!(
                bugs["optional"] == true || names_only,
                "{name} always uses keelson-bugs"
            );
        }
        if let Some(default) = package["features"].get("default") {
            assert!(!default.to_string().contains("seeded"), "{name} plants bugs by default");
        }
    }
}

#[test]
fn deterministic_cores_reach_for_no_runtime() {
    let found = dependencies();
    for (name, absent) in ABSENT {
        for other in absent {
            assert!(!found[name].contains(*other), "{name} uses {other}");
        }
    }
}
