//! Lookups over the informers' copies: nothing is held twice.

use crate::names::Question;
use hickory_proto::rr::rdata::{CNAME, PTR, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use keelson_client::Store;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Seconds that answers may be kept: short, as endpoints come and go.
pub const TTL_SECONDS: u32 = 5;

/// Index names.
pub const BY_NAMESPACE: &str = "namespace";
pub const BY_CLUSTER_IP: &str = "clusterIP";
pub const BY_SERVICE: &str = "service";
pub const BY_ADDRESS: &str = "address";

/// What is known of a name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// False: NXDOMAIN.
    pub exists: bool,
    pub answers: Vec<Record>,
    pub additionals: Vec<Record>,
}

impl Found {
    fn with(answers: Vec<Record>) -> Self {
        Found {
            exists: true,
            answers,
            additionals: Vec::new(),
        }
    }
    fn empty(exists: bool) -> Self {
        Found {
            exists,
            ..Found::default()
        }
    }
}

pub struct Index {
    pub services: Store<Service>,
    pub slices: Store<EndpointSlice>,
    /// With the closing dot.
    pub domain: Name,
}

/// `namespace/service` that a slice belongs to.
pub fn service_of(s: &EndpointSlice) -> Option<String> {
    let name = s.metadata.labels.as_ref()?.get("kubernetes.io/service-name")?;
    Some(format!("{}/{name}", s.metadata.namespace.as_deref().unwrap_or("")))
}

pub fn cluster_ips(s: &Service) -> Vec<Ipv4Addr> {
    let Some(spec) = &s.spec else { return Vec::new() };
    let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let mut ips: Vec<Ipv4Addr> = all.filter_map(|i| i.parse().ok()).collect();
    ips.sort_unstable();
    ips.dedup();
    ips
}

/// The label under which a headless Service's endpoint is found.
fn endpoint_label(e: &Endpoint, address: &str) -> String {
    match e.hostname.as_deref() {
        Some(h) if !h.is_empty() => h.to_lowercase(),
        _ => address.replace(['.', ':'], "-"),
    }
}

fn is_headless(s: &Service) -> bool {
    s.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some("None")
}

struct Address {
    label: String,
    ip: Ipv4Addr,
    /// Ports of its slice: name, protocol, number.
    ports: Arc<[(String, String, u16)]>,
}

impl Index {
    fn record(name: &Name, data: RData) -> Record {
        Record::from_rdata(name.clone(), TTL_SECONDS, data)
    }

    fn a(name: &Name, kind: RecordType, ips: impl IntoIterator<Item = Ipv4Addr>) -> Vec<Record> {
        match kind {
            RecordType::A | RecordType::ANY => ips
                .into_iter()
                .map(|ip| Self::record(name, RData::A(ip.into())))
                .collect(),
            _ => Vec::new(),
        }
    }

    fn below_service(&self, labels: &[&str], namespace: &str, service: &str) -> Option<Name> {
        let mut text = labels.join(".");
        if !text.is_empty() {
            text.push('.');
        }
        Name::from_ascii(format!("{text}{service}.{namespace}.svc.{}", self.domain)).ok()
    }

