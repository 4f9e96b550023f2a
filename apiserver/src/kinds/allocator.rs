//! Cluster IPs and node ports of Services.
//!
//! What is taken is derived from the stored Services: [`Allocators::run`] loads them and follows their watch;
//! nothing of it is persisted. A write reserves before it is validated and stored, so that two writers in
//! flight never get the same value; a reservation that is dropped without commit gives everything back.
use super::{Context, tree};
use crate::objects::{Change, Objects};
use ipnet::IpNet;
use keelson_machinery::{
    resources,
    status::{ApiError, FieldError},
};
use parking_lot::Mutex;
use rand::Rng;
use serde_json::Value;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tree::{items, text};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Ip(IpAddr),
    Port(u16),
}

/// Every allocator of the server.
#[derive(Clone)]
pub struct Allocators {
    pub services: ServiceAllocator,
}

impl Allocators {
    /// `node_port_range` is inclusive.
    pub fn new(service_cidr: IpNet, node_port_range: (u16, u16)) -> Self {
        Allocators {
            services: ServiceAllocator {
                cidr: service_cidr,
                ports: node_port_range,
                taken: Arc::default(),
            },
        }
    }

    /// Loads what stored Services hold, then follows them until `stop`. Returns once loaded.
    pub async fn run(&self, objects: Arc<dyn Objects>, stop: CancellationToken) -> Result<(), ApiError> {
        let services = resources::by_resource("", "v1", "services")
            .ok_or_else(|| ApiError::internal("no such resource: services"))?;
        let mut changes = objects.watch(services).await?;
        match changes.recv().await {
            Some(c) => self.services.observe(c),
            None => return Err(ApiError::internal("watch of services ended at its start")),
        }
        let this = self.services.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    c = changes.recv() => match c {
                        Some(c) => this.observe(c),
                        None => return,
                    },
                }
            }
        });
        Ok(())
    }
}

/// Values taken for one write.
pub struct Reservation {
    taken: Arc<Mutex<HashMap<Key, String>>>,
    owner: String,
    /// Given back when dropped.
    fresh: Vec<Key>,
    /// Given back on commit: what the old object held and the new one does not.
    obsolete: Vec<Key>,
}

impl Reservation {
    pub fn none() -> Self {
        Reservation {
            taken: Arc::default(),
            owner: String::new(),
            fresh: Vec::new(),
            obsolete: Vec::new(),
        }
    }
    /// The object is stored.
    pub fn commit(mut self) {
        self.fresh.clear();
        let obsolete = std::mem::take(&mut self.obsolete);
        self.give_back(&obsolete);
    }
    fn give_back(&self, keys: &[Key]) {
        if keys.is_empty() {
            return;
        }
        let mut taken = self.taken.lock();
        for k in keys {
            if taken.get(k) == Some(&self.owner) {
                taken.remove(k);
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.give_back(&self.fresh);
    }
}

#[derive(Clone)]
pub struct ServiceAllocator {
    cidr: IpNet,
    ports: (u16, u16),
    /// Who (uid) has what.
    taken: Arc<Mutex<HashMap<Key, String>>>,
}

fn owner_of(service: &Value) -> String {
    match text(&service["metadata"]["uid"]) {
        "" => format!(
            "{}/{}",
            text(&service["metadata"]["namespace"]),
            text(&service["metadata"]["name"])
        ),
        uid => uid.to_owned(),
    }
}

pub(super) fn is_headless(service: &Value) -> bool {
    text(&service["spec"]["clusterIP"]) == "None" || items(&service["spec"]["clusterIPs"]).iter().any(|x| x == "None")
}

pub(super) fn needs_cluster_ip(service: &Value) -> bool {
    matches!(
        text(&service["spec"]["type"]),
        "" | "ClusterIP" | "NodePort" | "LoadBalancer"
    )
}

pub(super) fn needs_node_port(service: &Value) -> bool {
    match text(&service["spec"]["type"]) {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"].as_bool() != Some(false),
        _ => false,
    }
}

fn held(service: &Value) -> Vec<Key> {
    let mut keys = Vec::new();
    if needs_cluster_ip(service) {
        for ip in items(&service["spec"]["clusterIPs"])
            .iter()
            .chain([&service["spec"]["clusterIP"]])
        {
            if let Ok(ip) = text(ip).parse() {
                keys.push(Key::Ip(ip));
            }
        }
    }
    for p in items(&service["spec"]["ports"]) {
        keys.extend(port_of(&p["nodePort"]).map(Key::Port));
    }
    keys.extend(port_of(&service["spec"]["healthCheckNodePort"]).map(Key::Port));
    keys.sort_unstable_by_key(|k| format!("{k:?}"));
    keys.dedup();
    keys
}

fn port_of(v: &Value) -> Option<u16> {
    v.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n != 0)
}

impl ServiceAllocator {
    fn observe(&self, change: Change) {
        let mut taken = self.taken.lock();
        match change {
            Change::Reset(services) => {
                // Reservations in flight are not in the list yet: what is known stays, and what is listed wins.
                for s in &services {
                    let owner = owner_of(s);
                    for k in held(s) {
                        taken.insert(k, owner.clone());
                    }
                }
            }
            Change::Put(s) => {
                let owner = owner_of(&s);
                for k in held(&s) {
                    taken.entry(k).or_insert_with(|| owner.clone());
                }
            }
            Change::Deleted(s) => {
                let owner = owner_of(&s);
                taken.retain(|_, o| *o != owner);
            }
        }
    }

