//! A stock kube-apiserver with a stock controller manager and scheduler on three members of ours, over mutual TLS:
//! a Deployment becomes ReplicaSets and bound Pods while the leader of the store is killed.

use crate::cluster::{Cluster, Kind, client_port, eventually, peer, peer_url};
use crate::tls::Authority;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Bound of what the control plane does on its own, on a busy machine.
const BOUND: Duration = Duration::from_secs(120);
/// Services need an address that is not loopback's.
const ADDRESS: &str = "10.77.0.1";

/// Processes of the control plane; killed by id at the end.
struct Components {
    all: Vec<(String, Child)>,
    dir: PathBuf,
}

impl Drop for Components {
    fn drop(&mut self) {
        for (name, child) in &mut self.all {
            let _ = child.kill();
            let _ = child.wait();
            if std::thread::panicking() {
                let text = std::fs::read_to_string(self.dir.join(format!("{name}.log"))).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                eprintln!("log of {name}:\n{}", lines[lines.len().saturating_sub(12)..].join("\n"));
            }
        }
    }
}

impl Components {
    fn start(&mut self, cluster: &Cluster, variable: &str, args: &[String]) {
        let name = variable.to_lowercase().replace('_', "-");
        let log = std::fs::File::create(self.dir.join(format!("{name}.log"))).unwrap();
        let mut command = Command::new(peer(variable));
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = cluster
            .net
            .inside(|| command.spawn())
            .unwrap_or_else(|e| panic!("start {name}: {e}"));
        self.all.push((name, child));
    }
}

fn kubectl(cluster: &Cluster, kubeconfig: &Path, args: &[&str], input: Option<&str>) -> Result<String, String> {
    let mut command = Command::new(peer("KUBECTL"));
    command
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .arg("--request-timeout=20s")
        .args(args)
        .env("HOME", cluster.dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = cluster.net.inside(|| command.spawn()).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.unwrap_or_default().as_bytes()).unwrap();
    drop(stdin);
    let out = child.wait_with_output().unwrap();
    match out.status.success() {
        true => Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&out.stderr).into_owned()),
    }
}

/// Three members that take only clients and peers with certificates.
fn store(authority: &Authority) -> Cluster {
    let mut cluster = Cluster::empty(Kind::Ours);
    let everyone: Vec<String> = (1..=3).map(|n| format!("m{n}={}", secure(&peer_url(n)))).collect();
    let (ca, cert, key) = (authority.ca(), authority.cert("member"), authority.key("member"));
    for number in 1..=3 {
        let url = format!("https://127.0.0.1:{}", client_port(number));
        let peer = secure(&peer_url(number));
        let flags = [
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--trusted-ca-file={ca}"),
            format!("--cert-file={cert}"),
            format!("--key-file={key}"),
            "--client-cert-auth".to_owned(),
            format!("--peer-trusted-ca-file={ca}"),
            format!("--peer-cert-file={cert}"),
            format!("--peer-key-file={key}"),
            "--peer-client-cert-auth".to_owned(),
            "--watch-progress-notify-interval=5s".to_owned(),
        ];
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        cluster.add_with(number, "new", &everyone.join(","), &flags);
        cluster.spawn(number);
    }
    cluster
}

fn secure(url: &str) -> String {
    url.replace("http://", "https://")
}