    /// Endpoints of a headless Service; those not ready too when the Service publishes them.
    fn addresses(&self, key: &str, service: &Service) -> Vec<Address> {
        let all = service
            .spec
            .as_ref()
            .and_then(|s| s.publish_not_ready_addresses)
            .unwrap_or(false);
        let mut found = Vec::new();
        for slice in self
            .slices
            .by_index(BY_SERVICE, key)
            .iter()
            .filter(|s| s.address_type == "IPv4")
        {
            let ports: Arc<[_]> = slice
                .ports
                .iter()
                .flatten()
                .filter_map(|p| {
                    let protocol = p.protocol.as_deref().unwrap_or("TCP").to_lowercase();
                    Some((
                        p.name.clone().unwrap_or_default(),
                        protocol,
                        u16::try_from(p.port?).ok()?,
                    ))
                })
                .collect();
            for e in &slice.endpoints {
                if !all && !e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true) {
                    continue;
                }
                for address in &e.addresses {
                    if let Ok(ip) = address.parse() {
                        found.push(Address {
                            label: endpoint_label(e, address),
                            ip,
                            ports: ports.clone(),
                        });
                    }
                }
            }
        }
        found.sort_by(|a, b| (a.ip, &a.label).cmp(&(b.ip, &b.label)));
        found.dedup_by(|a, b| a.ip == b.ip && a.label == b.label && a.ports == b.ports);
        found
    }

    /// Answers a parsed question about `name`.
    pub fn find(&self, name: &Name, kind: RecordType, question: &Question) -> Found {
        match question {
            Question::Branch => Found::empty(true),
            Question::Nothing => Found::empty(false),
            Question::Version => match kind {
                RecordType::TXT | RecordType::ANY => {
                    Found::with(vec![Self::record(name, RData::TXT(TXT::new(vec!["1.1.0".to_owned()])))])
                }
                _ => Found::empty(true),
            },
            Question::Namespace(ns) => Found::empty(!self.services.by_index(BY_NAMESPACE, ns).is_empty()),
            Question::Pod { address } => Found::with(Self::a(name, kind, [*address])),
            Question::Service { namespace, service } => self.service(name, kind, namespace, service),
            Question::Port {
                namespace,
                service,
                port,
                protocol,
            } => self.ports(name, kind, namespace, service, Some((port, protocol))),
            Question::Endpoint {
                namespace,
                service,
                endpoint,
            } => {
                let key = format!("{namespace}/{service}");
                let Some(s) = self.services.get(&key).filter(|s| is_headless(s)) else {
                    return Found::empty(false);
                };
                let ips: Vec<Ipv4Addr> = self
                    .addresses(&key, &s)
                    .into_iter()
                    .filter(|a| a.label == *endpoint)
                    .map(|a| a.ip)
                    .collect();
                if ips.is_empty() {
                    Found::empty(false)
                } else {
                    Found::with(Self::a(name, kind, ips))
                }
            }
        }
    }

    fn service(&self, name: &Name, kind: RecordType, namespace: &str, service: &str) -> Found {
        let key = format!("{namespace}/{service}");
        let Some(s) = self.services.get(&key) else {
            return Found::empty(false);
        };
        let Some(spec) = &s.spec else {
            return Found::empty(false);
        };
        if spec.type_.as_deref() == Some("ExternalName") {
            let target = spec.external_name.as_deref().unwrap_or("");
            let target = Name::from_ascii(format!("{}.", target.trim_end_matches('.')));
            return match target {
                Ok(t) => Found::with(vec![Self::record(name, RData::CNAME(CNAME(t)))]),
                Err(_) => Found::empty(false),
            };
        }
        if kind == RecordType::SRV {
            return self.ports(name, kind, namespace, service, None);
        }
        if is_headless(&s) {
            let addresses = self.addresses(&key, &s);
            // CoreDNS has a headless Service without endpoints not exist.
            if addresses.is_empty() {
                return Found::empty(false);
            }
            let mut ips: Vec<Ipv4Addr> = addresses.into_iter().map(|a| a.ip).collect();
            ips.dedup();
            return Found::with(Self::a(name, kind, ips));
        }
        Found::with(Self::a(name, kind, cluster_ips(&s)))
    }

    /// SRV records: of one named port, or of all.
    fn ports(
        &self,
        name: &Name,
        kind: RecordType,
        namespace: &str,
        service: &str,
        only: Option<(&str, &str)>,
    ) -> Found {
        let key = format!("{namespace}/{service}");
        let Some(s) = self.services.get(&key) else {
            return Found::empty(false);
        };
        let mut found = Found::default();
        let wanted = |port: &str, protocol: &str| only.is_none_or(|(p, q)| p == port && q == protocol);
        let mut add = |target: Option<Name>, port: u16, ip: Ipv4Addr| {
            let Some(target) = target else { return };
            found.exists = true;
            found
                .answers
                .push(Self::record(name, RData::SRV(SRV::new(0, 100, port, target.clone()))));
            let extra = Self::record(&target, RData::A(ip.into()));
            if !found.additionals.contains(&extra) {
                found.additionals.push(extra);
            }
        };
        if is_headless(&s) {
            for a in self.addresses(&key, &s) {
                for (port, protocol, number) in a.ports.iter() {
                    if wanted(port, protocol) {
                        add(self.below_service(&[&a.label], namespace, service), *number, a.ip);
                    }
                }
            }
        } else {
            for p in s.spec.iter().flat_map(|s| s.ports.iter().flatten()) {
                let protocol = p.protocol.as_deref().unwrap_or("TCP").to_lowercase();
                let (true, Ok(number)) = (
                    wanted(p.name.as_deref().unwrap_or(""), &protocol),
                    u16::try_from(p.port),
                ) else {
                    continue;
                };
                for ip in cluster_ips(&s) {
                    add(self.below_service(&[], namespace, service), number, ip);
                }
            }
        }
        if !matches!(kind, RecordType::SRV | RecordType::ANY) {
            found.answers.clear();
            found.additionals.clear();
        }
        found
    }

    /// The names of an address of the cluster; `None` leaves the question to the servers upstream.
    pub fn reverse(&self, name: &Name, ip: Ipv4Addr) -> Option<Vec<Record>> {
        let text = ip.to_string();
        let mut targets: Vec<Name> = Vec::new();
        for s in self.services.by_index(BY_CLUSTER_IP, &text) {
            let m = &s.metadata;
            targets.extend(self.below_service(&[], m.namespace.as_deref()?, m.name.as_deref()?));
        }
        if targets.is_empty() {
            for slice in self.slices.by_index(BY_ADDRESS, &text) {
                let Some(key) = service_of(&slice) else { continue };
                if !self.services.get(&key).is_some_and(|s| is_headless(&s)) {
                    continue;
                }
                let Some((namespace, service)) = key.split_once('/') else {
                    continue;
                };
                for e in slice.endpoints.iter().filter(|e| e.addresses.contains(&text)) {
                    targets.extend(self.below_service(&[&endpoint_label(e, &text)], namespace, service));
                }
            }
        }
        targets.sort();
        targets.dedup();
        let records: Vec<Record> = targets
            .into_iter()
            .map(|t| Self::record(name, RData::PTR(PTR(t))))
            .collect();
        (!records.is_empty()).then_some(records)
    }
}
