//! The endpoints that a Service should have, by address type and ports.
use crate::common::pods::{is_ready, node_name};
use crate::common::service_pods::{has_cluster_ip, hostname, may_serve, pod_ips, target_port};
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Ports that a set of endpoints shares, in a form that compares: name, number, protocol, appProtocol.
pub type PortKey = Vec<(String, i32, String, String)>;

/// Endpoints by the ports they share.
pub type Groups = BTreeMap<PortKey, Vec<Endpoint>>;

pub fn port_key(ports: &[EndpointPort]) -> PortKey {
    let mut key: PortKey = ports
        .iter()
        .map(|p| {
            (
                p.name.clone().unwrap_or_default(),
                p.port.unwrap_or(0),
                p.protocol.clone().unwrap_or_else(|| "TCP".into()),
                p.app_protocol.clone().unwrap_or_default(),
            )
        })
        .collect();
    key.sort();
    key
}

pub fn ports_of(key: &PortKey) -> Vec<EndpointPort> {
    key.iter()
        .map(|(name, port, protocol, app)| EndpointPort {
            name: Some(name.clone()),
            port: Some(*port),
            protocol: Some(protocol.clone()),
            app_protocol: (!app.is_empty()).then(|| app.clone()),
        })
        .collect()
}

/// `IPv4`, `IPv6`, or both, as the Service has them.
pub fn address_types(spec: &ServiceSpec) -> Vec<&'static str> {
    let of = |family: &str| if family == "IPv6" { "IPv6" } else { "IPv4" };
    let mut types: Vec<&'static str> = spec.ip_families.iter().flatten().map(|f| of(f)).collect();
    if types.is_empty() {
        types = if has_cluster_ip(spec) {
            let v6 = spec.cluster_ip.as_deref().is_some_and(|ip| ip.contains(':'));
            vec![if v6 { "IPv6" } else { "IPv4" }]
        } else {
            vec!["IPv4", "IPv6"]
        };
    }
    types.sort_unstable();
    types.dedup();
    types
}

fn endpoint(service: &Service, pod: &Pod, addresses: Vec<String>, zone: &impl Fn(&str) -> Option<String>) -> Endpoint {
    let publish = service.spec.as_ref().and_then(|s| s.publish_not_ready_addresses) == Some(true);
    let serving = is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let node = node_name(pod);
    Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            ready: Some(publish || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname(pod, service).map(str::to_owned),
        node_name: (!node.is_empty()).then(|| node.to_owned()),
        zone: zone(node),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}

/// By address type.
pub fn desired(
    service: &Service,
    pods: &[Arc<Pod>],
    zone: impl Fn(&str) -> Option<String>,
) -> BTreeMap<&'static str, Groups> {
    let Some(spec) = &service.spec else {
        return BTreeMap::new();
    };
    let mut out: BTreeMap<&'static str, Groups> = address_types(spec).into_iter().map(|t| (t, Groups::new())).collect();
    for pod in pods.iter().filter(|p| may_serve(p, true)) {
        let ports: Vec<EndpointPort> = spec
            .ports
            .iter()
            .flatten()
            .filter_map(|p| {
                Some(EndpointPort {
                    name: Some(p.name.clone().unwrap_or_default()),
                    port: Some(target_port(pod, p)?),
                    protocol: Some(p.protocol.clone().unwrap_or_else(|| "TCP".into())),
                    app_protocol: p.app_protocol.clone(),
                })
            })
            .collect();
        for (kind, groups) in &mut out {
            let addresses: Vec<String> = pod_ips(pod)
                .into_iter()
                .filter(|ip| matches!((ip, *kind), (IpAddr::V4(_), "IPv4") | (IpAddr::V6(_), "IPv6")))
                .map(|ip| ip.to_string())
                .collect();
            if !addresses.is_empty() {
                groups
                    .entry(port_key(&ports))
                    .or_default()
                    .push(endpoint(service, pod, addresses, &zone));
            }
        }
    }
    out
}
