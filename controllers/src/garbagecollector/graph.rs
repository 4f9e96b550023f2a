//! Who owns whom. Pure: events in, things to look at out.
//!
//! Dependents are indexed by their owner's uid whether or not the owner is known, so an owner seen late (or
//! never) needs no placeholder: whoever refers to an unknown owner is looked at until the owner is seen or
//! the server says that it does not exist.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub const FOREGROUND: &str = "foregroundDeletion";
pub const ORPHAN: &str = "orphan";

pub type Uid = Arc<str>;

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    pub api_version: Arc<str>,
    pub kind: Arc<str>,
    /// Empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub identity: Identity,
    pub owners: Arc<[OwnerReference]>,
    pub deleting: bool,
    /// Waits for its dependents to go first.
    pub foreground: bool,
    pub orphaning: bool,
}

/// What to look at because of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Work {
    /// Whether the object should go, or can at last.
    Examine(Uid),
    /// Its dependents are to be left alone, then it can go.
    Orphan(Uid),
}

#[derive(Default)]
pub struct Graph {
    nodes: HashMap<Uid, Node>,
    dependents: HashMap<Uid, HashSet<Uid>>,
}

fn has(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().flatten().any(|f| f == finalizer)
}

fn blocks(r: &OwnerReference) -> bool {
    r.block_owner_deletion == Some(true)
}

impl Graph {
    pub fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn dependents(&self, uid: &str) -> Vec<Uid> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    /// Dependents that hold back the foreground deletion of `uid`.
    pub fn blocking(&self, uid: &str) -> Vec<(Uid, bool)> {
        self.dependents
            .get(uid)
            .into_iter()
            .flatten()
            .filter_map(|d| {
                let n = self.nodes.get(d)?;
                let blocking = n.owners.iter().any(|r| r.uid == uid && blocks(r));
                blocking.then(|| (d.clone(), n.foreground))
            })
            .collect()
    }

    /// Whether `r` refers from `namespace` to an owner that has been seen, with matching coordinates.
    pub fn knows_owner(&self, r: &OwnerReference, namespace: &str) -> bool {
        self.nodes.get(r.uid.as_str()).is_some_and(|o| {
            *o.identity.name == *r.name
                && *o.identity.kind == *r.kind
                && *o.identity.api_version == *r.api_version
                && (o.identity.namespace.is_empty() || *o.identity.namespace == *namespace)
        })
    }

    /// Whether a reference crosses namespaces, which is never valid.
    pub fn crosses_namespaces(&self, r: &OwnerReference, namespace: &str) -> bool {
        self.nodes
            .get(r.uid.as_str())
            .is_some_and(|o| !o.identity.namespace.is_empty() && *o.identity.namespace != *namespace)
    }

