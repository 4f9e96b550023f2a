//! The real kubectl over TLS.
use super::harness::Cluster;
use std::path::{Path, PathBuf};
use tokio::process::Command;

fn binary() -> PathBuf {
    std::env::var_os("KUBECTL")
        .map(PathBuf::from)
        .expect("set KUBECTL to what `bench/peers/build kubectl` prints")
}

/// Output of a command that must succeed.
async fn run(kubectl: &Path, config: &Path, args: &[&str]) -> String {
    let mut command = Command::new(kubectl);
    command
        .arg("--kubeconfig")
        .arg(config)
        .arg("--cache-dir")
        .arg(config.with_extension("cache"))
        .args(args);
    let done = tokio::time::timeout(super::harness::WAIT_MAX, command.kill_on_drop(true).output())
        .await
        .unwrap()
        .unwrap();
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    assert!(done.status.success(), "kubectl {args:?}: {}", text(&done.stderr));
    text(&done.stdout)
}

const MANIFEST: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: '1'}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: c, image: busybox, ports: [{containerPort: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
";

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_works() {
    let kubectl = binary();
    let c = Cluster::start().await;
    let config = c.kubeconfig();
    let k = |args: &'static [&'static str]| {
        let (kubectl, config) = (kubectl.clone(), config.clone());
        async move { run(&kubectl, &config, args).await }
    };
    assert!(k(&["version"]).await.contains("Server Version: v1.35"));
    assert!(k(&["api-resources"]).await.contains("deployments"));
    let file = c.dir.path().join("m.yaml");
    std::fs::write(&file, MANIFEST).unwrap();
    let file = file.display().to_string();
    let applied = run(&kubectl, &config, &["apply", "-f", &file]).await;
    assert_eq!(
        applied,
        "configmap/settings created\ndeployment.apps/web created\nservice/web created\n"
    );
    let again = run(&kubectl, &config, &["apply", "-f", &file]).await;
    assert_eq!(
        again,
        "configmap/settings unchanged\ndeployment.apps/web unchanged\nservice/web unchanged\n"
    );
    std::fs::write(&file, MANIFEST.replace("replicas: 2", "replicas: 3")).unwrap();
    assert!(
        run(&kubectl, &config, &["apply", "-f", &file])
            .await
            .contains("deployment.apps/web configured")
    );
    let table = k(&["get", "deployments"]).await;
    assert!(
        table.starts_with("NAME   READY   UP-TO-DATE   AVAILABLE   AGE\nweb    0/3"),
        "{table}"
    );
    assert_eq!(
        k(&["get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"]).await,
        "3"
    );
    assert!(k(&["get", "svc", "-o", "wide"]).await.contains("app=web"));
    assert!(k(&["scale", "deployment/web", "--replicas=5"]).await.contains("scaled"));
    assert!(k(&["label", "deployment", "web", "x=y"]).await.contains("labeled"));
    assert!(k(&["annotate", "deployment", "web", "x=y"]).await.contains("annotated"));
    assert!(
        k(&["set", "image", "deployment/web", "c=busybox:2"])
            .await
            .contains("image updated")
    );
    assert!(k(&["describe", "deployment", "web"]).await.contains("busybox:2"));
    assert!(k(&["explain", "deployment.spec.replicas"]).await.contains("<integer>"));
    assert_eq!(k(&["auth", "can-i", "create", "pods"]).await, "yes\n");
    assert!(
        k(&["create", "deployment", "other", "--image=busybox"])
            .await
            .contains("created")
    );
    assert!(k(&["get", "all"]).await.contains("deployment.apps/other"));
    let dry = k(&[
        "create",
        "configmap",
        "dry",
        "--from-literal=a=b",
        "--dry-run=server",
        "-o",
        "yaml",
    ])
    .await;
    assert!(dry.contains("uid:"), "{dry}");
    assert!(
        k(&[
            "patch",
            "cm",
            "settings",
            "--type=merge",
            "-p",
            "{\"data\":{\"b\":\"2\"}}"
        ])
        .await
        .contains("patched")
    );
    assert!(
        k(&["run", "p", "--image=busybox", "--restart=Never"])
            .await
            .contains("pod/p created")
    );
    assert!(k(&["delete", "pod", "p"]).await.contains("deleted"));
    assert!(
        k(&["delete", "deployment", "web", "--cascade=background"])
            .await
            .contains("deleted")
    );
    assert!(k(&["create", "token", "default"]).await.starts_with("ey"));
    assert!(k(&["cluster-info"]).await.contains("is running at"));
}
