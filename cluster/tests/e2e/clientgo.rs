//! A Go program on client-go 0.35 sees what kubectl sees: its scenarios, each a flow. What they check, and how, is
//! in `cluster/tests/clientgo`; every one of them passes against upstream's own API server too.

use crate::harness::{Cluster, Flow, Printed, WAIT, eventually, flow, tool};
use std::path::{Path, PathBuf};
use std::process::Command;

pub fn flows() -> Vec<Flow> {
    vec![
        flow("client-go: informers sync by WatchList over protobuf", |c| {
            scenario(c, "informers")
        }),
        flow("client-go: informers tell every write, once and in order", |c| {
            scenario(c, "events")
        }),
        flow("client-go: informers see what kubectl sees", names),
        flow("client-go: metadata and dynamic informers", |c| scenario(c, "metadata")),
        flow("client-go: pages are one list", |c| scenario(c, "paging")),
        flow("client-go: what was compacted is Expired", |c| scenario(c, "expired")),
        flow("client-go: conflicts, and writers who lose nothing", |c| {
            scenario(c, "concurrency")
        }),
        flow("client-go: leader election", |c| scenario(c, "leader")),
        flow("client-go: patches", |c| scenario(c, "patches")),
        flow("client-go: dry run", |c| scenario(c, "dryrun")),
        flow("client-go: selectors", |c| scenario(c, "selectors")),
        flow("client-go: collections and finalizers", |c| scenario(c, "collections")),
        flow("client-go: watches, bookmarks and timeouts", |c| scenario(c, "watches")),
        flow("client-go: resource versions", |c| scenario(c, "versions")),
        flow("client-go: discovery and RESTMapper", |c| scenario(c, "discovery")),
        flow("client-go: OpenAPI v3 and v2", |c| scenario(c, "openapi")),
        flow("client-go: tokens of ServiceAccounts", |c| scenario(c, "tokens")),
    ]
}

/// Builds the program into the test's own folder; Go's cache makes every time but the first one quick.
fn program(c: &Cluster) -> PathBuf {
    let out = c.dir.join("clientgo");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clientgo");
    let built = Command::new(tool("GO", "go"))
        .args(["build", "-trimpath", "-o"])
        .arg(&out)
        .arg(".")
        .current_dir(&source)
        .env("CGO_ENABLED", "0")
        .output()
        .unwrap_or_else(|e| panic!("run go: {e}"));
    assert!(
        built.status.success(),
        "go build in {}: {}",
        source.display(),
        String::from_utf8_lossy(&built.stderr)
    );
    out
}

/// The command that compacts the cluster's store, without the revision.
fn compact(c: &Cluster) -> String {
    let status = c.status();
    let field = |k: &str| status["etcd"][k].as_str().unwrap().to_owned();
    format!(
        "{} --endpoints={} --cacert={} --cert={} --key={} compact",
        tool("ETCDCTL", "etcdctl").display(),
        field("endpoint"),
        field("ca"),
        field("cert"),
        field("key"),
    )
}

fn run(c: &Cluster, name: &str) -> Printed {
    let out = Command::new(program(c))
        .args(["--scenario", name, "--compact", &compact(c)])
        .arg("--kubeconfig")
        .arg(c.kubeconfig())
        .output()
        .unwrap();
    Printed {
        out: String::from_utf8_lossy(&out.stdout).into_owned(),
        err: String::from_utf8_lossy(&out.stderr).into_owned(),
        ok: out.status.success(),
    }
}

fn scenario(c: &Cluster, name: &str) {
    let p = run(c, name);
    assert!(p.ok, "{}", p.err);
}

/// Both are looked at until they agree: the cluster goes on while they look.
fn names(c: &Cluster) {
    eventually("informers and kubectl agree", WAIT, || {
        let p = run(c, "names");
        assert!(p.ok, "{}", p.err);
        let (seen, listed) = (p.out.trim().to_owned(), by_kubectl(c));
        match seen == listed {
            true => Ok(()),
            false => Err(format!("client-go:\n{seen}\nkubectl:\n{listed}")),
        }
    });
}

/// `resource namespace/name` lines in order. Namespaces of other scenarios, which are on their way out, are left out.
fn by_kubectl(c: &Cluster) -> String {
    let mut lines = Vec::new();
    for resource in ["pods", "configmaps", "services", "events", "nodes", "deployments"] {
        let list = c.get(&[resource, "--all-namespaces"]);
        for item in list["items"].as_array().unwrap() {
            let meta = &item["metadata"];
            let name = meta["name"].as_str().unwrap();
            match meta["namespace"].as_str() {
                Some(ns) if ns.starts_with("clientgo-") => {}
                Some(ns) => lines.push(format!("{resource} {ns}/{name}")),
                None => lines.push(format!("{resource} {name}")),
            }
        }
    }
    lines.sort();
    lines.join("\n")
}
