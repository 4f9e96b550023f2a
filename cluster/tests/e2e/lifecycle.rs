//! Flows 1, 4 and 6: up, crash, down, two clusters beside each other, images.

use crate::harness::{Cluster, Flow, WAIT, eventually, flow};
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What the kernel held before the cluster was made.
static BEFORE: OnceLock<Traces> = OnceLock::new();

pub fn first() -> Vec<Flow> {
    vec![
        Flow {
            name: "a taken port is one clear line and leaves nothing",
            always: false,
            run: taken_port,
        },
        Flow {
            name: "up",
            always: true,
            run: up,
        },
        flow("up again finds the cluster", up_again),
        flow("status tells every component", status),
        flow("keys are root's alone", modes),
        flow("anonymous sees health and version, nothing else", anonymous),
    ]
}

pub fn last() -> Vec<Flow> {
    vec![
        flow("images are imported, listed and removed", images),
        flow("a second cluster runs beside the first", second),
        flow("kill -9 loses nothing and containers go on", crash),
        flow("down leaves nothing and up brings the cluster back", down_and_up),
        flow("purge forgets the cluster", purge),
    ]
}

/// Everything of the kernel's that a cluster could leave behind.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Traces {
    links: BTreeSet<String>,
    namespaces: BTreeSet<String>,
    mounts: BTreeSet<String>,
    cgroups: BTreeSet<String>,
    rules: String,
    routes: String,
    processes: BTreeSet<String>,
}

fn names(dir: &str) -> BTreeSet<String> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect()
}

fn run(program: &str, args: &[&str]) -> String {
    String::from_utf8_lossy(&Command::new(program).args(args).output().unwrap().stdout).into_owned()
}

fn traces() -> Traces {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let cgroup_roots = fs::read_dir("/sys/fs/cgroup")
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.is_dir());
    let mut processes = BTreeSet::new();
    for p in names("/proc").iter().filter(|p| p.bytes().all(|b| b.is_ascii_digit())) {
        let line = fs::read(Path::new("/proc").join(p).join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if ["containerd", "keelson up", "pause"].iter().any(|w| line.contains(w)) {
            processes.insert(line);
        }
    }
    Traces {
        links: names("/sys/class/net"),
        namespaces: names("/run/netns"),
        mounts: mounts
            .lines()
            .filter_map(|l| l.split(' ').nth(1))
            .map(str::to_owned)
            .collect(),
        cgroups: cgroup_roots
            .flat_map(|r| names(&r.to_string_lossy()))
            .filter(|n| n.contains("keelson"))
            .collect(),
        rules: run("nft", &["-s", "list", "ruleset"]),
        routes: run("ip", &["route", "list", "table", "all"]),
        processes,
    }
}

fn taken_port(c: &Cluster) {
    let before = traces();
    let held = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = held.local_addr().unwrap().port().to_string();
    let p = c.keelson(&["up", "--api-port", &port]);
    assert!(!p.ok);
    assert_eq!(p.err.lines().count(), 1, "{}", p.err);
    assert!(p.err.contains(&port) && p.err.contains("--api-port"), "{}", p.err);
    assert_eq!(traces(), before);
    assert!(!Path::new("/var/lib/keelson").join(&c.name).exists());
}

fn up(c: &Cluster) {
    let _ = BEFORE.set(traces());
    // Something of the user's, which must survive.
    fs::write(
        c.kubeconfig(),
        "apiVersion: v1\nkind: Config\nclusters:\n- name: mine\n  cluster: {server: 'https://203.0.113.1'}\n",
    )
    .unwrap();
    let p = c.keelson(&["up"]);
    assert!(p.ok, "{}{}", p.out, p.err);
    assert!(
        p.out.contains("node Ready") && p.out.matches("  kubectl").count() == 3,
        "{}",
        p.out
    );
    let contexts = c.kubectl(&["config", "get-contexts", "-o", "name"]);
    assert_eq!(contexts.trim(), c.name);
    assert!(c.kubectl(&["config", "view"]).contains("203.0.113.1"));
    let nodes = c.kubectl(&["get", "nodes", "--no-headers"]);
    assert_eq!(nodes.split_whitespace().nth(1), Some("Ready"), "{nodes}");
}

