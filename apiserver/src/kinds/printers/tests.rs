#![allow(clippy::unwrap_used)]
use super::*;
use keelson_machinery::resources;
use serde_json::json;

const NOW: &str = "2026-01-01T01:00:00Z";

fn cells(group: &str, version: &str, plural: &str, object: Value) -> Vec<Value> {
    let r = resources::by_resource(group, version, plural).unwrap();
    let mut t = table_at(r, &[object], NOW.parse().unwrap());
    t.rows.pop().unwrap().cells
}

fn meta(name: &str) -> Value {
    json!({"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"})
}

fn pod(status: Value) -> Vec<Value> {
    let spec =
        json!({"nodeName": "n", "containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]});
    cells(
        "",
        "v1",
        "pods",
        json!({"metadata": meta("p"), "spec": spec, "status": status}),
    )
}

#[test]
fn a_running_pod() {
    let running = |name: &str| json!({"name": name, "ready": true, "restartCount": 0, "state": {"running": {}}});
    let mut restarted = running("b");
    restarted["restartCount"] = 3.into();
    restarted["lastState"] = json!({"terminated": {"finishedAt": "2026-01-01T00:58:00Z"}});
    let row = pod(json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.5"}],
        "containerStatuses": [running("a"), restarted],
        "initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}));
    assert_eq!(
        row,
        [
            "p",
            "2/2",
            "Running",
            "3 (2m ago)",
            "60m",
            "10.0.0.5",
            "n",
            "<none>",
            "<none>"
        ]
        .map(Value::from)
    );
}

#[test]
fn words_for_pods() {
    let state =
        |s: Value| pod(json!({"phase": "Pending", "containerStatuses": [{"name": "a", "state": s}]}))[2].clone();
    assert_eq!(
        state(json!({"waiting": {"reason": "CrashLoopBackOff"}})),
        "CrashLoopBackOff"
    );
    assert_eq!(
        state(json!({"terminated": {"exitCode": 0, "reason": "Completed"}})),
        "Completed"
    );
    assert_eq!(state(json!({"terminated": {"exitCode": 3}})), "ExitCode:3");
    let init =
        |s: Value| pod(json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": s}]}))[2].clone();
    assert_eq!(init(json!({"running": {}})), "Init:0/1");
    assert_eq!(
        init(json!({"waiting": {"reason": "ErrImagePull"}})),
        "Init:ErrImagePull"
    );
    assert_eq!(
        init(json!({"terminated": {"exitCode": 1, "reason": "Error"}})),
        "Init:Error"
    );
    let mut m = meta("p");
    m["deletionTimestamp"] = NOW.into();
    let gone = cells("", "v1", "pods", json!({"metadata": m, "status": {"phase": "Running"}}));
    assert_eq!(gone[2], "Terminating");
}

#[test]
fn a_finished_pod_is_marked() {
    let r = resources::by_resource("", "v1", "pods").unwrap();
    let t = table(r, &[json!({"metadata": meta("p"), "status": {"phase": "Succeeded"}})]);
    assert_eq!(t.rows[0].conditions[0]["type"], "Completed");
    let columns = t.column_definitions();
    assert_eq!(columns[0]["format"], "name");
    assert_eq!(columns[5]["priority"], 1);
    assert!(
        columns[4]["description"]
            .as_str()
            .unwrap()
            .contains("CreationTimestamp")
    );
}

#[test]
fn workloads_and_services() {
    let template = json!({"spec": {"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "j"}]}});
    let spec = json!({"replicas": 3, "template": template, "selector": {"matchLabels": {"app": "x"}}});
    let status = json!({"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2});
    assert_eq!(
        cells(
            "apps",
            "v1",
            "deployments",
            json!({"metadata": meta("d"), "spec": spec, "status": status})
        ),
        [
            json!("d"),
            json!("2/3"),
            json!(3),
            json!(2),
            json!("60m"),
            json!("c,d"),
            json!("i:1,j"),
            json!("app=x")
        ]
    );
    let service = json!({"metadata": meta("s"), "spec": {"type": "NodePort", "clusterIPs": ["10.96.0.7"],
        "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}});
    assert_eq!(
        cells("", "v1", "services", service),
        [
            "s",
            "NodePort",
            "10.96.0.7",
            "<none>",
            "80:30080/TCP,53/UDP",
            "60m",
            "<none>"
        ]
        .map(Value::from)
    );
    let job = json!({"metadata": meta("j"), "spec": {"completions": 2}, "status": {"succeeded": 2,
        "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:07Z",
        "conditions": [{"type": "Complete", "status": "True"}]}});
    assert_eq!(
        cells("batch", "v1", "jobs", job)[..5],
        ["j", "Complete", "2/2", "7s", "60m"].map(Value::from)
    );
}

#[test]
fn endpoints_show_three() {
    let addresses: Vec<Value> = (1..=5).map(|i| json!({"ip": format!("10.0.0.{i}")})).collect();
    let e = json!({"metadata": meta("e"), "subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]});
    assert_eq!(
        cells("", "v1", "endpoints", e)[1],
        "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more..."
    );
    assert_eq!(
        cells("", "v1", "endpoints", json!({"metadata": meta("e")}))[1],
        "<none>"
    );
}

#[test]
fn nodes_and_events() {
    let node = json!({"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": ""}},
        "spec": {"unschedulable": true},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1.35.4"}}});
    assert_eq!(
        cells("", "v1", "nodes", node)[1..5],
        ["Ready,SchedulingDisabled", "control-plane", "<unknown>", "v1.35.4"].map(Value::from)
    );
    let event = json!({"metadata": meta("e"), "type": "Normal", "reason": "Pulled", "message": " ok ", "count": 4,
        "involvedObject": {"kind": "Pod", "name": "p"}, "source": {"component": "kubelet", "host": "n"},
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:59:30Z"});
    assert_eq!(
        cells("", "v1", "events", event),
        [
            json!("30s"),
            json!("Normal"),
            json!("Pulled"),
            json!("pod/p"),
            json!(""),
            json!("kubelet, n"),
            json!("ok"),
            json!("60m"),
            json!(4),
            json!("e")
        ]
    );
}

#[test]
fn every_kind_prints_an_empty_object() {
    let mut undocumented = Vec::new();
    for r in resources::all() {
        let t = table(
            r,
            &[json!({}), json!({"metadata": {"name": 3}, "spec": [], "status": "x"})],
        );
        for row in &t.rows {
            assert_eq!(row.cells.len(), t.columns.len(), "{}/{}", r.group, r.plural);
        }
        let shown = t.column_definitions();
        for c in shown.as_array().unwrap() {
            if c["description"] == "" {
                undocumented.push(format!("{}/{}: {}", r.group, r.plural, c["name"]));
            }
        }
    }
    assert_eq!(undocumented, Vec::<String>::new());
}
