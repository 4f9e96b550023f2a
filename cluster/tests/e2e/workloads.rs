//! Flow 3: Services, healing, jobs, updates without a gap; and what pods see.

use crate::harness::{Cluster, Flow, WAIT, eventually, flow, run_tool};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

pub fn flows() -> Vec<Flow> {
    vec![
        flow(
            "pods reach each other by name and ClusterIP, outsiders by NodePort",
            services,
        ),
        flow("headless, ExternalName and session affinity", more_services),
        flow(
            "a deleted pod, a killed process and a failed liveness probe heal",
            healing,
        ),
        flow("a rolling update never drops below its available count", update),
        flow("jobs: retries, deadlines, indexed", jobs),
        flow("a changed ConfigMap reaches its volume within 2 s", config_change),
        flow("init containers, sidecars, hooks and termination", container_order),
        flow("volumes, environment and tokens", what_pods_see),
        flow("a pod that fits nowhere says why", unschedulable),
        flow("a crashing container backs off", crash_loop),
    ]
}

const DEMO: &str = "localhost/keelson/demo:1.0";

fn http(address: (&str, u16)) -> Result<String, String> {
    let to: Vec<_> = std::net::ToSocketAddrs::to_socket_addrs(&address)
        .map_err(|e| e.to_string())?
        .collect();
    let mut s = TcpStream::connect_timeout(&to[0], Duration::from_secs(1)).map_err(|e| e.to_string())?;
    s.set_read_timeout(Some(Duration::from_secs(2)))
        .map_err(|e| e.to_string())?;
    s.write_all(b"GET / HTTP/1.0\r\n\r\n").map_err(|e| e.to_string())?;
    let mut text = String::new();
    s.read_to_string(&mut text).map_err(|e| e.to_string())?;
    if text.contains("200 OK") { Ok(text) } else { Err(text) }
}

/// A client pod that stays, to be used with exec.
fn client(c: &Cluster) {
    if c.try_kubectl(&["get", "pod", "client"]).ok {
        return;
    }
    c.kubectl(&[
        "run",
        "client",
        "--image",
        DEMO,
        "--restart=Never",
        "--",
        "sh",
        "-c",
        "trap 'exit 0' TERM; sleep 3600 & wait",
    ]);
    c.kubectl(&["wait", "pod/client", "--for=condition=Ready", "--timeout=60s"]);
}

fn in_client(c: &Cluster, script: &str) -> Result<String, String> {
    let p = c.try_kubectl(&["exec", "client", "--", "sh", "-c", script]);
    if p.ok { Ok(p.out) } else { Err(p.out + &p.err) }
}