    /// Gives back what a deleted Service held.
    pub fn release(&self, service: &Value) {
        let owner = owner_of(service);
        self.taken.lock().retain(|_, o| *o != owner);
    }

    /// Takes what `service` needs, writes it into the object and remembers what it no longer needs.
    pub fn begin(&self, c: &Context<'_>, service: &mut Value, old: Option<&Value>) -> Result<Reservation, ApiError> {
        let owner = old.map_or_else(|| owner_of(service), owner_of);
        let mut r = Reservation {
            taken: self.taken.clone(),
            owner,
            fresh: Vec::new(),
            obsolete: Vec::new(),
        };
        let mut errors = Vec::new();
        if needs_cluster_ip(service) {
            self.ip_families(service, &mut errors);
            if errors.is_empty() && !is_headless(service) {
                self.cluster_ip(service, old, &mut r, &mut errors);
            }
        }
        if errors.is_empty() {
            self.node_ports(service, old, &mut r, &mut errors);
        }
        if !errors.is_empty() {
            let name = text(&service["metadata"]["name"]);
            return Err(ApiError::invalid("", "Service", name, &errors));
        }
        if c.dry_run {
            r.give_back(&r.fresh);
            r.fresh.clear();
        } else if let Some(old) = old {
            let now = held(service);
            r.obsolete = held(old).into_iter().filter(|k| !now.contains(k)).collect();
        }
        Ok(r)
    }

    fn family(&self) -> &'static str {
        match self.cidr {
            IpNet::V4(_) => "IPv4",
            IpNet::V6(_) => "IPv6",
        }
    }

    /// Fills in `ipFamilies` and `ipFamilyPolicy` (KEP-563) for a cluster of one family.
    fn ip_families(&self, service: &mut Value, errors: &mut Vec<FieldError>) {
        let selectorless = tree::is_empty(&service["spec"]["selector"]);
        let headless = is_headless(service);
        let policy = match text(&service["spec"]["ipFamilyPolicy"]) {
            "" if headless && selectorless => "RequireDualStack",
            "" => "SingleStack",
            p => p,
        }
        .to_owned();
        let mut families: Vec<Value> = items(&service["spec"]["ipFamilies"]).to_vec();
        if headless && selectorless {
            if families.is_empty() {
                families.push(self.family().into());
            }
            if families.len() == 1 && policy != "SingleStack" {
                families.push(if families[0] == "IPv4" { "IPv6" } else { "IPv4" }.into());
            }
        } else {
            if policy == "RequireDualStack" {
                errors.push(FieldError::invalid(
                    "spec.ipFamilyPolicy",
                    &policy.as_str().into(),
                    "this cluster is not configured for dual-stack services",
                ));
            }
            for (i, f) in families.iter().enumerate() {
                if text(f) != self.family() {
                    errors.push(FieldError::invalid(
                        format!("spec.ipFamilies[{i}]"),
                        f,
                        "not configured on this cluster",
                    ));
                }
            }
            if families.is_empty() {
                families.push(self.family().into());
            }
        }
        tree::set(service, "spec", "ipFamilyPolicy", policy.into());
        tree::set(service, "spec", "ipFamilies", families.into());
    }

    fn cluster_ip(&self, service: &mut Value, old: Option<&Value>, r: &mut Reservation, errors: &mut Vec<FieldError>) {
        let asked = match text(&service["spec"]["clusterIPs"][0]) {
            "" => text(&service["spec"]["clusterIP"]),
            ip => ip,
        };
        if asked.is_empty() {
            match self.next_ip(r) {
                Some(ip) => {
                    tree::set(service, "spec", "clusterIP", ip.to_string().into());
                    tree::set(service, "spec", "clusterIPs", vec![ip.to_string()].into());
                }
                None => errors.push(FieldError {
                    field: "spec.clusterIPs".into(),
                    reason: "InternalError",
                    message: "Internal error: failed to allocate a serviceIP: range is full".into(),
                }),
            }
            return;
        }
        let Ok(ip) = asked.parse::<IpAddr>() else { return }; // validation says so
        if old.is_some_and(|o| held(o).contains(&Key::Ip(ip))) {
            return;
        }
        let shown = Value::from(vec![asked]);
        let mut fail = |why: String| {
            errors.push(FieldError::invalid(
                "spec.clusterIPs",
                &shown,
                &format!("failed to allocate IP {ip}: {why}"),
            ));
        };
        if !self.cidr.contains(&ip) {
            fail(format!(
                "the provided network does not match the current range; the provided IP ({ip}) is not in the valid range. The range of valid IPs is {}",
                self.cidr
            ));
        } else if !r.take(Key::Ip(ip)) {
            fail("provided IP is already allocated".into());
        } else {
            let text = ip.to_string();
            tree::set(service, "spec", "clusterIP", text.clone().into());
            tree::set(service, "spec", "clusterIPs", vec![text].into());
        }
    }

