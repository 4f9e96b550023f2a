//! The rules of one Service, from it and its EndpointSlices.

use crate::rules::{Element, Rules};
use crate::table::MASQUERADE_MARK;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use std::collections::BTreeSet;
use std::hash::Hash;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Default of `sessionAffinityConfig.clientIP.timeoutSeconds`.
const AFFINITY_SECONDS: u32 = 10_800;

/// A backend: address and port. Only what parsed as such reaches a rule's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    pub ip: Ipv4Addr,
    pub port: u16,
    pub local: bool,
}

/// Lower-case name of a protocol that nftables knows; others get no rule.
pub fn protocol(p: Option<&str>) -> Option<&'static str> {
    match p.unwrap_or("TCP") {
        "TCP" => Some("tcp"),
        "UDP" => Some("udp"),
        "SCTP" => Some("sctp"),
        _ => None,
    }
}

/// A short name, stable over restarts: chain names are limited in length and character set.
pub fn hash(parts: impl Hash) -> String {
    format!("{:016x}", ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one(parts))
}

/// Backends of one Service port: ready ones, else those that still serve while they terminate (KEP-1669).
fn backends(port: &ServicePort, slices: &[Arc<EndpointSlice>], node: &str) -> Vec<Backend> {
    let wanted = port.name.as_deref().unwrap_or("");
    let mut ready = BTreeSet::new();
    let mut draining = BTreeSet::new();
    for slice in slices.iter().filter(|s| s.address_type == "IPv4") {
        let number = slice.ports.iter().flatten().find_map(|p| {
            let same = p.name.as_deref().unwrap_or("") == wanted
                && protocol(p.protocol.as_deref()) == protocol(port.protocol.as_deref());
            same.then_some(p.port).flatten()
        });
        let Some(number) = number.and_then(|n| u16::try_from(n).ok()) else {
            continue;
        };
        for e in &slice.endpoints {
            let local = e.node_name.as_deref() == Some(node);
            let found = e.addresses.iter().filter_map(|a| a.parse().ok()).map(|ip| Backend {
                ip,
                port: number,
                local,
            });
            match standing(e) {
                Standing::Ready => ready.extend(found),
                Standing::Draining => draining.extend(found),
                Standing::Out => {}
            }
        }
    }
    if ready.is_empty() {
        draining.into_iter().collect()
    } else {
        ready.into_iter().collect()
    }
}

enum Standing {
    Ready,
    Draining,
    Out,
}

fn standing(e: &Endpoint) -> Standing {
    let Some(c) = &e.conditions else { return Standing::Ready };
    if c.ready.unwrap_or(true) {
        Standing::Ready
    } else if c.serving.unwrap_or(false) && c.terminating.unwrap_or(false) {
        Standing::Draining
    } else {
        Standing::Out
    }
}

struct Builder<'a> {
    rules: Rules,
    service: &'a Service,
    key: &'a str,
}