fn services(c: &Cluster) {
    c.kubectl(&[
        "create",
        "deployment",
        "web",
        "--image",
        DEMO,
        "--replicas=2",
        "--port=8080",
    ]);
    c.kubectl(&[
        "expose",
        "deployment",
        "web",
        "--type=NodePort",
        "--port=80",
        "--target-port=8080",
    ]);
    c.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    client(c);
    for name in ["web", "web.default", "web.default.svc.cluster.local"] {
        eventually(name, WAIT, || {
            in_client(c, &format!("timeout 3 wget -qO- http://{name}/")).map(|t| assert!(t.contains("hello from web-")))
        });
    }
    let service = c.get(&["service", "web"]);
    let ip = service["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let node_port = u16::try_from(service["spec"]["ports"][0]["nodePort"].as_u64().unwrap()).unwrap();
    let node_ip = c.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}"]);
    eventually("ClusterIP from the host", WAIT, || http((&ip, 80)));
    eventually("NodePort", WAIT, || http((&node_ip, node_port)));
    eventually("NodePort on loopback", WAIT, || http(("127.0.0.1", node_port)));
    let mut seen = std::collections::BTreeSet::new();
    eventually("both pods answer", WAIT, || {
        let text = http((&ip, 80))?;
        seen.insert(text.lines().last().unwrap_or_default().to_owned());
        if seen.len() == 2 {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
    // A pod that reaches itself through its Service.
    let pod = c.kubectl(&[
        "get",
        "pods",
        "-l",
        "app=web",
        "-o",
        "jsonpath={.items[0].metadata.name}",
    ]);
    c.kubectl(&["scale", "deployment/web", "--replicas=1"]);
    eventually("one endpoint", WAIT, || {
        let e = c.kubectl(&[
            "get",
            "endpointslices",
            "-l",
            "kubernetes.io/service-name=web",
            "-o",
            "jsonpath={.items[*].endpoints[*].addresses[0]}",
        ]);
        if e.split_whitespace().count() == 1 {
            Ok(())
        } else {
            Err(e)
        }
    });
    let left = c.kubectl(&[
        "get",
        "pods",
        "-l",
        "app=web",
        "--field-selector=status.phase=Running",
        "-o",
        "jsonpath={.items[0].metadata.name}",
    ]);
    assert!(!left.is_empty() && !pod.is_empty());
    eventually("hairpin", WAIT, || {
        let p = c.try_kubectl(&[
            "exec",
            "deployment/web",
            "--",
            "timeout",
            "3",
            "wget",
            "-qO-",
            "http://web/",
        ]);
        if p.ok { Ok(()) } else { Err(p.err) }
    });
    c.kubectl(&["scale", "deployment/web", "--replicas=0"]);
    eventually("a Service without pods refuses at once", WAIT, || {
        match http((&ip, 80)) {
            Err(e) if e.contains("refused") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    c.kubectl(&["scale", "deployment/web", "--replicas=2"]);
    c.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
}

fn more_services(c: &Cluster) {
    client(c);
    c.kubectl(&[
        "create",
        "deployment",
        "peers",
        "--image",
        DEMO,
        "--replicas=2",
        "--port=8080",
    ]);
    c.kubectl(&["rollout", "status", "deployment/peers", "--timeout=60s"]);
    c.kubectl(&["expose", "deployment", "peers", "--cluster-ip=None", "--port=8080"]);
    eventually("headless names give every pod", WAIT, || {
        let text = in_client(c, "nslookup -type=a peers.default.svc.cluster.local")?;
        let found = text
            .lines()
            .filter(|l| l.starts_with("Address") && l.contains("10."))
            .count();
        if found >= 3 || text.matches("Address: 10.").count() >= 2 {
            Ok(())
        } else {
            Err(text)
        }
    });
    c.kubectl(&[
        "create",
        "service",
        "externalname",
        "elsewhere",
        "--external-name=peers.default.svc.cluster.local",
    ]);
    eventually("ExternalName", WAIT, || {
        in_client(c, "timeout 3 wget -qO- http://elsewhere:8080/")
    });
    c.kubectl(&[
        "expose",
        "deployment",
        "peers",
        "--name=sticky",
        "--port=80",
        "--target-port=8080",
        "--session-affinity=ClientIP",
    ]);
    eventually("the Service answers", WAIT, || {
        in_client(c, "timeout 3 wget -qO- http://sticky/")
    });
    let all = in_client(
        c,
        "for i in 1 2 3 4 5 6 7 8 9 10; do timeout 3 wget -qO- http://sticky/; done",
    )
    .unwrap();
    let distinct: std::collections::BTreeSet<&str> = all.lines().collect();
    assert_eq!((all.lines().count(), distinct.len()), (10, 1), "{all}");
    c.kubectl(&["delete", "service", "peers", "elsewhere", "sticky"]);
    c.kubectl(&["delete", "deployment", "peers"]);
}

fn restarts(c: &Cluster, pod: &str) -> u64 {
    c.get(&["pod", pod])["status"]["containerStatuses"][0]["restartCount"]
        .as_u64()
        .unwrap_or(0)
}

fn healing(c: &Cluster) {
    let pod = c.kubectl(&[
        "get",
        "pods",
        "-l",
        "app=web",
        "-o",
        "jsonpath={.items[0].metadata.name}",
    ]);
    c.kubectl(&["delete", "pod", &pod, "--grace-period=1"]);
    c.kubectl(&[
        "wait",
        "deployment/web",
        "--for=jsonpath={.status.availableReplicas}=2",
        "--timeout=60s",
    ]);
    assert!(c.try_kubectl(&["get", "pod", &pod]).err.contains("NotFound"));

    let pod = c.kubectl(&[
        "get",
        "pods",
        "-l",
        "app=web",
        "-o",
        "jsonpath={.items[0].metadata.name}",
    ]);
    // The shell may be killed with the container before it can say that all went well.
    c.try_kubectl(&["exec", &pod, "--", "sh", "-c", "kill -TERM 1"]);
    eventually("the container is started again", WAIT, || match restarts(c, &pod) {
        0 => Err("no restart yet".into()),
        _ => Ok(()),
    });
    c.kubectl(&["wait", "pod", &pod, "--for=condition=Ready", "--timeout=60s"]);

    let fragile = r#"{apiVersion: v1, kind: Pod, metadata: {name: fragile}, spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: "localhost/keelson/demo:1.0",
      command: [sh, -c, "touch /tmp/ok; trap 'exit 0' TERM; sleep 3600 & wait"],
      livenessProbe: {exec: {command: [cat, /tmp/ok]}, periodSeconds: 1, failureThreshold: 1}}]}}"#;
    c.kubectl_with(&["apply", "-f", "-"], fragile);
    c.kubectl(&["wait", "pod/fragile", "--for=condition=Ready", "--timeout=60s"]);
    c.kubectl(&["exec", "fragile", "--", "rm", "/tmp/ok"]);
    eventually("liveness", WAIT, || match restarts(c, "fragile") {
        0 => Err("no restart yet".into()),
        _ => Ok(()),
    });
    let events = c.kubectl(&["events", "--for=pod/fragile"]);
    assert!(events.contains("Unhealthy") && events.contains("Killing"), "{events}");
    c.kubectl(&["delete", "pod", "fragile", "--grace-period=1"]);
}

fn update(c: &Cluster) {
    let manifest = |image: &str| {
        format!(
            r#"{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: careful}}, spec: {{replicas: 3, selector: {{matchLabels: {{app: careful}}}},
            strategy: {{rollingUpdate: {{maxUnavailable: 0, maxSurge: 1}}}},
            template: {{metadata: {{labels: {{app: careful}}}}, spec: {{terminationGracePeriodSeconds: 2, containers: [{{name: c, image: "{image}",
            readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}},
            lifecycle: {{preStop: {{sleep: {{seconds: 1}}}}}} }}] }} }} }} }}"#
        )
    };
    c.kubectl_with(&["apply", "-f", "-"], &manifest(DEMO));
    c.kubectl(&["rollout", "status", "deployment/careful", "--timeout=60s"]);
    c.kubectl(&["expose", "deployment", "careful", "--port=80", "--target-port=8080"]);
    let ip = c.kubectl(&["get", "service", "careful", "-o", "jsonpath={.spec.clusterIP}"]);
    eventually("answers", WAIT, || http((&ip, 80)));
    c.kubectl_with(&["apply", "-f", "-"], &manifest("localhost/keelson/demo:2.0"));
    let began = Instant::now();
    let mut asked = 0;
    loop {
        let d = c.get(&["deployment", "careful"]);
        let available = d["status"]["availableReplicas"].as_u64().unwrap_or(0);
        assert!(available >= 3, "available: {available}");
        for _ in 0..5 {
            http((&ip, 80)).unwrap_or_else(|e| panic!("a request failed during the update: {e}"));
            asked += 1;
        }
        let done = d["status"]["updatedReplicas"] == 3
            && d["status"]["replicas"] == 3
            && d["status"]["observedGeneration"] == d["metadata"]["generation"];
        if done {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(90), "{d}");
    }
    assert!(asked > 10 && http((&ip, 80)).unwrap().contains("demo 2.0"));
    c.kubectl(&["delete", "deployment,service", "careful"]);
}

