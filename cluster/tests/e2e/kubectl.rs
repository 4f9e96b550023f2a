//! Flow 2: what a user types at stock kubectl.

use crate::harness::{Cluster, Flow, WAIT, eventually, flow};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

pub fn flows() -> Vec<Flow> {
    vec![
        flow("apply a file of Deployment, Service, ConfigMap, Secret and Job", apply),
        flow("get in every form", get_forms),
        flow("describe and explain", describe),
        flow("label, annotate, patch, edit, replace, diff", change),
        flow("scale, set image, rollout", rollout),
        flow("logs, exec, cp, port-forward", streams),
        flow("run --rm -it and attach", interactive),
        flow("watch and wait", watch_and_wait),
        flow("expose, events, api-resources, cluster-info, auth can-i", about),
        flow("errors in upstream's words", errors),
        flow("delete: grace, cascade, collection", delete),
    ]
}

pub const FILE: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, labels: {app: shop}}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: localhost/keelson/demo:1.0
        ports: [{containerPort: 8080, name: http}]
        env:
        - {name: GREETING, valueFrom: {configMapKeyRef: {name: shop, key: greeting}}}
        - {name: PASSWORD, valueFrom: {secretKeyRef: {name: shop, key: password}}}
        - {name: MY_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
        resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
        volumeMounts: [{name: conf, mountPath: /conf}, {name: scratch, mountPath: /scratch}]
      volumes:
      - {name: conf, configMap: {name: shop}}
      - {name: scratch, emptyDir: {}}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: shop}
data: {greeting: welcome}
---
apiVersion: v1
kind: Secret
metadata: {name: shop}
data: {password: aHVudGVyMg==}
---
apiVersion: batch/v1
kind: Job
metadata: {name: count}
spec:
  completions: 2
  template:
    spec:
      restartPolicy: Never
      containers: [{name: c, image: "localhost/keelson/demo:1.0", command: [sh, -c, "echo counted"]}]
"#;

fn apply(c: &Cluster) {
    let made = c.kubectl_with(&["apply", "-f", "-"], FILE);
    assert_eq!(made.matches(" created").count(), 5, "{made}");
    c.kubectl(&["rollout", "status", "deployment/shop", "--timeout=60s"]);
    c.kubectl(&["wait", "job/count", "--for=condition=Complete", "--timeout=60s"]);
    let again = c.kubectl_with(&["apply", "-f", "-"], FILE);
    assert_eq!(again.matches(" unchanged").count(), 5, "{again}");
    let typo = FILE.replace("replicas: 2", "replicaz: 2");
    let p = c.try_kubectl_with(&["apply", "-f", "-"], &typo);
    assert!(
        !p.ok && p.err.contains("unknown field \"spec.replicaz\""),
        "validated on the server: {}",
        p.err
    );
}

fn get_forms(c: &Cluster) {
    let table = c.kubectl(&["get", "deployment", "shop"]);
    let lines: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]);
    assert_eq!(lines[1][..4], ["shop", "2/2", "2", "2"]);
    let wide = c.kubectl(&["get", "pods", "-l", "app=shop", "-o", "wide"]);
    assert!(wide.lines().next().unwrap().contains("NOMINATED NODE"), "{wide}");
    assert_eq!(wide.lines().count(), 3);
    let yaml = c.kubectl(&["get", "configmap", "shop", "-o", "yaml"]);
    assert!(
        yaml.contains("greeting: welcome") && yaml.contains("kind: ConfigMap"),
        "{yaml}"
    );
    let ip = c.kubectl(&["get", "service", "shop", "-o", "jsonpath={.spec.clusterIP}"]);
    assert!(ip.parse::<std::net::Ipv4Addr>().is_ok(), "{ip}");
    let columns = c.kubectl(&[
        "get",
        "pods",
        "-l",
        "app=shop",
        "-o",
        "custom-columns=N:.metadata.name,P:.status.phase",
        "--no-headers",
    ]);
    assert_eq!(columns.matches("Running").count(), 2, "{columns}");
    let running = c.kubectl(&[
        "get",
        "pods",
        "-A",
        "--field-selector=status.phase=Running",
        "-o",
        "name",
    ]);
    assert!(running.lines().count() >= 2 && !running.contains("count-"), "{running}");
    let sorted = c.kubectl(&["get", "configmaps", "-A", "--sort-by=.metadata.name", "-o", "name"]);
    let names: Vec<&str> = sorted.lines().collect();
    assert!(names.is_sorted(), "{sorted}");
    let all = c.kubectl(&["get", "all"]);
    for kind in [
        "pod/shop-",
        "service/shop",
        "deployment.apps/shop",
        "replicaset.apps/shop-",
        "job.batch/count",
    ] {
        assert!(all.contains(kind), "{kind}: {all}");
    }
    let paged = c.kubectl(&["get", "pods", "-A", "--chunk-size=1", "-o", "name"]);
    assert_eq!(paged, c.kubectl(&["get", "pods", "-A", "-o", "name"]));
}