fn up_again(c: &Cluster) {
    let p = c.keelson(&["up"]);
    assert!(p.ok && p.out.contains("is up already"), "{}{}", p.out, p.err);
}

fn status(c: &Cluster) {
    let s = c.status();
    assert_eq!(s["ready"], true, "{s}");
    for name in [
        "kvstore",
        "apiserver",
        "controller-manager",
        "scheduler",
        "kubelet",
        "proxy",
        "dns",
        "containerd",
    ] {
        assert_eq!(s["components"][name]["healthy"], true, "{name}: {s}");
        let pid = s["pids"][name].as_i64().unwrap();
        assert!(Path::new(&format!("/proc/{pid}")).exists(), "{name}");
    }
    assert!(s["server"].as_str().unwrap().starts_with("https://127.0.0.1:"));
    let text = c.keelson(&["status"]);
    assert!(text.ok && text.out.contains("ready"), "{}", text.out);
}

fn modes(c: &Cluster) {
    let pki = Path::new("/var/lib/keelson").join(&c.name).join("pki");
    assert_eq!(fs::metadata(&pki).unwrap().permissions().mode() & 0o777, 0o700);
    for e in fs::read_dir(&pki).unwrap().flatten() {
        let mode = e.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", e.path().display());
    }
}

fn anonymous(c: &Cluster) {
    let server = c.status()["server"].as_str().unwrap().to_owned();
    // Not kubectl: without credentials it asks for a password.
    let code = |path: &str| {
        let url = format!("{server}{path}");
        run("curl", &["-sk", "-o", "/dev/null", "-w", "%{http_code}", &url])
    };
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        assert_eq!(code(path), "200", "{path}");
    }
    for path in [
        "/api",
        "/apis",
        "/metrics",
        "/openapi/v3",
        "/api/v1/secrets",
        "/api/v1/nodes",
    ] {
        assert_eq!(code(path), "403", "{path}");
    }
}

fn images(c: &Cluster) {
    let listed = c.keelson(&["images", "list"]).out;
    assert!(listed.contains("localhost/keelson/demo:1.0"), "{listed}");
    let tar = c.dir.join("image.tar");
    let socket = format!("/run/keelson/{}/containerd.sock", c.name);
    let export = [
        "-a",
        &socket,
        "-n",
        "k8s.io",
        "images",
        "export",
        tar.to_str().unwrap(),
        "localhost/keelson/demo:2.0",
    ];
    assert!(Command::new("ctr").args(export).status().unwrap().success());
    assert!(c.keelson(&["images", "remove", "localhost/keelson/demo:2.0"]).ok);
    assert!(!c.keelson(&["images", "list"]).out.contains("demo:2.0"));
    let again = c.keelson(&["images", "remove", "localhost/keelson/demo:2.0"]);
    assert!(!again.ok && again.err.contains("no image"), "{}", again.err);
    let p = c.keelson(&["images", "import", tar.to_str().unwrap()]);
    assert!(
        p.ok && p.out.contains("imported localhost/keelson/demo:2.0"),
        "{}{}",
        p.out,
        p.err
    );
    assert!(c.keelson(&["images", "list"]).out.contains("demo:2.0"));
}

fn second(c: &Cluster) {
    let name = format!("{}-b", c.name);
    let kubeconfig = c.kubeconfig();
    let p = Cluster::keelson_named(&name, &kubeconfig, &["up"]);
    assert!(p.ok, "{}{}", p.out, p.err);
    let both = c.kubectl(&["config", "get-contexts", "-o", "name"]);
    assert_eq!(both.lines().count(), 2, "{both}");
    let other = c.kubectl(&["--context", &name, "create", "configmap", "only-there"]);
    assert!(other.contains("created"));
    let here = c.try_kubectl(&["--context", &c.name, "get", "configmap", "only-there"]);
    assert!(here.err.contains("NotFound"), "{}", here.err);
    let nodes = c.kubectl(&["--context", &name, "get", "nodes", "--no-headers"]);
    assert!(nodes.contains(" Ready"), "{nodes}");
    let p = Cluster::keelson_named(&name, &kubeconfig, &["down", "--purge"]);
    assert!(p.ok, "{}{}", p.out, p.err);
    assert_eq!(c.kubectl(&["config", "get-contexts", "-o", "name"]).trim(), c.name);
    c.kubectl(&["config", "use-context", &c.name]);
    assert_eq!(c.status()["ready"], true, "the first goes on");
}