fn jobs(c: &Cluster) {
    let job = |name: &str, spec: &str, command: &str| {
        let text = format!(
            r#"{{apiVersion: batch/v1, kind: Job, metadata: {{name: {name}}}, spec: {{{spec} template: {{spec: {{restartPolicy: Never, containers: [{{name: c, image: "{DEMO}", command: [sh, -c, "{command}"]}}]}}}}}}}}"#
        );
        c.kubectl_with(&["apply", "-f", "-"], &text);
    };
    job("fails", "backoffLimit: 1,", "exit 3");
    job("late", "activeDeadlineSeconds: 2,", "sleep 100");
    job(
        "indexed",
        "completions: 3, parallelism: 3, completionMode: Indexed,",
        "echo index $JOB_COMPLETION_INDEX",
    );
    c.kubectl(&["wait", "job/indexed", "--for=condition=Complete", "--timeout=60s"]);
    c.kubectl(&["wait", "job/fails", "--for=condition=Failed", "--timeout=90s"]);
    c.kubectl(&["wait", "job/late", "--for=condition=Failed", "--timeout=60s"]);
    let reason = |name: &str| {
        c.kubectl(&[
            "get",
            "job",
            name,
            "-o",
            "jsonpath={.status.conditions[?(@.type==\"Failed\")].reason}",
        ])
    };
    assert_eq!(
        (reason("fails").as_str(), reason("late").as_str()),
        ("BackoffLimitExceeded", "DeadlineExceeded")
    );
    let i = c.get(&["job", "indexed"]);
    assert_eq!(
        (&i["status"]["succeeded"], &i["status"]["completedIndexes"]),
        (&3.into(), &"0-2".into()),
        "{i}"
    );
    c.kubectl(&["delete", "jobs", "--all"]);
}