fn describe(c: &Cluster) {
    let d = c.kubectl(&["describe", "deployment", "shop"]);
    assert!(
        d.contains("ScalingReplicaSet") && d.contains("NewReplicaSetAvailable"),
        "{d}"
    );
    let p = c.kubectl(&["describe", "pods", "-l", "app=shop"]);
    for word in ["Scheduled", "Pulled", "Created", "Started", "Burstable"] {
        assert!(p.contains(word), "{word}: {p}");
    }
    c.kubectl(&["describe", "node"]);
    let s = c.kubectl(&["describe", "service", "shop"]);
    assert!(s.contains(":8080"), "{s}");
    let e = c.kubectl(&["explain", "deployment.spec.strategy.rollingUpdate"]);
    assert!(e.contains("maxSurge") && e.contains("IntOrString"), "{e}");
    assert!(
        c.kubectl(&["explain", "pods", "--recursive"])
            .contains("terminationGracePeriodSeconds")
    );
}

fn change(c: &Cluster) {
    c.kubectl(&["label", "configmap", "shop", "tier=front"]);
    let p = c.try_kubectl(&["label", "configmap", "shop", "tier=back"]);
    assert!(p.err.contains("--overwrite"), "{}", p.err);
    c.kubectl(&["annotate", "configmap", "shop", "note=yes"]);
    c.kubectl(&[
        "patch",
        "configmap",
        "shop",
        "--type=merge",
        "-p",
        r#"{"data":{"a":"1"}}"#,
    ]);
    c.kubectl(&[
        "patch",
        "configmap",
        "shop",
        "--type=json",
        "-p",
        r#"[{"op":"add","path":"/data/b","value":"2"}]"#,
    ]);
    c.kubectl(&[
        "patch",
        "deployment",
        "shop",
        "--type=strategic",
        "-p",
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"EXTRA","value":"1"}]}]}}}}"#,
    ]);
    let d = c.get(&["deployment", "shop"]);
    let container = &d["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["env"].as_array().unwrap().len(),
        4,
        "merged by name: {container}"
    );
    assert_eq!(container["image"], "localhost/keelson/demo:1.0");
    c.kubectl(&["rollout", "status", "deployment/shop", "--timeout=60s"]);
    let mut edit = c.command(&["edit", "configmap", "shop"]);
    let out = edit.env("KUBE_EDITOR", "sed -i 's/welcome/howdy/'").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let m = c.get(&["configmap", "shop"]);
    assert_eq!(
        (&m["data"]["greeting"], &m["data"]["a"], &m["data"]["b"]),
        (&"howdy".into(), &"1".into(), &"2".into())
    );
    assert_eq!(m["metadata"]["labels"]["tier"], "front");
    let mut old = m.clone();
    old["data"]["a"] = "9".into();
    c.kubectl_with(&["replace", "-f", "-"], &old.to_string());
    let stale = c.try_kubectl_with(&["replace", "-f", "-"], &old.to_string());
    assert!(stale.err.contains("the object has been modified"), "{}", stale.err);
    let wanted = FILE.replace("greeting: welcome", "greeting: ciao");
    let d = c.try_kubectl_with(&["diff", "-f", "-"], &wanted);
    assert!(!d.ok && d.out.contains("+  greeting: ciao"), "{}{}", d.out, d.err);
    let dry = c.kubectl(&["delete", "configmap", "shop", "--dry-run=server"]);
    assert!(dry.contains("dry run"), "{dry}");
    c.kubectl(&["get", "configmap", "shop"]);
}