/// Pids of running containers' first processes, which must outlive us.
fn container_pids(c: &Cluster) -> BTreeSet<String> {
    let socket = format!("/run/keelson/{}/containerd.sock", c.name);
    run("ctr", &["-a", &socket, "-n", "k8s.io", "tasks", "list"])
        .lines()
        .skip(1)
        .filter(|l| l.contains("RUNNING"))
        .filter_map(|l| l.split_whitespace().nth(1).map(str::to_owned))
        .collect()
}

fn crash(c: &Cluster) {
    c.kubectl(&[
        "create",
        "deployment",
        "steady",
        "--image=localhost/keelson/demo:1.0",
        "--replicas=2",
    ]);
    c.kubectl(&["rollout", "status", "deployment/steady", "--timeout=60s"]);
    let containers = container_pids(c);
    assert!(containers.len() >= 4, "{containers:?}");
    let mut last = 0;
    for round in 0..3 {
        let name = format!("written-{round}");
        let made: serde_json::Value =
            serde_json::from_str(&c.kubectl(&["create", "configmap", &name, "-o", "json"])).unwrap();
        let version: u64 = made["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        assert!(version > last, "{version} after {last}");
        last = version;
        let pid = c.status()["pids"]["apiserver"].as_i64().unwrap().to_string();
        assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        eventually("the process is gone", WAIT, || {
            match Path::new("/proc").join(&pid).join("exe").exists() {
                false => Ok(()),
                true => Err(pid.clone()),
            }
        });
        assert_eq!(container_pids(c), containers, "containers go on");
        let p = c.keelson(&["up"]);
        assert!(p.ok, "{}{}", p.out, p.err);
        let read = c.get(&["configmap", &name]);
        assert_eq!(read["metadata"], made["metadata"], "acknowledged, so kept");
    }
    c.kubectl(&[
        "wait",
        "deployment/steady",
        "--for=condition=Available",
        "--timeout=60s",
    ]);
    assert_eq!(container_pids(c), containers, "adopted, not started again");
}

fn down_and_up(c: &Cluster) {
    let uid = c.get(&["namespace", "kube-system"])["metadata"]["uid"].clone();
    let p = c.keelson(&["down"]);
    assert!(p.ok, "{}{}", p.out, p.err);
    assert_eq!(Some(&traces()), BEFORE.get());
    assert!(!Path::new("/run/keelson").join(&c.name).exists());
    let s = c.keelson(&["status"]);
    assert!(!s.ok && s.err.contains("not running"), "{}", s.err);
    let p = c.keelson(&["up"]);
    assert!(p.ok, "{}{}", p.out, p.err);
    assert_eq!(
        c.get(&["namespace", "kube-system"])["metadata"]["uid"],
        uid,
        "the same cluster"
    );
    if c.try_kubectl(&["get", "deployment", "steady"]).ok {
        c.kubectl(&["rollout", "status", "deployment/steady", "--timeout=60s"]);
    }
}

fn purge(c: &Cluster) {
    let p = c.keelson(&["down", "--purge"]);
    assert!(p.ok, "{}{}", p.out, p.err);
    assert_eq!(Some(&traces()), BEFORE.get());
    for dir in ["/var/lib/keelson", "/run/keelson"] {
        let left: PathBuf = Path::new(dir).join(&c.name);
        assert!(!left.exists(), "{}", left.display());
    }
    let config = fs::read_to_string(c.kubeconfig()).unwrap();
    assert!(!config.contains(&c.name) && config.contains("203.0.113.1"), "{config}");
}
