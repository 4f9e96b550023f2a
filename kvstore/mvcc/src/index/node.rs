//! Inner nodes of the key index: children with a separator and the weight of what lives below each.

use super::entry::{Entry, Recorded};
use super::leaf::{Changed, LEAF_MAX, LEAF_MERGE, Leaf, NewVersion};
use super::weight::Weight;
use crate::revision::{Rev, Version};
use std::ops::ControlFlow;

/// Children of an inner node; a full one splits in two halves.
pub const INNER_MAX: usize = 64;

pub enum Node {
    Leaf(Leaf),
    Inner(Vec<Child>),
}

pub struct Child {
    /// No key below this child is smaller. Of no meaning for the first child of a node.
    pub separator: Box<[u8]>,
    /// Of what lives below this child.
    pub weight: Weight,
    pub node: Node,
}

/// One change of one key.
pub enum Change {
    Put(NewVersion),
    Load {
        change: Recorded,
        create: i64,
        version: i64,
    },
}

fn child_of(children: &[Child], key: &[u8]) -> usize {
    children
        .get(1..)
        .unwrap_or_default()
        .partition_point(|c| c.separator.as_ref() <= key)
}

impl Node {
    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        match self {
            Node::Leaf(leaf) => leaf.get(key),
            Node::Inner(children) => children.get(child_of(children, key))?.node.get(key),
        }
    }

    /// Of all that lives below it.
    pub fn weight(&self) -> Weight {
        match self {
            Node::Leaf(leaf) => leaf.weight(),
            Node::Inner(children) => children.iter().map(|c| c.weight).sum(),
        }
    }

    /// Of what lives below `key`.
    pub fn weight_before(&self, key: &[u8]) -> Weight {
        match self {
            Node::Leaf(leaf) => leaf.weight_before(leaf.lower_bound(key)),
            Node::Inner(children) => {
                let at = child_of(children, key);
                let before: Weight = children.iter().take(at).map(|c| c.weight).sum();
                before
                    + children
                        .get(at)
                        .map_or_else(Weight::default, |c| c.node.weight_before(key))
            }
        }
    }

    /// Applies a change; also tells by how much the weight changed, and what split off: the upper part of a node that
    /// became too large.
    pub fn change(&mut self, key: &[u8], change: &Change) -> (Changed, Weight, Option<Child>) {
        match self {
            Node::Leaf(leaf) => {
                let (changed, delta) = match *change {
                    Change::Put(ref new) => leaf.put(key, new),
                    Change::Load {
                        change,
                        create,
                        version,
                    } => {
                        let changed = Changed {
                            previous: None,
                            create,
                            version,
                        };
                        (changed, leaf.load(key, change, create, version))
                    }
                };
                let split = (leaf.len() > LEAF_MAX).then(|| {
                    let upper = leaf.split(split_at(leaf.len(), leaf.find(key).unwrap_or_default()));
                    Child {
                        separator: upper.key(0).into(),
                        weight: upper.weight(),
                        node: Node::Leaf(upper),
                    }
                });
                (changed, delta, split)
            }
            Node::Inner(children) => {
                let at = child_of(children, key);
                let child = &mut children[at];
                let (changed, delta, split) = child.node.change(key, change);
                child.weight += delta;
                if let Some(upper) = split {
                    child.weight -= upper.weight;
                    children.insert(at + 1, upper);
                }
                (changed, delta, split_inner(children, at + 1))
            }
        }
    }

    /// What was there, and by how much the weight changed.
    pub fn tombstone(&mut self, key: &[u8], rev: Rev) -> Option<(Version, Weight)> {
        match self {
            Node::Leaf(leaf) => leaf.tombstone(key, rev),
            Node::Inner(children) => {
                let at = child_of(children, key);
                let child = children.get_mut(at)?;
                let (previous, delta) = child.node.tombstone(key, rev)?;
                child.weight += delta;
                Some((previous, delta))
            }
        }
    }

    /// Takes the key out altogether; neighbours that became small are joined.
    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        match self {
            Node::Leaf(leaf) => leaf.remove(key),
            Node::Inner(children) => {
                let at = child_of(children, key);
                let removed = children.get_mut(at)?.node.remove(key)?;
                if let Some(child) = children.get_mut(at) {
                    child.weight -= removed.weight();
                }
                join(children, at.saturating_sub(1));
                join(children, at);
                Some(removed)
            }
        }
    }

    /// Leaves, and entries in them.
    #[cfg(test)]
    pub fn leaves(&self) -> (usize, usize) {
        match self {
            Node::Leaf(leaf) => (1, leaf.len()),
            Node::Inner(children) => children
                .iter()
                .map(|c| c.node.leaves())
                .fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Node::Leaf(leaf) => leaf.is_empty(),
            Node::Inner(children) => children.is_empty(),
        }
    }

    /// A root with one child is replaced by it.
    pub fn collapse(&mut self) {
        while let Node::Inner(children) = self {
            match children.len() {
                0 => *self = Node::Leaf(Leaf::default()),
                1 => {
                    let Some(only) = children.pop() else { return };
                    *self = only.node;
                }
                _ => return,
            }
        }
    }

    /// The root grows: it and what split off become children of a new one.
    pub fn grow(&mut self, upper: Child) {
        let lower = std::mem::replace(self, Node::Inner(Vec::with_capacity(2)));
        let Node::Inner(children) = self else { return };
        children.push(Child {
            separator: Box::default(),
            weight: lower.weight(),
            node: lower,
        });
        children.push(upper);
    }

    /// Entries from `start` on, ascending, until `visit` breaks.
    pub fn walk<B>(&self, start: &[u8], visit: &mut impl FnMut(&[u8], &Entry) -> ControlFlow<B>) -> ControlFlow<B> {
        match self {
            Node::Leaf(leaf) => {
                let mut key = Vec::new();
                for at in leaf.lower_bound(start)..leaf.len() {
                    if let Some(entry) = leaf.entry(at) {
                        leaf.key_into(at, &mut key);
                        visit(&key, entry)?;
                    }
                }
            }
            Node::Inner(children) => {
                for child in children.iter().skip(child_of(children, start)) {
                    child.node.walk(start, visit)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// As [`Node::walk`], for changing entries in ways that keep them live or dead.
    pub fn walk_mut<B>(
        &mut self,
        start: &[u8],
        visit: &mut impl FnMut(&[u8], &mut Entry) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        match self {
            Node::Leaf(leaf) => {
                let mut key = Vec::new();
                for at in leaf.lower_bound(start)..leaf.len() {
                    leaf.key_into(at, &mut key);
                    if let Some(entry) = leaf.entry_mut(at) {
                        visit(&key, entry)?;
                    }
                }
            }
            Node::Inner(children) => {
                let first = child_of(children, start);
                for child in children.iter_mut().skip(first) {
                    child.node.walk_mut(start, visit)?;
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// Where a node splits that became too large by what is now at `new`: what grows at its end leaves full nodes behind.
fn split_at(len: usize, new: usize) -> usize {
    if new + 1 == len { new } else { len / 2 }
}

fn split_inner(children: &mut Vec<Child>, new: usize) -> Option<Child> {
    if children.len() <= INNER_MAX {
        return None;
    }
    let mut upper = children.split_off(split_at(children.len(), new));
    let separator = upper
        .first_mut()
        .map(|c| std::mem::take(&mut c.separator))
        .unwrap_or_default();
    Some(Child {
        separator,
        weight: upper.iter().map(|c| c.weight).sum(),
        node: Node::Inner(upper),
    })
}

/// Joins the child at `at` with the next one where both are small; drops an empty one.
fn join(children: &mut Vec<Child>, at: usize) {
    if children.get(at).is_some_and(|c| c.node.is_empty()) && children.len() > 1 {
        children.remove(at);
        return;
    }
    let small = match (children.get(at).map(|c| &c.node), children.get(at + 1).map(|c| &c.node)) {
        (Some(Node::Leaf(a)), Some(Node::Leaf(b))) => a.len() + b.len() <= LEAF_MERGE,
        (Some(Node::Inner(a)), Some(Node::Inner(b))) => a.len() + b.len() <= INNER_MAX / 2,
        _ => false,
    };
    if !small {
        return;
    }
    let next = children.remove(at + 1);
    let Some(child) = children.get_mut(at) else { return };
    child.weight += next.weight;
    match (&mut child.node, next.node) {
        (Node::Leaf(a), Node::Leaf(b)) => a.append(b),
        (Node::Inner(a), Node::Inner(mut b)) => {
            if let Some(first) = b.first_mut() {
                first.separator = next.separator;
            }
            a.append(&mut b);
        }
        _ => {}
    }
}