fn config_change(c: &Cluster) {
    c.kubectl(&["create", "configmap", "live", "--from-literal=k=one"]);
    let pod = r#"{apiVersion: v1, kind: Pod, metadata: {name: reader}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: "localhost/keelson/demo:1.0",
      volumeMounts: [{name: v, mountPath: /v}]}], volumes: [{name: v, configMap: {name: live}}]}}"#;
    c.kubectl_with(&["apply", "-f", "-"], pod);
    c.kubectl(&["wait", "pod/reader", "--for=condition=Ready", "--timeout=60s"]);
    assert_eq!(c.kubectl(&["exec", "reader", "--", "cat", "/v/k"]), "one");
    c.kubectl(&["patch", "configmap", "live", "-p", r#"{"data":{"k":"two"}}"#]);
    // The bound is the goal itself; a look costs about a tenth of it.
    eventually("the volume shows the change", Duration::from_secs(2), || {
        match c.kubectl(&["exec", "reader", "--", "cat", "/v/k"]) {
            s if s == "two" => Ok(()),
            s => Err(s),
        }
    });
    c.kubectl(&["delete", "pod", "reader", "--grace-period=0", "--force"]);
    c.kubectl(&["delete", "configmap", "live"]);
}

fn container_order(c: &Cluster) {
    let pod = r#"
apiVersion: v1
kind: Pod
metadata: {name: ordered}
spec:
  terminationGracePeriodSeconds: 10
  volumes: [{name: v, emptyDir: {}}, {name: host, hostPath: {path: DIR, type: DirectoryOrCreate}}]
  initContainers:
  - {name: first, image: "localhost/keelson/demo:1.0", command: [sh, -c, "echo first >> /v/log"], volumeMounts: [{name: v, mountPath: /v}]}
  - {name: side, image: "localhost/keelson/demo:1.0", restartPolicy: Always, command: [sh, -c, "echo side >> /v/log; trap 'exit 0' TERM; sleep 3600 & wait"], volumeMounts: [{name: v, mountPath: /v}]}
  containers:
  - name: main
    image: localhost/keelson/demo:1.0
    command: [sh, -c, "echo main >> /v/log; trap 'echo term >> /host/log; exit 0' TERM; while :; do sleep 0.1; done"]
    lifecycle:
      postStart: {exec: {command: [sh, -c, "echo post > /v/post"]}}
      preStop: {exec: {command: [sh, -c, "echo pre >> /host/log"]}}
    volumeMounts: [{name: v, mountPath: /v}, {name: host, mountPath: /host}]
"#;
    let host = c.dir.join("host");
    c.kubectl_with(&["apply", "-f", "-"], &pod.replace("DIR", host.to_str().unwrap()));
    c.kubectl(&["wait", "pod/ordered", "--for=condition=Ready", "--timeout=60s"]);
    let log = c.kubectl(&["exec", "ordered", "-c", "main", "--", "cat", "/v/log", "/v/post"]);
    assert_eq!(log, "first\nside\nmain\npost\n");
    c.kubectl(&["delete", "pod", "ordered"]);
    assert_eq!(std::fs::read_to_string(host.join("log")).unwrap(), "pre\nterm\n");
}

fn what_pods_see(c: &Cluster) {
    let pod = r#"
apiVersion: v1
kind: Pod
metadata: {name: seer, labels: {a: b}, annotations: {note: kept}}
spec:
  terminationGracePeriodSeconds: 0
  hostname: looking
  volumes:
  - {name: mem, emptyDir: {medium: Memory}}
  - name: all
    projected:
      sources:
      - {configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca}]}}
      - {downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
      - {serviceAccountToken: {path: token, audience: someone, expirationSeconds: 600}}
  containers:
  - name: c
    image: localhost/keelson/demo:1.0
    securityContext: {runAsUser: 1000, runAsGroup: 1000}
    env:
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
    - {name: BOTH, value: "$(NAME)-$(LIMIT)"}
    resources: {limits: {memory: 32Mi, cpu: 100m}}
    volumeMounts: [{name: mem, mountPath: /mem}, {name: all, mountPath: /all}]
"#;
    c.kubectl_with(&["apply", "-f", "-"], pod);
    c.kubectl(&["wait", "pod/seer", "--for=condition=Ready", "--timeout=60s"]);
    let sh = |script: &str| c.kubectl(&["exec", "seer", "--", "sh", "-c", script]).trim().to_owned();
    assert_eq!(sh("echo $BOTH; hostname; id -u"), "seer-33554432\nlooking\n1000");
    assert!(sh("grep ' /mem ' /proc/mounts").contains("tmpfs"));
    assert_eq!(sh("cat /all/labels"), "a=\"b\"");
    assert!(sh("cat /all/ca").contains("BEGIN CERTIFICATE"));
    assert_eq!(sh("cat /all/token").split('.').count(), 3);
    assert!(sh("cat /etc/resolv.conf").contains("search default.svc.cluster.local svc.cluster.local cluster.local"));
    assert!(sh("cat /etc/hosts").contains("looking"));
    assert_eq!(sh("echo $KUBERNETES_SERVICE_PORT"), "443");
    // The token of the pod's account opens the API through its Service, and RBAC limits it.
    let token = sh("cat /var/run/secrets/kubernetes.io/serviceaccount/token");
    let ca = c.dir.join("pod-ca");
    std::fs::write(
        &ca,
        sh("cat /var/run/secrets/kubernetes.io/serviceaccount/ca.crt") + "\n",
    )
    .unwrap();
    let ip = c.kubectl(&["get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}"]);
    let ask = |path: &str| {
        let (url, header) = (format!("https://{ip}{path}"), format!("Authorization: Bearer {token}"));
        let args = [
            "-s",
            "--cacert",
            ca.to_str().unwrap(),
            "-H",
            &header,
            "-w",
            "\n%{http_code}",
            &url,
        ];
        run_tool(std::path::Path::new("curl"), &args).out
    };
    assert!(ask("/api/v1").ends_with("200"));
    let refused = ask("/api/v1/secrets");
    assert!(
        refused.ends_with("403") && refused.contains("system:serviceaccount:default:default"),
        "{refused}"
    );
    c.kubectl(&["delete", "pod", "seer", "--grace-period=0", "--force"]);
}