fn rollout(c: &Cluster) {
    c.kubectl(&[
        "create",
        "deployment",
        "roll",
        "--image=localhost/keelson/demo:1.0",
        "--replicas=3",
    ]);
    c.kubectl(&["rollout", "status", "deployment/roll", "--timeout=60s"]);
    c.kubectl(&["set", "image", "deployment/roll", "demo=localhost/keelson/demo:2.0"]);
    c.kubectl(&["rollout", "status", "deployment/roll", "--timeout=90s"]);
    let history = c.kubectl(&["rollout", "history", "deployment/roll"]);
    assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
    let image = || c.kubectl(&["get", "deployment", "roll", "-o", "jsonpath={..image}"]);
    assert_eq!(image(), "localhost/keelson/demo:2.0");
    c.kubectl(&["rollout", "undo", "deployment/roll"]);
    assert_eq!(image(), "localhost/keelson/demo:1.0");
    c.kubectl(&["rollout", "status", "deployment/roll", "--timeout=90s"]);
    c.kubectl(&["rollout", "restart", "deployment/roll"]);
    c.kubectl(&["rollout", "status", "deployment/roll", "--timeout=90s"]);
    c.kubectl(&["scale", "deployment/roll", "--replicas=1"]);
    eventually("scaled down", WAIT, || {
        match c
            .kubectl(&["get", "pods", "-l", "app=roll", "-o", "name"])
            .lines()
            .count()
        {
            1 => Ok(()),
            n => Err(n.to_string()),
        }
    });
    c.kubectl(&["delete", "deployment", "roll", "--grace-period=0", "--force"]);
}

