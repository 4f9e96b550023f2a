//! Components as processes of their own: the API server on a datastore that is another process, the scheduler with a
//! kubeconfig, and a real kubectl.
#![allow(clippy::unwrap_used)]

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn keelson() -> Command {
    Command::new(env!("CARGO_BIN_EXE_keelson"))
}

fn start(dir: &Path, name: &str, command: &mut Command) -> Running {
    let log = std::fs::File::create(dir.join(format!("{name}.log"))).unwrap();
    let child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    Running(child)
}

/// A port that was free a moment ago.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn keys(dir: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(dir.join("ca.crt"), authority.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
    std::fs::write(dir.join("tls.crt"), server.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    std::fs::write(dir.join("tls.key"), key.serialize_pem()).unwrap();
    let tokens = "admin-token,admin,1,\"system:masters\"\nscheduler-token,system:kube-scheduler,2,\n";
    std::fs::write(dir.join("tokens.csv"), tokens).unwrap();
}

fn kubeconfig(dir: &Path, name: &str, token: &str, port: u16) -> PathBuf {
    let path = dir.join(name);
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: t\n\
         clusters: [{{name: t, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority: ca.crt}}}}]\n\
         users: [{{name: t, user: {{token: {token}}}}}]\n\
         contexts: [{{name: t, context: {{cluster: t, user: t}}}}]\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// Runs `command` until it succeeds and what it prints will do.
fn eventually(what: &str, command: &mut Command, will_do: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        if status.success() && will_do(&out) {
            return out.into_owned();
        }
        assert!(Instant::now() < end, "{what}: {out}{err}");
        std::thread::sleep(LOOK);
    }
}

#[test]
fn an_api_server_and_schedulers_run_on_a_store_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    keys(dir.path());
    let (client, peer, api) = (port(), port(), port());
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    let _store = start(
        dir.path(),
        "store",
        keelson().arg("kvstore").args([
            format!("--data-dir={}", at("data")),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
        ]),
    );
    let mut server_args = vec![
        format!("--etcd-servers={client}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=192.0.2.1".to_owned(),
        format!("--secure-port={api}"),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
    ];
    for (flag, file) in [
        ("tls-cert-file", "tls.crt"),
        ("tls-private-key-file", "tls.key"),
        ("client-ca-file", "ca.crt"),
        ("token-auth-file", "tokens.csv"),
        ("service-account-signing-key-file", "tls.key"),
        ("service-account-key-file", "tls.key"),
        ("kubelet-client-certificate", "tls.crt"),
        ("kubelet-client-key", "tls.key"),
    ] {
        server_args.push(format!("--{flag}={}", at(file)));
    }
    let _server = start(
        dir.path(),
        "apiserver",
        keelson().arg("kube-apiserver").args(&server_args),
    );
    let admin = kubeconfig(dir.path(), "admin.kubeconfig", "admin-token", api);
    let kubectl = |args: &[&str]| {
        let program = std::env::var_os("KUBECTL").map_or_else(|| "kubectl".into(), PathBuf::from);
        let mut command = Command::new(program);
        command.args(args).env("KUBECONFIG", &admin).env("HOME", dir.path());
        command
    };
    eventually(
        "the API server is ready",
        &mut kubectl(&["get", "--raw=/readyz"]),
        |out| out == "ok",
    );

    let scheduler = kubeconfig(dir.path(), "scheduler.kubeconfig", "scheduler-token", api);
    let link = dir.path().join("kube-scheduler");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_keelson"), &link).unwrap();
    let _schedulers = ["one", "two"].map(|name| {
        // Under upstream's name, as upstream is started.
        start(
            dir.path(),
            name,
            Command::new(&link)
                .arg(format!("--kubeconfig={}", scheduler.display()))
                .args(["--secure-port=0", "--leader-elect"]),
        )
    });
    let objects = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
            "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"}}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"},
            "spec": {
                // A new Node is tainted until it is ready, and no kubelet makes this one so.
                "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": "1"}}}]}},
    ]});
    std::fs::write(dir.path().join("objects.json"), objects.to_string()).unwrap();
    let made = kubectl(&["create", "-f", &at("objects.json")]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    eventually(
        "the pod is bound",
        &mut kubectl(&["get", "pod", "p", "-o", "jsonpath={.spec.nodeName}"]),
        |out| out == "n1",
    );
    let holder = eventually(
        "one scheduler leads",
        &mut kubectl(&[
            "-n",
            "kube-system",
            "get",
            "lease",
            "kube-scheduler",
            "-o",
            "jsonpath={.spec.holderIdentity}",
        ]),
        |out| !out.is_empty(),
    );
    let pids = _schedulers
        .iter()
        .filter(|s| holder.contains(&format!("_{}-", s.0.id())));
    assert_eq!(pids.count(), 1, "{holder}");
}

#[test]
fn flags_that_are_not_honoured_are_errors() {
    let said = |args: &[&str]| {
        let out = keelson().args(args).output().unwrap();
        assert!(!out.status.success());
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    let unknown = said(&["kube-scheduler", "--kubeconfig=x", "--feature-gates=A=true"]);
    assert!(unknown.contains("unexpected argument '--feature-gates'"), "{unknown}");
    let timing = said(&["kube-scheduler", "--kubeconfig=x", "--leader-elect-lease-duration=5s"]);
    assert!(
        timing.contains("must be greater than --leader-elect-renew-deadline"),
        "{timing}"
    );
    assert!(said(&["kube-apiserver"]).contains("--etcd-servers"));
}