fn unschedulable(c: &Cluster) {
    c.kubectl_with(
        &["apply", "-f", "-"],
        r#"{apiVersion: v1, kind: Pod, metadata: {name: huge}, spec: {containers: [{name: c, image: i, resources: {requests: {cpu: "1000"}}}]}}"#,
    );
    eventually("the condition says why", WAIT, || {
        let m = c.kubectl(&[
            "get",
            "pod",
            "huge",
            "-o",
            "jsonpath={.status.conditions[?(@.type==\"PodScheduled\")].message}",
        ]);
        if m.starts_with("0/1 nodes are available: 1 Insufficient cpu") {
            Ok(())
        } else {
            Err(m)
        }
    });
    assert!(c.kubectl(&["events", "--for=pod/huge"]).contains("FailedScheduling"));
    c.kubectl(&["delete", "pod", "huge"]);
}

fn crash_loop(c: &Cluster) {
    c.kubectl(&[
        "run",
        "crasher",
        "--image",
        DEMO,
        "--",
        "sh",
        "-c",
        "echo broken > /dev/termination-log; exit 4",
    ]);
    eventually("CrashLoopBackOff", WAIT, || {
        let s = c.get(&["pod", "crasher"])["status"]["containerStatuses"][0].clone();
        let (waiting, last) = (&s["state"]["waiting"]["reason"], &s["lastState"]["terminated"]);
        let right = waiting == "CrashLoopBackOff" && last["exitCode"] == 4 && last["message"] == "broken\n";
        if right { Ok(()) } else { Err(s.to_string()) }
    });
    let shown = c.kubectl(&["get", "pod", "crasher", "--no-headers"]);
    assert!(shown.contains("CrashLoopBackOff"), "{shown}");
    c.kubectl(&["delete", "pod", "crasher", "--grace-period=1"]);
}