#[test]
fn a_stock_kubernetes_goes_on_through_the_loss_of_the_leader() {
    let files = tempfile::tempdir().unwrap();
    let authority = Authority::new(files.path());
    authority.issue("member", &[], &["127.0.0.1", "localhost"]);
    authority.issue("apiserver", &[], &["127.0.0.1", ADDRESS, "kubernetes.default.svc"]);
    authority.issue("store-client", &[], &[]);
    authority.issue("admin", &["system:masters"], &[]);
    let mut cluster = store(&authority);
    let credentials = [
        "--cacert".to_owned(),
        authority.ca(),
        "--cert".into(),
        authority.cert("store-client"),
        "--key".into(),
        authority.key("store-client"),
    ];
    let endpoints = (1..=3)
        .map(|n| format!("https://127.0.0.1:{}", client_port(n)))
        .collect::<Vec<_>>()
        .join(",");
    let ctl = |cluster: &Cluster, args: &[&str]| {
        let mut all: Vec<&str> = credentials.iter().map(String::as_str).collect();
        all.extend(["--endpoints", &endpoints]);
        all.extend(args);
        let out = cluster.ctl(&all);
        match out.status.success() {
            true => Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&out.stderr).into_owned()),
        }
    };
    eventually("the store", BOUND, || ctl(&cluster, &["endpoint", "health"]));
    // Nobody without a certificate.
    let bare = cluster.ctl(&[
        "--endpoints",
        &endpoints,
        "--cacert",
        &authority.ca(),
        "--command-timeout=2s",
        "get",
        "a",
    ]);
    assert!(!bare.status.success(), "a client without a certificate was served");

    let added = cluster.run(
        Path::new("ip"),
        &["address", "add", &format!("{ADDRESS}/32"), "dev", "lo"],
    );
    assert!(added.status.success());
    let kubeconfig = authority.kubeconfig("https://127.0.0.1:6443", "admin");
    let mut components = Components {
        all: Vec::new(),
        dir: files.path().to_owned(),
    };
    let pairs = |list: &[(&str, &str)]| list.iter().map(|(k, v)| format!("--{k}={v}")).collect::<Vec<_>>();
    let (ca, config) = (authority.ca(), kubeconfig.to_str().unwrap().to_owned());
    components.start(
        &cluster,
        "KUBE_APISERVER",
        &pairs(&[
            ("etcd-servers", &endpoints),
            ("etcd-cafile", &ca),
            ("etcd-certfile", &authority.cert("store-client")),
            ("etcd-keyfile", &authority.key("store-client")),
            ("bind-address", "127.0.0.1"),
            ("advertise-address", ADDRESS),
            ("secure-port", "6443"),
            ("tls-cert-file", &authority.cert("apiserver")),
            ("tls-private-key-file", &authority.key("apiserver")),
            ("client-ca-file", &ca),
            ("service-cluster-ip-range", "10.96.0.0/16"),
            ("service-account-issuer", "https://kubernetes.default.svc"),
            ("service-account-key-file", &authority.public("apiserver")),
            ("service-account-signing-key-file", &authority.key("apiserver")),
            ("authorization-mode", "RBAC"),
        ]),
    );
    let ask = |cluster: &Cluster, args: &[&str], input: Option<&str>| kubectl(cluster, &kubeconfig, args, input);
    eventually("the API server", BOUND, || {
        ask(&cluster, &["get", "--raw", "/readyz"], None)
    });
    components.start(
        &cluster,
        "KUBE_CONTROLLER_MANAGER",
        &pairs(&[
            ("kubeconfig", &config),
            ("authentication-kubeconfig", &config),
            ("authorization-kubeconfig", &config),
            ("bind-address", "127.0.0.1"),
            ("service-account-private-key-file", &authority.key("apiserver")),
            ("root-ca-file", &ca),
            ("leader-elect", "false"),
            ("node-monitor-grace-period", "1h"),
        ]),
    );
    components.start(
        &cluster,
        "KUBE_SCHEDULER",
        &pairs(&[
            ("kubeconfig", &config),
            ("authentication-kubeconfig", &config),
            ("authorization-kubeconfig", &config),
            ("bind-address", "127.0.0.1"),
            ("leader-elect", "false"),
        ]),
    );
    eventually("the default account", BOUND, || {
        ask(&cluster, &["get", "serviceaccount", "default"], None)
    });
    ask(&cluster, &["create", "-f", "-"], Some(NODE)).expect("create a node");
    ask(&cluster, &["apply", "-f", "-"], Some(&deployment(20))).expect("create a deployment");
    wait_bound(&cluster, &kubeconfig, 20);

    // The leader goes while the number of pods doubles.
    let leader = eventually("the leader of the store", BOUND, || leader(&cluster, &credentials));
    ask(&cluster, &["apply", "-f", "-"], Some(&deployment(40))).expect("scale up");
    cluster.member(leader).kill();
    wait_bound(&cluster, &kubeconfig, 40);
    for n in 0..10 {
        // An answer that got lost with the leader may hide a success: applying again is what people do.
        eventually("a config map", BOUND, || {
            let map = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: map-{n}}}\ndata: {{n: \"{n}\"}}\n");
            ask(&cluster, &["apply", "-f", "-"], Some(&map))
        });
    }
    cluster.spawn(leader);
    ask(&cluster, &["apply", "-f", "-"], Some(&deployment(60))).expect("scale up again");
    wait_bound(&cluster, &kubeconfig, 60);
    eventually("all members", BOUND, || ctl(&cluster, &["endpoint", "health"]));

    // What the API tells is what the store holds, on every member.
    let list: serde_json::Value =
        serde_json::from_str(&ask(&cluster, &["get", "pods", "-o", "json"], None).unwrap()).unwrap();
    let mut names: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["metadata"]["name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 60);
    for number in 1..=3 {
        let url = format!("https://127.0.0.1:{}", client_port(number));
        let mut args: Vec<&str> = credentials.iter().map(String::as_str).collect();
        args.extend([
            "--endpoints",
            &url,
            "get",
            "/registry/pods/default/",
            "--prefix",
            "--keys-only",
        ]);
        let held = cluster.ctl_ok(&args);
        let mut held: Vec<&str> = held
            .lines()
            .filter_map(|l| l.strip_prefix("/registry/pods/default/"))
            .collect();
        held.sort_unstable();
        assert_eq!(held, names, "member {number}");
    }
    let sets: serde_json::Value =
        serde_json::from_str(&ask(&cluster, &["get", "replicasets", "-o", "json"], None).unwrap()).unwrap();
    assert_eq!(sets["items"].as_array().unwrap().len(), 1, "one ReplicaSet");
    assert_eq!(sets["items"][0]["status"]["replicas"], 60);
    let maps = ask(&cluster, &["get", "configmaps", "-o", "name"], None).unwrap();
    assert_eq!(maps.lines().filter(|l| l.starts_with("configmap/map-")).count(), 10);
    let objects = eventually("the end of the deployment", BOUND, || {
        ask(
            &cluster,
            &["delete", "deployment", "web", "--wait=false", "--ignore-not-found"],
            None,
        )?;
        let left = ask(&cluster, &["get", "deployments,replicasets", "-o", "name"], None)?;
        if left.trim().is_empty() { Ok(left) } else { Err(left) }
    });
    assert!(objects.trim().is_empty());
}