impl Builder<'_> {
    fn element(&mut self, map: &'static str, key: String, value: String) {
        self.rules.elements.insert(Element { map, key, value });
    }

    /// Chains that spread connections over `backends`; returns the one to go to.
    fn balance(&mut self, tag: &str, protocol: &str, port: i32, backends: &[Backend]) -> String {
        let id = hash((self.key, protocol, port, tag));
        let spec = self.service.spec.as_ref();
        let affinity = spec.and_then(|s| s.session_affinity.as_deref()) == Some("ClientIP");
        let map = format!("affinity-{id}");
        if affinity {
            let asked = spec
                .and_then(|s| s.session_affinity_config.as_ref())
                .and_then(|c| c.client_ip.as_ref())
                .and_then(|c| c.timeout_seconds);
            let seconds = asked.and_then(|t| u32::try_from(t).ok()).unwrap_or(AFFINITY_SECONDS);
            self.rules.affinity.insert(map.clone(), seconds);
        }
        let mut targets = Vec::new();
        for b in backends {
            let chain = format!("endpoint-{}", hash((&id, b.ip, b.port)));
            let mut body = vec![format!("ip saddr {} meta mark set meta mark | {MASQUERADE_MARK}", b.ip)];
            if affinity {
                body.push(format!("update @{map} {{ ip saddr : {} . {} }}", b.ip, b.port));
            }
            body.push(format!("meta l4proto {protocol} dnat ip to {}:{}", b.ip, b.port));
            self.rules.chains.insert(chain.clone(), body);
            targets.push(chain);
        }
        let spread = match targets.as_slice() {
            [one] => format!("goto {one}"),
            many => {
                let arms: Vec<String> = many
                    .iter()
                    .enumerate()
                    .map(|(i, c)| format!("{i} : goto {c}"))
                    .collect();
                format!("numgen random mod {} vmap {{ {} }}", many.len(), arms.join(", "))
            }
        };
        let mut body = Vec::new();
        if affinity {
            // A miss in the map ends this rule only, and the next one chooses. A hit on oneself needs the mark too.
            for b in backends {
                body.push(format!("ip saddr {} meta mark set meta mark | {MASQUERADE_MARK}", b.ip));
            }
            body.push(format!(
                "meta l4proto {protocol} dnat ip addr . port to ip saddr map @{map}"
            ));
        }
        body.push(spread);
        let chain = format!("service-{id}");
        self.rules.chains.insert(chain.clone(), body);
        chain
    }

    fn port(&mut self, port: &ServicePort, slices: &[Arc<EndpointSlice>], node: &str) {
        let Some(protocol) = protocol(port.protocol.as_deref()) else {
            return;
        };
        let Some(spec) = &self.service.spec else { return };
        let (Ok(number), all) = (u16::try_from(port.port), backends(port, slices, node)) else {
            return;
        };
        let local: Vec<Backend> = all.iter().copied().filter(|b| b.local).collect();
        let only_local = |policy: &Option<String>| policy.as_deref() == Some("Local");

        let inside = if only_local(&spec.internal_traffic_policy) {
            &local
        } else {
            &all
        };
        let inside_chain = (!inside.is_empty()).then(|| self.balance("in", protocol, port.port, inside));
        let cluster_ips: Vec<Ipv4Addr> = match &spec.cluster_ips {
            Some(ips) if !ips.is_empty() => ips.iter().filter_map(|i| i.parse().ok()).collect(),
            _ => spec.cluster_ip.iter().filter_map(|i| i.parse().ok()).collect(),
        };
        for ip in &cluster_ips {
            let key = format!("{ip} . {protocol} . {number}");
            match &inside_chain {
                Some(c) => self.element("service_ips", key, format!("goto {c}")),
                None => self.element("closed_ips", key, "goto refuse".into()),
            }
            if protocol == "udp" {
                self.rules
                    .udp
                    .extend(inside.iter().map(|b| (ip.to_string(), b.ip.to_string())));
            }
        }

        let node_port = port.node_port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0);
        let mut external: Vec<Ipv4Addr> = spec
            .external_ips
            .iter()
            .flatten()
            .filter_map(|i| i.parse().ok())
            .collect();
        let balancers = self
            .service
            .status
            .as_ref()
            .and_then(|s| s.load_balancer.as_ref())
            .and_then(|l| l.ingress.as_ref());
        external.extend(
            balancers
                .into_iter()
                .flatten()
                .filter_map(|i| i.ip.as_ref()?.parse::<Ipv4Addr>().ok()),
        );
        if node_port.is_none() && external.is_empty() {
            return;
        }
        let stay = only_local(&spec.external_traffic_policy);
        let outside = if stay { &local } else { &all };
        let entry = (!outside.is_empty()).then(|| {
            let inner = match &inside_chain {
                Some(c) if inside == outside => c.clone(),
                _ => self.balance("out", protocol, port.port, outside),
            };
            let chain = format!("external-{}", hash((self.key, protocol, port.port)));
            // With policy Local the client's address is kept, except for the node's own loopback, which no
            // pod could answer.
            let marked = if stay { "ip saddr 127.0.0.0/8 " } else { "" };
            let body = vec![
                format!("{marked}meta mark set meta mark | {MASQUERADE_MARK}"),
                format!("goto {inner}"),
            ];
            self.rules.chains.insert(chain.clone(), body);
            chain
        });
        let verdict = |entry: &Option<String>| match entry {
            Some(c) => format!("goto {c}"),
            None => "goto refuse".into(),
        };
        if let Some(p) = node_port {
            let map = if entry.is_some() {
                "node_ports"
            } else {
                "closed_node_ports"
            };
            self.element(map, format!("{protocol} . {p}"), verdict(&entry));
        }
        for ip in external {
            let map = if entry.is_some() { "service_ips" } else { "closed_ips" };
            self.element(map, format!("{ip} . {protocol} . {number}"), verdict(&entry));
        }
    }
}

/// Everything that `service` contributes; empty for headless and ExternalName ones.
pub fn rules(key: &str, service: &Service, slices: &[Arc<EndpointSlice>], node: &str) -> Rules {
    let mut b = Builder {
        rules: Rules::default(),
        service,
        key,
    };
    let Some(spec) = &service.spec else { return b.rules };
    let headless = spec.cluster_ip.as_deref().unwrap_or("") == "None";
    if headless || spec.type_.as_deref() == Some("ExternalName") {
        return b.rules;
    }
    for port in spec.ports.iter().flatten() {
        b.port(port, slices, node);
    }
    b.rules
}
