//! Endpoints from a Service and its pods.
use crate::common::pods::{is_ready, node_name};
use crate::common::service_pods::{HEADLESS_LABEL, has_cluster_ip, hostname, may_serve, pod_ips, target_port};
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Addresses in one Endpoints object; more are left out and the annotation says so.
const ADDRESSES_MAX: usize = 1000;
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

pub fn is_ours(e: &Endpoints) -> bool {
    e.metadata
        .labels
        .as_ref()
        .and_then(|l| l.get(MANAGED_BY))
        .is_some_and(|v| v == "endpoint-controller")
}

type Ports = Vec<(String, i32, String, Option<String>)>;

fn address(service: &Service, pod: &Pod, ip: String) -> EndpointAddress {
    let node = node_name(pod);
    EndpointAddress {
        ip,
        hostname: hostname(pod, service).map(str::to_owned),
        node_name: (!node.is_empty()).then(|| node.to_owned()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
    }
}

/// Ready and unready addresses by the ports they share; returns whether some were left out.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> (Vec<EndpointSubset>, bool) {
    let Some(spec) = &service.spec else {
        return (Vec::new(), false);
    };
    let publish = spec.publish_not_ready_addresses == Some(true);
    let v6 = spec
        .ip_families
        .as_ref()
        .and_then(|f| f.first())
        .is_some_and(|f| f == "IPv6");
    let mut groups: BTreeMap<Ports, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    let mut serving: Vec<&Arc<Pod>> = pods.iter().filter(|p| may_serve(p, publish)).collect();
    let truncated = serving.len() > ADDRESSES_MAX;
    if truncated {
        // Ready ones are worth more.
        serving.sort_by_key(|p| !is_ready(p));
        serving.truncate(ADDRESSES_MAX);
    }
    for pod in serving {
        let Some(ip) = pod_ips(pod).into_iter().find(|ip| ip.is_ipv6() == v6) else {
            continue;
        };
        let address = address(service, pod, ip.to_string());
        let ports: Vec<_> = spec
            .ports
            .iter()
            .flatten()
            .filter_map(|p| {
                Some((
                    p.name.clone().unwrap_or_default(),
                    target_port(pod, p)?,
                    p.protocol.clone().unwrap_or_else(|| "TCP".into()),
                    p.app_protocol.clone(),
                ))
            })
            .collect();
        if ports.is_empty() && !spec.ports.as_deref().unwrap_or_default().is_empty() {
            continue;
        }
        let (ready, unready) = groups.entry(ports).or_default();
        if publish || is_ready(pod) {
            ready.push(address);
        } else {
            unready.push(address);
        }
    }
    let subsets = groups
        .into_iter()
        .map(|(ports, (mut ready, mut unready))| {
            ready.sort_by(|a, b| a.ip.cmp(&b.ip));
            unready.sort_by(|a, b| a.ip.cmp(&b.ip));
            EndpointSubset {
                addresses: (!ready.is_empty()).then_some(ready),
                not_ready_addresses: (!unready.is_empty()).then_some(unready),
                ports: (!ports.is_empty()).then(|| ports.into_iter().map(port).collect()),
            }
        })
        .collect();
    (subsets, truncated)
}

fn port((name, port, protocol, app_protocol): (String, i32, String, Option<String>)) -> EndpointPort {
    EndpointPort {
        name: (!name.is_empty()).then_some(name),
        port,
        protocol: Some(protocol),
        app_protocol,
    }
}

pub fn endpoints(service: &Service, pods: &[Arc<Pod>], current: Option<&Endpoints>) -> Endpoints {
    let (subsets, truncated) = subsets(service, pods);
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.into(), "endpoint-controller".into());
    if service.spec.as_ref().is_some_and(has_cluster_ip) {
        labels.remove(HEADLESS_LABEL);
    } else {
        labels.insert(HEADLESS_LABEL.into(), String::new());
    }
    let mut metadata = current.map(|c| c.metadata.clone()).unwrap_or_else(|| ObjectMeta {
        name: service.metadata.name.clone(),
        namespace: service.metadata.namespace.clone(),
        ..ObjectMeta::default()
    });
    metadata.labels = Some(labels);
    let mut annotations = metadata.annotations.unwrap_or_default();
    annotations.remove(OVER_CAPACITY);
    if truncated {
        annotations.insert(OVER_CAPACITY.into(), "truncated".into());
    }
    metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    Endpoints {
        metadata,
        subsets: (!subsets.is_empty()).then_some(subsets),
    }
}

pub fn differ(current: &Endpoints, wanted: &Endpoints) -> bool {
    let subsets = |e: &Endpoints| e.subsets.clone().unwrap_or_default();
    let annotations = |e: &Endpoints| e.metadata.annotations.clone().unwrap_or_default();
    subsets(current) != subsets(wanted)
        || current.metadata.labels != wanted.metadata.labels
        || annotations(current) != annotations(wanted)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    #[test]
    fn ready_and_unready_share_a_subset() {
        let s: Service = serde_json::from_value(json!({"metadata": {"name": "s", "namespace": "d"},
            "spec": {"clusterIP": "10.0.0.1", "selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]}}))
        .unwrap();
        let pod = |n: &str, ready: &str| -> Arc<Pod> {
            Arc::new(serde_json::from_value(json!({"metadata": {"name": n}, "spec": {"containers": [], "nodeName": "x"},
                "status": {"phase": "Running", "podIP": format!("10.1.0.{n}"), "conditions": [{"type": "Ready", "status": ready}]}})).unwrap())
        };
        let e = endpoints(&s, &[pod("2", "True"), pod("1", "True"), pod("3", "False")], None);
        expect![[r#"[{"addresses":[{"ip":"10.1.0.1","nodeName":"x","targetRef":{"kind":"Pod","name":"1"}},{"ip":"10.1.0.2","nodeName":"x","targetRef":{"kind":"Pod","name":"2"}}],"notReadyAddresses":[{"ip":"10.1.0.3","nodeName":"x","targetRef":{"kind":"Pod","name":"3"}}],"ports":[{"port":8080,"protocol":"TCP"}]}]"#]]
        .assert_eq(&serde_json::to_string(&e.subsets).unwrap());
        assert!(is_ours(&e));
        assert!(!differ(&e, &e));
    }
}