    pub fn observe(&mut self, identity: Identity, meta: &ObjectMeta) -> Vec<Work> {
        let uid: Uid = meta.uid.as_deref().unwrap_or_default().into();
        let deleting = meta.deletion_timestamp.is_some();
        let node = Node {
            owners: meta.owner_references.clone().unwrap_or_default().into(),
            deleting,
            foreground: deleting && has(meta, FOREGROUND),
            orphaning: deleting && has(meta, ORPHAN),
            identity,
        };
        let mut work = Vec::new();
        let old = self.nodes.get(&uid).cloned();
        let old_owners: &[OwnerReference] = old.as_ref().map_or(&[], |o| &o.owners);
        for r in old_owners {
            let now = node.owners.iter().find(|n| n.uid == r.uid);
            if now.is_none() {
                self.unlink(&r.uid, &uid);
            }
            // An owner in foreground deletion may wait for just this reference.
            if blocks(r) && !now.is_some_and(blocks) && self.nodes.contains_key(r.uid.as_str()) {
                work.push(Work::Examine(r.uid.as_str().into()));
            }
        }
        let namespace = node.identity.namespace.clone();
        let mut doubtful = false;
        for r in node.owners.iter() {
            self.dependents
                .entry(r.uid.as_str().into())
                .or_default()
                .insert(uid.clone());
            if !old_owners.contains(r) {
                doubtful |= !self.knows_owner(r, &namespace);
            }
        }
        if doubtful {
            work.push(Work::Examine(uid.clone()));
        }
        if node.orphaning && !old.as_ref().is_some_and(|o| o.orphaning) {
            work.push(Work::Orphan(uid.clone()));
        } else if node.foreground && !old.as_ref().is_some_and(|o| o.foreground) {
            work.extend(self.dependents(&uid).into_iter().map(Work::Examine));
            work.push(Work::Examine(uid.clone()));
        }
        self.nodes.insert(uid, node);
        work
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(set) = self.dependents.get_mut(owner) {
            set.remove(dependent);
            if set.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }

    /// The object is gone: its dependents are looked at, and owners that waited for it.
    pub fn remove(&mut self, uid: &str) -> Vec<Work> {
        let mut work: Vec<Work> = self.dependents(uid).into_iter().map(Work::Examine).collect();
        if let Some(node) = self.nodes.remove(uid) {
            for r in node.owners.iter() {
                self.unlink(&r.uid, uid);
                if self.nodes.get(r.uid.as_str()).is_some_and(|o| o.foreground) {
                    work.push(Work::Examine(r.uid.as_str().into()));
                }
            }
        }
        work
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::{Value, json};

    fn see(g: &mut Graph, uid: &str, owners: &[(&str, bool)], extra: Value) -> Vec<Work> {
        let refs: Vec<Value> = owners
            .iter()
            .map(|(o, b)| json!({"apiVersion": "v1", "kind": "K", "name": o, "uid": o, "blockOwnerDeletion": b}))
            .collect();
        let mut meta = json!({"name": uid, "namespace": "d", "uid": uid, "ownerReferences": refs});
        for (k, v) in extra.as_object().unwrap() {
            meta[k] = v.clone();
        }
        let identity = Identity {
            api_version: "v1".into(),
            kind: "K".into(),
            namespace: "d".into(),
            name: uid.into(),
        };
        g.observe(identity, &serde_json::from_value(meta).unwrap())
    }
    fn check(mut work: Vec<Work>, want: Expect) {
        work.sort();
        let lines: Vec<String> = work.iter().map(|w| format!("{w:?}")).collect();
        want.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn an_unknown_owner_is_doubtful_and_a_known_one_is_not() {
        let mut g = Graph::default();
        check(
            see(&mut g, "pod", &[("rs", true)], json!({})),
            expect![[r#"Examine("pod")"#]],
        );
        check(see(&mut g, "rs", &[], json!({})), expect![""]);
        check(see(&mut g, "pod2", &[("rs", true)], json!({})), expect![""]);
        check(
            g.remove("rs"),
            expect![[r#"
                Examine("pod")
                Examine("pod2")"#]],
        );
    }

    #[test]
    fn foreground_deletion_wakes_dependents_and_then_the_owner() {
        let mut g = Graph::default();
        see(&mut g, "rs", &[], json!({}));
        see(&mut g, "pod", &[("rs", true)], json!({}));
        let gone = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [FOREGROUND]});
        check(
            see(&mut g, "rs", &[], gone),
            expect![[r#"
                Examine("pod")
                Examine("rs")"#]],
        );
        assert_eq!(g.blocking("rs").len(), 1);
        check(g.remove("pod"), expect![[r#"Examine("rs")"#]]);
        assert!(g.blocking("rs").is_empty());
    }

    #[test]
    fn unblocking_a_reference_wakes_the_owner() {
        let mut g = Graph::default();
        see(&mut g, "rs", &[], json!({}));
        see(&mut g, "pod", &[("rs", true)], json!({}));
        let work = see(&mut g, "pod", &[("rs", false)], json!({}));
        assert!(work.contains(&Work::Examine("rs".into())));
        assert!(g.blocking("rs").is_empty());
        check(see(&mut g, "pod", &[], json!({})), expect![""]);
        assert!(g.dependents("rs").is_empty());
    }

    #[test]
    fn orphaning_comes_before_deletion() {
        let mut g = Graph::default();
        see(&mut g, "rs", &[], json!({}));
        let gone = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [ORPHAN]});
        check(see(&mut g, "rs", &[], gone), expect![[r#"Orphan("rs")"#]]);
    }
}
