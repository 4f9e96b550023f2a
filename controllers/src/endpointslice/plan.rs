//! From the slices there are to the endpoints there should be, with few writes: endpoints stay in the slice
//! where they are, changed slices are filled up first, and slices that nothing changed are left alone.
use super::desired::{Groups, PortKey, port_key, ports_of};
use super::{MANAGED_BY, MANAGED_BY_LABEL, SERVICE_LABEL};
use crate::common::service_pods::{HEADLESS_LABEL, has_cluster_ip};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keelson_client::events::controller_ref;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Endpoints in one slice (upstream `--max-endpoints-per-slice`).
pub const ENDPOINTS_PER_SLICE_MAX: usize = 100;

#[derive(Debug, Default)]
pub struct Plan {
    pub create: Vec<EndpointSlice>,
    pub update: Vec<EndpointSlice>,
    pub delete: Vec<Arc<EndpointSlice>>,
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let reserved = |k: &str| matches!(k, SERVICE_LABEL | MANAGED_BY_LABEL | HEADLESS_LABEL);
    let mut l: BTreeMap<String, String> = service
        .metadata
        .labels
        .iter()
        .flatten()
        .filter(|(k, _)| !reserved(k))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    if !service.spec.as_ref().is_some_and(has_cluster_ip) {
        l.insert(HEADLESS_LABEL.into(), String::new());
    }
    l.insert(SERVICE_LABEL.into(), service.metadata.name.clone().unwrap_or_default());
    l.insert(MANAGED_BY_LABEL.into(), MANAGED_BY.into());
    l
}

fn new_slice(service: &Service, address_type: &str, ports: &PortKey, endpoints: Vec<Endpoint>) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", service.metadata.name.as_deref().unwrap_or_default())),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels(service)),
            owner_references: Some(vec![controller_ref(service)]),
            ..ObjectMeta::default()
        },
        address_type: address_type.to_owned(),
        endpoints,
        ports: Some(ports_of(ports)),
    }
}

/// What an endpoint is, whatever its state: its addresses and its pod.
fn identity(e: &Endpoint) -> (Vec<String>, String, String) {
    let t = e.target_ref.clone().unwrap_or_default();
    let mut addresses = e.addresses.clone();
    addresses.sort();
    (addresses, t.name.unwrap_or_default(), t.uid.unwrap_or_default())
}

fn endpoints(s: &EndpointSlice) -> &[Endpoint] {
    &s.endpoints
}

fn is_owned(s: &EndpointSlice, service: &Service) -> bool {
    s.metadata
        .owner_references
        .iter()
        .flatten()
        .any(|r| r.kind == "Service" && Some(&r.uid) == service.metadata.uid.as_ref())
}

pub fn plan(service: &Service, wanted: BTreeMap<&'static str, Groups>, existing: &[Arc<EndpointSlice>]) -> Plan {
    let mut plan = Plan::default();
    for s in existing {
        // A slice of a former Service of this name, or of an address type that the Service has no longer.
        if !is_owned(s, service) || !wanted.contains_key(s.address_type.as_str()) {
            plan.delete.push(s.clone());
        }
    }
    for (kind, groups) in wanted {
        let mine = existing
            .iter()
            .filter(|s| s.address_type == kind && is_owned(s, service));
        plan_type(service, kind, groups, mine, &mut plan);
    }
    plan
}

fn plan_type<'a>(
    service: &Service,
    kind: &str,
    groups: Groups,
    existing: impl Iterator<Item = &'a Arc<EndpointSlice>>,
    plan: &mut Plan,
) {
    let mut by_ports: BTreeMap<PortKey, Vec<&Arc<EndpointSlice>>> = BTreeMap::new();
    for s in existing {
        by_ports
            .entry(port_key(s.ports.as_deref().unwrap_or_default()))
            .or_default()
            .push(s);
    }
    if groups.is_empty() {
        return placeholder(service, kind, by_ports, plan);
    }
    for (ports, wanted) in groups {
        let have = by_ports.remove(&ports).unwrap_or_default();
        plan_group(service, kind, &ports, wanted, &have, plan);
    }
    plan.delete.extend(by_ports.into_values().flatten().cloned());
}

/// A Service without endpoints keeps one empty slice, so that watchers can tell "none" from "not yet looked".
fn placeholder(service: &Service, kind: &str, have: BTreeMap<PortKey, Vec<&Arc<EndpointSlice>>>, plan: &mut Plan) {
    let want = new_slice(service, kind, &PortKey::new(), Vec::new());
    let mut kept = false;
    for s in have.into_values().flatten() {
        let fits = s.ports.as_deref().unwrap_or_default().is_empty()
            && endpoints(s).is_empty()
            && s.metadata.labels == want.metadata.labels;
        if fits && !kept {
            kept = true;
        } else {
            plan.delete.push(s.clone());
        }
    }
    if !kept {
        plan.create.push(want);
    }
}

fn plan_group(
    service: &Service,
    kind: &str,
    ports: &PortKey,
    wanted: Vec<Endpoint>,
    have: &[&Arc<EndpointSlice>],
    plan: &mut Plan,
) {
    let labels = labels(service);
    let mut missing: BTreeMap<_, Endpoint> = wanted.into_iter().map(|e| (identity(&e), e)).collect();
    // Slices with what stays in them; a changed one will be written anyway and takes more.
    let mut changed: Vec<(EndpointSlice, Vec<Endpoint>)> = Vec::new();
    let mut unchanged: Vec<&Arc<EndpointSlice>> = Vec::new();
    for s in have {
        let mut dirty = s.metadata.labels.as_ref() != Some(&labels);
        let mut kept = Vec::with_capacity(endpoints(s).len());
        for e in endpoints(s) {
            match missing.remove(&identity(e)) {
                Some(want) => {
                    dirty |= want != *e;
                    kept.push(want);
                }
                None => dirty = true,
            }
        }
        if dirty {
            changed.push(((***s).clone(), kept));
        } else {
            unchanged.push(s);
        }
    }
    let mut missing: Vec<Endpoint> = missing.into_values().collect();
    // The fullest first, so that the emptiest may become empty and go.
    changed.sort_by_key(|(_, kept)| std::cmp::Reverse(kept.len()));
    for (_, kept) in &mut changed {
        let room = ENDPOINTS_PER_SLICE_MAX.saturating_sub(kept.len());
        let n = room.min(missing.len());
        kept.extend(missing.drain(..n));
    }
    while missing.len() >= ENDPOINTS_PER_SLICE_MAX {
        let full = missing.drain(..ENDPOINTS_PER_SLICE_MAX).collect();
        plan.create.push(new_slice(service, kind, ports, full));
    }
    if !missing.is_empty() {
        // Into the fullest unchanged slice that takes them all, else into a new one.
        let fits = |s: &&&Arc<EndpointSlice>| endpoints(s).len() + missing.len() <= ENDPOINTS_PER_SLICE_MAX;
        match unchanged.iter().filter(fits).max_by_key(|s| endpoints(s).len()) {
            Some(s) => {
                let mut all = endpoints(s).to_vec();
                all.append(&mut missing);
                changed.push(((***s).clone(), all));
            }
            None => plan.create.push(new_slice(service, kind, ports, missing)),
        }
    }
    for (mut s, kept) in changed {
        if kept.is_empty() {
            plan.delete.push(Arc::new(s));
        } else {
            s.endpoints = kept;
            s.metadata.labels = Some(labels.clone());
            plan.update.push(s);
        }
    }
}
