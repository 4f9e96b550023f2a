//! Host ports of this node's pods, which a CNI plugin would else write into tables that are not ours.

use crate::rules::{Element, Rules};
use crate::service::{hash, protocol};
use crate::table::MASQUERADE_MARK;
use k8s_openapi::api::core::v1::Pod;
use std::net::Ipv4Addr;

/// What one pod contributes; nothing once it has ended, and nothing on the host's network, where it binds itself.
pub fn rules(key: &str, pod: &Pod) -> Rules {
    let mut rules = Rules::default();
    let (Some(spec), Some(status)) = (&pod.spec, &pod.status) else {
        return rules;
    };
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let Some(ip) = status.pod_ip.as_ref().and_then(|i| i.parse::<Ipv4Addr>().ok()) else {
        return rules;
    };
    if ended || spec.host_network == Some(true) {
        return rules;
    }
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| c.restart_policy.as_deref() == Some("Always"));
    for port in spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|c| c.ports.iter().flatten())
    {
        let (Some(host), Some(proto)) = (
            port.host_port.and_then(|p| u16::try_from(p).ok()),
            protocol(port.protocol.as_deref()),
        ) else {
            continue;
        };
        let Ok(container) = u16::try_from(port.container_port) else {
            continue;
        };
        if host == 0 {
            continue;
        }
        let chain = format!("hostport-{}", hash((key, proto, host, &port.host_ip)));
        let body = vec![
            format!("ip saddr {{ 127.0.0.0/8, {ip} }} meta mark set meta mark | {MASQUERADE_MARK}"),
            format!("meta l4proto {proto} dnat ip to {ip}:{container}"),
        ];
        rules.chains.insert(chain.clone(), body);
        let bound = port
            .host_ip
            .as_ref()
            .and_then(|i| i.parse::<Ipv4Addr>().ok())
            .filter(|i| !i.is_unspecified());
        let (map, element) = match bound {
            Some(host_ip) => ("host_ip_ports", format!("{host_ip} . {proto} . {host}")),
            None => ("host_ports", format!("{proto} . {host}")),
        };
        rules.elements.insert(Element {
            map,
            key: element,
            value: format!("goto {chain}"),
        });
    }
    rules
}
