//! Pods and nodes as plugins see them.
use super::affinity::NodeAffinity;
use super::resources::{Resources, is_restartable_init, pod_requests};
use k8s_openapi::api::core::v1::{Node, Pod};
use std::collections::HashMap;
use std::sync::Arc;

/// `namespace/name`.
pub type PodKey = Arc<str>;

/// A port of the host that a pod wants for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// `0.0.0.0` when the pod does not say.
    pub ip: String,
    pub protocol: String,
    pub port: i32,
}

impl HostPort {
    /// The wildcard address conflicts with every address of the same protocol and port.
    pub fn conflicts_with(&self, other: &HostPort) -> bool {
        const ANY: &str = "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip == ANY || other.ip == ANY)
    }
}

/// A pod with what scheduling derives from it, computed once.
#[derive(Clone, Debug)]
pub struct PodInfo {
    pub key: PodKey,
    pub pod: Arc<Pod>,
    pub requests: Resources,
    /// Requests with the defaults that scoring assumes.
    pub scored_requests: Resources,
    pub host_ports: Vec<HostPort>,
    pub node_affinity: NodeAffinity,
}

impl PodInfo {
    pub fn new(pod: Arc<Pod>) -> Self {
        PodInfo {
            key: pod_key(&pod),
            requests: pod_requests(&pod, false),
            scored_requests: pod_requests(&pod, true),
            host_ports: host_ports(&pod),
            node_affinity: NodeAffinity::of(&pod),
            pod,
        }
    }
    pub fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }
    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }
    pub fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }
    pub fn priority(&self) -> i32 {
        self.pod.spec.as_ref().and_then(|s| s.priority).unwrap_or(0)
    }
}

pub fn pod_key(pod: &Pod) -> PodKey {
    format!(
        "{}/{}",
        pod.metadata.namespace.as_deref().unwrap_or_default(),
        pod.metadata.name.as_deref().unwrap_or_default()
    )
    .into()
}

/// The node a pod is assigned to; empty strings count as none.
pub fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec
        .as_ref()
        .and_then(|s| s.node_name.as_deref())
        .filter(|n| !n.is_empty())
}

fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let Some(spec) = &pod.spec else {
        return Vec::new();
    };
    let sidecars = spec.init_containers.iter().flatten().filter(|c| is_restartable_init(c));
    spec.containers
        .iter()
        .chain(sidecars)
        .flat_map(|c| c.ports.iter().flatten())
        .filter_map(|p| {
            let port = p.host_port.filter(|p| *p > 0)?;
            Some(HostPort {
                ip: p
                    .host_ip
                    .clone()
                    .filter(|ip| !ip.is_empty())
                    .unwrap_or_else(|| "0.0.0.0".into()),
                protocol: p.protocol.clone().unwrap_or_else(|| "TCP".into()),
                port,
            })
        })
        .collect()
}

/// A node and what is, or is assumed to be, on it.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    pub name: Arc<str>,
    /// `None` when pods are known to be on a node that the API does not have (yet, or any more).
    pub node: Option<Arc<Node>>,
    pub allocatable: Resources,
    pub requested: Resources,
    pub scored_requested: Resources,
    pub pods: HashMap<PodKey, Arc<PodInfo>>,
}

impl NodeInfo {
    pub fn new(name: &str) -> Self {
        NodeInfo {
            name: name.into(),
            ..NodeInfo::default()
        }
    }

    pub fn set_node(&mut self, node: Arc<Node>) {
        self.allocatable = node
            .status
            .as_ref()
            .and_then(|s| s.allocatable.as_ref().or(s.capacity.as_ref()))
            .map(Resources::from_list)
            .unwrap_or_default();
        self.node = Some(node);
    }

    pub fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.remove_pod(&pod.key);
        self.requested.add(&pod.requests);
        self.scored_requested.add(&pod.scored_requests);
        self.pods.insert(pod.key.clone(), pod);
    }

    pub fn remove_pod(&mut self, key: &str) -> bool {
        let Some(old) = self.pods.remove(key) else {
            return false;
        };
        self.requested.sub(&old.requests);
        self.scored_requested.sub(&old.scored_requests);
        true
    }

    pub fn used_ports(&self) -> impl Iterator<Item = &HostPort> {
        self.pods.values().flat_map(|p| p.host_ports.iter())
    }
}

/// The nodes as one decision sees them; refreshed from the cache between decisions.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub nodes: Vec<Arc<NodeInfo>>,
    index: HashMap<Arc<str>, usize>,
}

impl Snapshot {
    pub fn get(&self, name: &str) -> Option<&Arc<NodeInfo>> {
        self.index.get(name).and_then(|i| self.nodes.get(*i))
    }

    pub fn put(&mut self, info: Arc<NodeInfo>) {
        match self.index.get(&info.name).and_then(|i| self.nodes.get_mut(*i)) {
            Some(slot) => *slot = info,
            None => {
                self.index.insert(info.name.clone(), self.nodes.len());
                self.nodes.push(info);
            }
        }
    }

    pub fn remove(&mut self, name: &str) {
        if let Some(i) = self.index.remove(name) {
            self.nodes.swap_remove(i);
            if let Some(moved) = self.nodes.get(i) {
                self.index.insert(moved.name.clone(), i);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, protocol: &str, port: i32) -> HostPort {
        HostPort {
            ip: ip.into(),
            protocol: protocol.into(),
            port,
        }
    }

    #[test]
    fn host_ports_conflict_by_address_protocol_and_port() {
        let any = port("0.0.0.0", "TCP", 80);
        assert!(any.conflicts_with(&port("127.0.0.1", "TCP", 80)));
        assert!(!any.conflicts_with(&port("127.0.0.1", "UDP", 80)));
        assert!(!port("10.0.0.1", "TCP", 80).conflicts_with(&port("127.0.0.1", "TCP", 80)));
    }

    #[test]
    fn a_snapshot_keeps_its_index_through_removals() {
        let mut s = Snapshot::default();
        for n in ["a", "b", "c"] {
            s.put(Arc::new(NodeInfo::new(n)));
        }
        s.remove("a");
        assert!(s.get("a").is_none());
        assert_eq!(s.get("c").map(|n| &*n.name), Some("c"));
        assert_eq!(s.get("b").map(|n| &*n.name), Some("b"));
        assert_eq!(s.nodes.len(), 2);
    }
}