fn streams(c: &Cluster) {
    let pod = c.kubectl(&[
        "get",
        "pods",
        "-l",
        "app=shop",
        "-o",
        "jsonpath={.items[0].metadata.name}",
    ]);
    let logs = c.kubectl(&["logs", &pod]);
    assert!(logs.contains("demo 1.0 listens on 8080"), "{logs}");
    assert_eq!(c.kubectl(&["logs", "job/count"]).trim(), "counted");
    assert_eq!(
        c.kubectl(&["exec", &pod, "--", "sh", "-c", "echo $PASSWORD $GREETING"])
            .trim(),
        "hunter2 welcome"
    );
    let code = c.command(&["exec", &pod, "--", "sh", "-c", "exit 7"]).output().unwrap();
    assert_eq!(code.status.code(), Some(7), "{}", String::from_utf8_lossy(&code.stderr));
    let through = c.kubectl_with(&["exec", "-i", &pod, "--", "wc", "-c"], &"x".repeat(200_000));
    assert_eq!(through.trim(), "200000", "stdin is closed at its end");
    let big = c.kubectl(&["exec", &pod, "--", "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' a"]);
    assert_eq!(big.len(), 3_000_000);
    let from = c.dir.join("to-copy");
    std::fs::write(&from, "copied").unwrap();
    c.kubectl(&["cp", from.to_str().unwrap(), &format!("{pod}:/scratch/f")]);
    let back = c.dir.join("copied-back");
    c.kubectl(&["cp", &format!("{pod}:/scratch/f"), back.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(back).unwrap(), "copied");

    let mut follow = c
        .command(&["logs", "-f", "--tail=0", &pod])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    // Standard output of the container's first process is what the log is made of.
    c.kubectl(&["exec", &pod, "--", "sh", "-c", "sleep 1; echo followed > /proc/1/fd/1"]);
    assert_eq!(lines.next().unwrap().unwrap(), "followed");
    follow.kill().unwrap();
    follow.wait().unwrap();

    let mut forward = c
        .command(&["port-forward", &pod, ":8080"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Kept: kubectl writes a line for each connection, and would die of a closed pipe.
    let mut told = BufReader::new(forward.stdout.take().unwrap()).lines();
    let line = told.next().unwrap().unwrap();
    let port: u16 = line
        .split("127.0.0.1:")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    for _ in 0..3 {
        let mut s = TcpStream::connect(("127.0.0.1", port)).unwrap();
        s.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        s.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("welcome from shop-"), "{answer}");
    }
    forward.kill().unwrap();
    forward.wait().unwrap();
}

/// Runs kubectl under a terminal of `script`'s, which is what `-t` wants.
fn on_terminal(c: &Cluster, args: &str, input: &str) -> String {
    let kubectl = crate::harness::tool("KUBECTL", "kubectl");
    let line = format!("{} {args}", kubectl.display());
    let mut script = std::process::Command::new("script");
    script
        .args(["-qec", &line, "/dev/null"])
        .env("KUBECONFIG", c.kubeconfig())
        .env("HOME", &c.dir);
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut to = child.stdin.take().unwrap();
    let mut from = child.stdout.take().unwrap();
    to.write_all(input.as_bytes()).unwrap();
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    drop(to);
    child.wait().unwrap();
    text
}

fn interactive(c: &Cluster) {
    let text = on_terminal(
        c,
        "run once --rm -it --restart=Never --image=localhost/keelson/demo:1.0 -- sh -c 'read x; echo got:$x; tty'",
        "line\n",
    );
    assert!(text.contains("got:line") && text.contains("/dev/pts/"), "{text}");
    assert!(text.contains("pod \"once\" deleted"), "{text}");
    let pod = c.kubectl(&[
        "get",
        "pods",
        "-l",
        "app=shop",
        "-o",
        "jsonpath={.items[0].metadata.name}",
    ]);
    let shell = on_terminal(c, &format!("exec -it {pod} -- sh"), "echo in-$((40+2)); exit\n");
    assert!(shell.contains("in-42"), "{shell}");
    c.kubectl(&[
        "run",
        "talker",
        "--image=localhost/keelson/demo:1.0",
        "--restart=Never",
        "-i",
        "--",
        "sh",
        "-c",
        "echo said; exit 0",
    ]);
    c.kubectl(&["delete", "pod", "talker"]);
    c.kubectl(&[
        "run",
        "ticker",
        "--image=localhost/keelson/demo:1.0",
        "--restart=Never",
        "--",
        "sh",
        "-c",
        "trap 'exit 0' TERM; while :; do echo tick; sleep 1; done",
    ]);
    c.kubectl(&["wait", "pod/ticker", "--for=condition=Ready", "--timeout=60s"]);
    let mut attach = c
        .command(&["attach", "ticker"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let first = BufReader::new(attach.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .find(|l| l == "tick");
    assert!(first.is_some());
    attach.kill().unwrap();
    attach.wait().unwrap();
    c.kubectl(&["delete", "pod", "ticker", "--grace-period=1"]);
}

fn watch_and_wait(c: &Cluster) {
    let mut watch = c
        .command(&["get", "configmaps", "-w", "--no-headers"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    let _ = lines.by_ref().find(|l| l.starts_with("shop "));
    c.kubectl(&["create", "configmap", "seen", "--from-literal=k=v"]);
    assert!(lines.any(|l| l.starts_with("seen ")));
    watch.kill().unwrap();
    watch.wait().unwrap();
    c.kubectl(&[
        "wait",
        "pods",
        "-l",
        "app=shop",
        "--for=condition=Ready",
        "--timeout=30s",
    ]);
    c.kubectl(&["wait", "configmap/seen", "--for=jsonpath={.data.k}=v", "--timeout=10s"]);
    let mut gone = c
        .command(&["wait", "configmap/seen", "--for=delete", "--timeout=30s"])
        .spawn()
        .unwrap();
    c.kubectl(&["delete", "configmap", "seen"]);
    assert!(gone.wait().unwrap().success());
}

fn about(c: &Cluster) {
    c.kubectl(&[
        "expose",
        "deployment",
        "shop",
        "--name=shop2",
        "--port=81",
        "--target-port=8080",
    ]);
    assert!(c.kubectl(&["get", "endpoints", "shop2"]).contains(":8080"));
    c.kubectl(&["delete", "service", "shop2"]);
    assert!(c.kubectl(&["events", "--types=Normal"]).contains("Scheduled"));
    let resources = c.kubectl(&["api-resources"]);
    for word in [
        "deployments",
        "customresourcedefinitions",
        "networkpolicies",
        "horizontalpodautoscalers",
        "leases",
        "po ",
    ] {
        assert!(resources.contains(word), "{word}: {resources}");
    }
    assert!(c.kubectl(&["api-versions"]).lines().any(|l| l == "apps/v1"));
    assert!(c.kubectl(&["cluster-info"]).contains("control plane"));
    assert_eq!(c.kubectl(&["auth", "can-i", "create", "pods"]).trim(), "yes");
    let p = c.try_kubectl(&[
        "auth",
        "can-i",
        "list",
        "secrets",
        "--as=system:serviceaccount:default:default",
    ]);
    assert_eq!(p.out.trim(), "no", "{}", p.err);
    assert!(c.kubectl(&["auth", "whoami"]).contains("kubernetes-admin"));
    assert!(c.kubectl(&["version"]).contains("Server Version: v1.35"));
    c.kubectl(&["top", "--help"]);
}

fn errors(c: &Cluster) {
    let refused = |input: &str, wanted: &str| {
        let p = c.try_kubectl_with(&["create", "-f", "-"], input);
        assert!(!p.ok && p.err.contains(wanted), "wanted {wanted:?}: {}", p.err);
    };
    let p = c.try_kubectl(&["get", "pod", "nobody"]);
    assert_eq!(p.err.trim(), "Error from server (NotFound): pods \"nobody\" not found");
    let p = c.try_kubectl(&["create", "configmap", "shop"]);
    assert_eq!(
        p.err.trim(),
        "error: failed to create configmap: configmaps \"shop\" already exists"
    );
    refused(
        "{apiVersion: v1, kind: Pod, metadata: {name: Bad_Name}, spec: {containers: [{name: c, image: i}]}}",
        "RFC 1123",
    );
    refused(
        "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: []}}",
        "spec.containers: Required value",
    );
    refused(
        "{apiVersion: v1, kind: Pod, metadata: {name: x, namespace: nowhere}, spec: {containers: [{name: c, image: i}]}}",
        "namespaces \"nowhere\" not found",
    );
    refused(
        "{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {ports: [{port: 0}]}}",
        "spec.ports[0].port: Invalid value: 0",
    );
    refused(
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: c}}, spec: {containers: [{name: c, image: i}]}}}}",
        "`selector` does not match template `labels`",
    );
    refused(
        "{apiVersion: v1, kind: Nothing, metadata: {name: x}}",
        "no matches for kind \"Nothing\"",
    );
    let p = c.try_kubectl(&["patch", "pod", "-h"]);
    assert!(p.ok);
}

fn delete(c: &Cluster) {
    c.kubectl(&[
        "create",
        "deployment",
        "owner",
        "--image=localhost/keelson/demo:1.0",
        "--replicas=1",
    ]);
    c.kubectl(&["rollout", "status", "deployment/owner", "--timeout=60s"]);
    c.kubectl(&["delete", "deployment", "owner", "--cascade=orphan"]);
    let sets = c.kubectl(&["get", "replicasets", "-l", "app=owner", "-o", "name"]);
    assert_eq!(sets.lines().count(), 1, "orphaned: {sets}");
    c.kubectl(&["delete", sets.trim(), "--cascade=foreground", "--timeout=60s"]);
    let pods = c.kubectl(&[
        "get",
        "pods",
        "-l",
        "app=owner",
        "--field-selector=status.phase=Running",
        "-o",
        "name",
    ]);
    assert_eq!(pods, "", "foreground waits for them");
    c.kubectl(&["create", "namespace", "doomed"]);
    c.kubectl(&[
        "-n",
        "doomed",
        "create",
        "deployment",
        "d",
        "--image=localhost/keelson/demo:1.0",
    ]);
    c.kubectl(&["-n", "doomed", "create", "configmap", "m"]);
    c.kubectl(&["-n", "doomed", "rollout", "status", "deployment/d", "--timeout=60s"]);
    c.kubectl(&["delete", "namespace", "doomed", "--timeout=60s"]);
    assert!(c.try_kubectl(&["get", "namespace", "doomed"]).err.contains("NotFound"));
    for i in 0..3 {
        c.kubectl(&["create", "configmap", &format!("many-{i}")]);
        c.kubectl(&["label", "configmap", &format!("many-{i}"), "many=yes"]);
    }
    let out = c.kubectl(&["delete", "configmaps", "-l", "many=yes"]);
    assert_eq!(out.matches("deleted").count(), 3, "{out}");
    c.kubectl_with(&["delete", "-f", "-", "--timeout=60s"], FILE);
    eventually("their pods go too", WAIT, || {
        match c.kubectl(&["get", "pods", "-l", "app=shop", "-o", "name"]) {
            s if s.is_empty() => Ok(()),
            s => Err(s),
        }
    });
}