    /// A free address: random within the upper band, whose lower end is left to static choices (KEP-3070).
    fn next_ip(&self, r: &mut Reservation) -> Option<IpAddr> {
        let (first, last) = bounds(&self.cidr)?;
        let size = last - first + 1;
        let band = (size / 16).clamp(16, 256).min(size - 1);
        let base = rand::rng().random_range(0..size - band);
        let upper = (0..size - band).map(|i| first + band + (base + i) % (size - band));
        let lower = (0..band).map(|i| first + i);
        upper
            .chain(lower)
            .map(|n| address(&self.cidr, n))
            .find(|ip| r.take(Key::Ip(*ip)))
    }

    fn node_ports(&self, service: &mut Value, old: Option<&Value>, r: &mut Reservation, errors: &mut Vec<FieldError>) {
        let before = old.map(held).unwrap_or_default();
        let needs = needs_node_port(service);
        let Some(ports) = service["spec"]["ports"].as_array().cloned() else {
            return;
        };
        // Asked for by number first, so that a random choice never takes one of them. TCP and UDP of one
        // Service may share a number.
        let mut chosen: HashMap<(u16, String), u16> = HashMap::new();
        for (i, p) in ports.iter().enumerate() {
            let Some(n) = port_of(&p["nodePort"]) else { continue };
            let key = Key::Port(n);
            chosen.insert((port_of(&p["port"]).unwrap_or(0), text(&p["protocol"]).to_owned()), n);
            if before.contains(&key) || r.fresh.contains(&key) {
                continue;
            }
            let why = if !(self.ports.0..=self.ports.1).contains(&n) {
                format!(
                    "provided port is not in the valid range. The range of valid ports is {}-{}",
                    self.ports.0, self.ports.1
                )
            } else if !r.take(key) {
                "provided port is already allocated".to_owned()
            } else {
                continue;
            };
            errors.push(FieldError::invalid(
                format!("spec.ports[{i}].nodePort"),
                &n.into(),
                &why,
            ));
        }
        if !needs || !errors.is_empty() {
            return;
        }
        for (i, p) in ports.iter().enumerate() {
            if port_of(&p["nodePort"]).is_some() {
                continue;
            }
            let number = port_of(&p["port"]).unwrap_or(0);
            let protocol = text(&p["protocol"]);
            let shared = chosen
                .iter()
                .find(|((port, proto), _)| *port == number && proto != protocol)
                .map(|(_, n)| *n);
            let Some(n) = shared.or_else(|| self.next_port(r)) else {
                errors.push(FieldError {
                    field: format!("spec.ports[{i}].nodePort"),
                    reason: "InternalError",
                    message: "Internal error: failed to allocate a nodePort: range is full".into(),
                });
                return;
            };
            chosen.insert((number, protocol.to_owned()), n);
            if let Some(slot) = service["spec"]["ports"].get_mut(i).and_then(Value::as_object_mut) {
                slot.insert("nodePort".into(), n.into());
            }
        }
    }

    fn next_port(&self, r: &mut Reservation) -> Option<u16> {
        let (low, high) = (u32::from(self.ports.0), u32::from(self.ports.1));
        let size = (high + 1).checked_sub(low).filter(|n| *n > 0)?;
        let start = rand::rng().random_range(0..size);
        (0..size)
            .filter_map(|i| u16::try_from(low + (start + i) % size).ok())
            .find(|n| r.take(Key::Port(*n)))
    }
}

impl Reservation {
    fn take(&mut self, key: Key) -> bool {
        let mut taken = self.taken.lock();
        match taken.get(&key) {
            Some(o) if *o == self.owner => true,
            Some(_) => false,
            None => {
                taken.insert(key, self.owner.clone());
                drop(taken);
                self.fresh.push(key);
                true
            }
        }
    }
}

/// First and last usable address as numbers; at most 2^20 of an IPv6 range are used, as upstream.
fn bounds(cidr: &IpNet) -> Option<(u128, u128)> {
    const IPV6_ADDRESSES_MAX: u128 = 1 << 20;
    let (first, last) = match cidr {
        IpNet::V4(n) => (u128::from(u32::from(n.network())), u128::from(u32::from(n.broadcast()))),
        IpNet::V6(n) => {
            let net = u128::from(n.network());
            (
                net,
                u128::from(n.broadcast()).min(net.saturating_add(IPV6_ADDRESSES_MAX)),
            )
        }
    };
    // Without the network address and the broadcast address.
    (last >= first + 4).then(|| (first + 1, last - 1))
}

fn address(cidr: &IpNet, n: u128) -> IpAddr {
    match cidr {
        IpNet::V4(_) => IpAddr::V4(u32::try_from(n).unwrap_or_default().into()),
        IpNet::V6(_) => IpAddr::V6(n.into()),
    }
}
