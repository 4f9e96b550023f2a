//! What the scheduler believes about nodes: what the API said, plus the pods it has itself just placed.
//!
//! Invariant: a pod counts against at most one node. An assumed pod counts until the API confirms it
//! (an assigned pod of the same key arrives) or the binding fails ([`Cache::forget`]).
use crate::framework::types::node_name;
use crate::framework::{NodeInfo, PodInfo, Snapshot};
use k8s_openapi::api::core::v1::Node;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

#[derive(Default)]
pub struct Cache {
    nodes: HashMap<String, Arc<NodeInfo>>,
    /// Pod key to the node that it counts against.
    placed: HashMap<Arc<str>, String>,
    assumed: HashSet<Arc<str>>,
    /// Nodes that changed since the last refresh of the snapshot.
    dirty: HashSet<String>,
}

impl Cache {
    fn change(&mut self, name: &str, f: impl FnOnce(&mut NodeInfo)) {
        let info = self
            .nodes
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(NodeInfo::new(name)));
        f(Arc::make_mut(info));
        let abandoned = info.node.is_none() && info.pods.is_empty();
        if abandoned {
            self.nodes.remove(name);
        }
        self.dirty.insert(name.to_owned());
    }

    pub fn set_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        self.change(&name, |i| i.set_node(node));
    }

    /// Its pods stay known until they go themselves, so that the node coming back finds them counted.
    pub fn remove_node(&mut self, name: &str) {
        self.change(name, |i| i.node = None);
    }

    /// A pod that the API has on a node; replaces what was assumed of it.
    pub fn set_pod(&mut self, pod: Arc<PodInfo>) {
        let Some(node) = node_name(&pod.pod).map(str::to_owned) else {
            return;
        };
        self.assumed.remove(&pod.key);
        self.place(pod, node);
    }

    fn place(&mut self, pod: Arc<PodInfo>, node: String) {
        if let Some(old) = self.placed.insert(pod.key.clone(), node.clone())
            && old != node
        {
            self.change(&old, |i| {
                i.remove_pod(&pod.key);
            });
        }
        self.change(&node, |i| i.add_pod(pod));
    }

    /// Returns the pod as it was counted.
    pub fn remove_pod(&mut self, key: &str) -> Option<Arc<PodInfo>> {
        self.assumed.remove(key);
        let node = self.placed.remove(key)?;
        let was = self.nodes.get(&node).and_then(|n| n.pods.get(key)).cloned();
        self.change(&node, |i| {
            i.remove_pod(key);
        });
        was
    }

    /// Counts `pod` against `node` before the API knows of it.
    pub fn assume(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.assumed.insert(pod.key.clone());
        self.place(pod, node.to_owned());
    }

    /// Takes an assumption back; does nothing when the API has confirmed it meanwhile.
    pub fn forget(&mut self, key: &str) -> Option<Arc<PodInfo>> {
        if self.assumed.contains(key) {
            self.remove_pod(key)
        } else {
            None
        }
    }

    pub fn is_placed(&self, key: &str) -> bool {
        self.placed.contains_key(key)
    }

    /// Brings `snapshot` up to date at the cost of what changed.
    pub fn refresh(&mut self, snapshot: &mut Snapshot) {
        for name in self.dirty.drain() {
            match self.nodes.get(&name) {
                Some(i) if i.node.is_some() => snapshot.put(i.clone()),
                _ => snapshot.remove(&name),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn node(name: &str) -> Arc<Node> {
        Arc::new(serde_json::from_value(json!({"metadata": {"name": name}})).unwrap())
    }
    fn pod(name: &str, node: Option<&str>) -> Arc<PodInfo> {
        let p = json!({"metadata": {"namespace": "d", "name": name}, "spec": {"containers": [], "nodeName": node}});
        Arc::new(PodInfo::new(Arc::new(serde_json::from_value(p).unwrap())))
    }
    fn count(c: &mut Cache, s: &mut Snapshot, node: &str) -> Option<usize> {
        c.refresh(s);
        s.get(node).map(|n| n.pods.len())
    }

    #[test]
    fn an_assumed_pod_counts_until_it_is_forgotten_or_confirmed() {
        let (mut c, mut s) = (Cache::default(), Snapshot::default());
        c.set_node(node("n1"));
        c.set_node(node("n2"));
        c.assume(pod("a", None), "n1");
        assert_eq!(count(&mut c, &mut s, "n1"), Some(1));
        assert!(c.forget("d/a").is_some());
        assert_eq!(count(&mut c, &mut s, "n1"), Some(0));
        c.assume(pod("a", None), "n1");
        c.set_pod(pod("a", Some("n2")));
        assert_eq!(count(&mut c, &mut s, "n1"), Some(0));
        assert_eq!(count(&mut c, &mut s, "n2"), Some(1));
        assert!(c.forget("d/a").is_none(), "confirmed pods are not forgotten");
        assert_eq!(count(&mut c, &mut s, "n2"), Some(1));
    }

    #[test]
    fn pods_seen_before_their_node_are_counted_when_it_comes() {
        let (mut c, mut s) = (Cache::default(), Snapshot::default());
        c.set_pod(pod("a", Some("n1")));
        assert_eq!(count(&mut c, &mut s, "n1"), None);
        c.set_node(node("n1"));
        assert_eq!(count(&mut c, &mut s, "n1"), Some(1));
        c.remove_node("n1");
        assert_eq!(count(&mut c, &mut s, "n1"), None);
        c.remove_pod("d/a");
        assert!(c.nodes.is_empty() && c.placed.is_empty());
    }
}
