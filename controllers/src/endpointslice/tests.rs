#![allow(clippy::unwrap_used)]
use super::desired::desired;
use super::plan::{ENDPOINTS_PER_SLICE_MAX, Plan, plan};
use expect_test::expect;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};
use std::sync::Arc;

fn service(extra: Value) -> Service {
    let mut spec = json!({"clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "selector": {"app": "x"},
        "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}]});
    for (k, v) in extra.as_object().unwrap() {
        spec[k] = v.clone();
    }
    serde_json::from_value(json!({"metadata": {"name": "svc", "namespace": "d", "uid": "s"}, "spec": spec})).unwrap()
}

fn pod(n: usize, port: u16, ready: bool, extra: Value) -> Arc<Pod> {
    let mut p = json!({"metadata": {"name": format!("p{n}"), "namespace": "d", "uid": format!("u{n}"), "labels": {"app": "x"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": port, "protocol": "TCP"}]}]},
        "status": {"phase": "Running", "podIP": format!("10.1.{}.{}", n / 250, n % 250),
            "podIPs": [{"ip": format!("10.1.{}.{}", n / 250, n % 250)}],
            "conditions": [{"type": "Ready", "status": if ready {"True"} else {"False"}}]}});
    for (k, v) in extra.as_object().unwrap() {
        p["metadata"][k] = v.clone();
    }
    Arc::new(serde_json::from_value(p).unwrap())
}

/// Slices as the server would hold them after the plan.
fn apply(have: Vec<Arc<EndpointSlice>>, p: Plan, seq: &mut usize) -> Vec<Arc<EndpointSlice>> {
    let gone: Vec<_> = p.delete.iter().map(|s| s.metadata.name.clone()).collect();
    let mut out: Vec<Arc<EndpointSlice>> = have
        .into_iter()
        .filter(|s| !gone.contains(&s.metadata.name))
        .map(|s| {
            let new = p.update.iter().find(|u| u.metadata.name == s.metadata.name);
            new.map_or(s, |u| Arc::new(u.clone()))
        })
        .collect();
    for mut s in p.create {
        *seq += 1;
        s.metadata.name = Some(format!("svc-{seq}"));
        out.push(Arc::new(s));
    }
    out
}

fn total(slices: &[Arc<EndpointSlice>]) -> usize {
    slices.iter().map(|s| s.endpoints.len()).sum()
}

#[test]
fn conditions_and_references() {
    let s = service(json!({}));
    let dying = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    let pods = [
        pod(1, 8080, true, json!({})),
        pod(2, 8080, false, json!({})),
        pod(3, 8080, true, dying),
    ];
    let p = plan(&s, desired(&s, &pods, |_| Some("z".into())), &[]);
    let slice = serde_json::to_value(&p.create[0]).unwrap();
    let brief: Vec<String> = slice["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| {
            format!(
                "{} {} {} {}",
                e["addresses"][0], e["conditions"], e["nodeName"], e["targetRef"]["name"]
            )
        })
        .collect();
    expect![[r#"
        "10.1.0.1" {"ready":true,"serving":true,"terminating":false} "n1" "p1"
        "10.1.0.2" {"ready":false,"serving":false,"terminating":false} "n1" "p2"
        "10.1.0.3" {"ready":false,"serving":true,"terminating":true} "n1" "p3""#]]
    .assert_eq(&brief.join("\n"));
    expect![[r#"[{"name":"http","port":8080,"protocol":"TCP"}]"#]].assert_eq(&slice["ports"].to_string());
    expect![[r#"{"endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io","kubernetes.io/service-name":"svc"}"#]]
        .assert_eq(&slice["metadata"]["labels"].to_string());
}

#[test]
fn publish_not_ready_and_headless() {
    let s = service(json!({"publishNotReadyAddresses": true, "clusterIP": "None", "ports": []}));
    let p = plan(&s, desired(&s, &[pod(1, 80, false, json!({}))], |_| None), &[]);
    let e = &p.create[0].endpoints[0];
    assert_eq!(e.conditions.as_ref().unwrap().ready, Some(true));
    assert!(p.create[0].ports.as_ref().unwrap().is_empty());
    assert!(
        p.create[0]
            .metadata
            .labels
            .as_ref()
            .unwrap()
            .contains_key("service.kubernetes.io/headless")
    );
}

#[test]
fn pods_that_name_their_ports_differently_are_apart() {
    let s = service(json!({}));
    let p = plan(
        &s,
        desired(&s, &[pod(1, 80, true, json!({})), pod(2, 81, true, json!({}))], |_| {
            None
        }),
        &[],
    );
    assert_eq!(p.create.len(), 2);
}

#[test]
fn many_endpoints_fill_slices_and_one_change_writes_one_slice() {
    let (s, mut seq) = (service(json!({})), 0);
    let mut pods: Vec<_> = (0..250).map(|i| pod(i, 80, true, json!({}))).collect();
    let mut have = apply(vec![], plan(&s, desired(&s, &pods, |_| None), &[]), &mut seq);
    assert_eq!((have.len(), total(&have)), (3, 250));
    assert!(have.iter().all(|h| h.endpoints.len() <= ENDPOINTS_PER_SLICE_MAX));
    let p = plan(&s, desired(&s, &pods, |_| None), &have);
    assert!(p.create.is_empty() && p.update.is_empty() && p.delete.is_empty());
    pods[7] = pod(7, 80, false, json!({}));
    let p = plan(&s, desired(&s, &pods, |_| None), &have);
    assert_eq!((p.create.len(), p.update.len(), p.delete.len()), (0, 1, 0));
    have = apply(have, p, &mut seq);
    pods.push(pod(250, 80, true, json!({})));
    let p = plan(&s, desired(&s, &pods, |_| None), &have);
    assert_eq!((p.create.len(), p.update.len(), p.delete.len()), (0, 1, 0));
    have = apply(have, p, &mut seq);
    assert_eq!(total(&have), 251);
    let p = plan(&s, desired(&s, &[], |_| None), &have);
    have = apply(have, p, &mut seq);
    assert_eq!((have.len(), total(&have)), (1, 0), "a placeholder stays");
    let p = plan(&s, desired(&s, &[], |_| None), &have);
    assert!(p.create.is_empty() && p.update.is_empty() && p.delete.is_empty());
}