fn leader(cluster: &Cluster, credentials: &[String; 6]) -> Result<usize, String> {
    for number in 1..=3 {
        let url = format!("https://127.0.0.1:{}", client_port(number));
        let mut args: Vec<&str> = credentials.iter().map(String::as_str).collect();
        args.extend(["--endpoints", &url, "endpoint", "status", "-w", "json"]);
        let out = cluster.ctl(&args);
        let all: serde_json::Value = serde_json::from_slice(&out.stdout).map_err(|e| e.to_string())?;
        let status = &all[0]["Status"];
        if status["leader"] == status["header"]["member_id"] {
            return Ok(number);
        }
    }
    Err("nobody leads".to_owned())
}

/// Waits for exactly so many pods, all bound.
fn wait_bound(cluster: &Cluster, kubeconfig: &Path, count: usize) {
    eventually(&format!("{count} bound pods"), BOUND, || {
        let text = kubectl(cluster, kubeconfig, &["get", "pods", "-o", "json"], None)?;
        let list: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        let items = list["items"].as_array().ok_or("no list")?;
        let bound = items.iter().filter(|p| p["spec"]["nodeName"] == "node-1").count();
        assert!(items.len() <= count, "{} pods, {count} were asked for", items.len());
        if items.len() == count && bound == count {
            Ok(())
        } else {
            Err(format!("{} pods, {bound} bound", items.len()))
        }
    });
}

const NODE: &str = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"node-1"},"status":{
"capacity":{"cpu":"64","memory":"256Gi","pods":"500"},"allocatable":{"cpu":"64","memory":"256Gi","pods":"500"},
"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady"}]}}"#;

fn deployment(replicas: usize) -> String {
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"web"}},"spec":{{"replicas":{replicas},
"selector":{{"matchLabels":{{"app":"web"}}}},"template":{{"metadata":{{"labels":{{"app":"web"}}}},"spec":{{
"tolerations":[{{"operator":"Exists"}}],"containers":[{{"name":"c","image":"none"}}]}}}}}}}}"#
    )
}
