//! Services and the pods behind them, as both endpoint controllers see them.
use super::pods::{is_ready, is_terminal, node_name};
use k8s_openapi::api::core::v1::{Pod, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;
use std::net::IpAddr;

pub const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// The selector of a Service whose endpoints are derived from pods; `None` for the others.
pub fn selector(s: &Service) -> Option<&BTreeMap<String, String>> {
    let spec = s.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    spec.selector.as_ref().filter(|s| !s.is_empty())
}

pub fn selects(s: &Service, labels: Option<&BTreeMap<String, String>>) -> bool {
    selector(s).is_some_and(|sel| sel.iter().all(|(k, v)| labels.and_then(|l| l.get(k)) == Some(v)))
}

/// Whether it has a cluster IP.
pub fn has_cluster_ip(spec: &ServiceSpec) -> bool {
    spec.cluster_ip
        .as_deref()
        .is_some_and(|ip| !ip.is_empty() && ip != "None")
}

pub fn pod_ips(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else {
        return Vec::new();
    };
    let listed: Vec<IpAddr> = status
        .pod_ips
        .iter()
        .flatten()
        .filter_map(|ip| ip.ip.parse().ok())
        .collect();
    if listed.is_empty() {
        return status.pod_ip.iter().filter_map(|ip| ip.parse().ok()).collect();
    }
    listed
}

/// Has an address and has not ended.
pub fn may_serve(pod: &Pod, with_terminating: bool) -> bool {
    !is_terminal(pod) && !pod_ips(pod).is_empty() && (with_terminating || pod.metadata.deletion_timestamp.is_none())
}

/// The number behind a Service port in this pod; `None` when the pod has no port of that name.
pub fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(n)) => Some(*n),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let sidecars = spec
                .init_containers
                .iter()
                .flatten()
                .filter(|c| c.restart_policy.as_deref() == Some("Always"));
            spec.containers
                .iter()
                .chain(sidecars)
                .flat_map(|c| c.ports.iter().flatten())
                .find(|p| p.name.as_deref() == Some(name) && p.protocol.as_deref().unwrap_or("TCP") == protocol)
                .map(|p| p.container_port)
        }
    }
}

/// The pod's hostname where the Service is its subdomain, so that DNS gives it a name of its own.
pub fn hostname<'a>(pod: &'a Pod, service: &Service) -> Option<&'a str> {
    let spec = pod.spec.as_ref()?;
    let same = spec.subdomain.as_deref() == service.metadata.name.as_deref()
        && pod.metadata.namespace == service.metadata.namespace;
    spec.hostname.as_deref().filter(|h| same && !h.is_empty())
}

/// Whether a change of a pod can change endpoints.
pub fn matters(old: &Pod, new: &Pod) -> bool {
    let view = |p: &Pod| {
        let spec = p.spec.as_ref();
        (
            pod_ips(p),
            is_ready(p),
            is_terminal(p),
            p.metadata.deletion_timestamp.is_some(),
            node_name(p).to_owned(),
            spec.and_then(|s| s.hostname.clone()),
            spec.and_then(|s| s.subdomain.clone()),
        )
    };
    old.metadata.labels != new.metadata.labels || view(old) != view(new)
}
