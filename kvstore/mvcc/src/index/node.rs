//! Inner nodes of the key index: children with a separator and the number of live keys below each.

use super::leaf::{Changed, Entry, LEAF_MAX, LEAF_MERGE, Leaf};
use crate::revision::{Rev, Version};
use std::ops::ControlFlow;

/// Children of an inner node; a full one splits in two halves.
const INNER_MAX: usize = 64;

pub enum Node {
    Leaf(Leaf),
    Inner(Vec<Child>),
}

pub struct Child {
    /// No key below this child is smaller. Of no meaning for the first child of a node.
    separator: Box<[u8]>,
    /// Live keys below this child.
    live: usize,
    node: Node,
}

/// The upper half of a node that became too large.
pub struct Split {
    separator: Box<[u8]>,
    live: usize,
    node: Node,
}

/// One change of one key.
pub enum Change {
    Put(Rev),
    Load { change: Version, create: i64, version: i64 },
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

    pub fn live(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.live(),
            Node::Inner(children) => children.iter().map(|c| c.live).sum(),
        }
    }

    /// Live keys below `key`.
    pub fn rank(&self, key: &[u8]) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.live_before(leaf.lower_bound(key)),
            Node::Inner(children) => {
                let at = child_of(children, key);
                let before: usize = children.iter().take(at).map(|c| c.live).sum();
                before + children.get(at).map_or(0, |c| c.node.rank(key))
            }
        }
    }

    /// Applies a change; also tells by how much the number of live keys changed, and what split off.
    pub fn change(&mut self, key: &[u8], change: &Change) -> (Changed, isize, Option<Split>) {
        match self {
            Node::Leaf(leaf) => {
                let before = leaf.get(key).is_some_and(Entry::is_live);
                let changed = match *change {
                    Change::Put(rev) => leaf.put(key, rev),
                    Change::Load {
                        change,
                        create,
                        version,
                    } => {
                        leaf.load(key, change, create, version);
                        Changed {
                            previous: None,
                            create,
                            version,
                        }
                    }
                };
                let after = leaf.get(key).is_some_and(Entry::is_live);
                let split = (leaf.len() > LEAF_MAX).then(|| {
                    let upper = leaf.split();
                    Split {
                        separator: upper.key(0).into(),
                        live: upper.live(),
                        node: Node::Leaf(upper),
                    }
                });
                (changed, isize::from(after) - isize::from(before), split)
            }
            Node::Inner(children) => {
                let at = child_of(children, key);
                let child = &mut children[at];
                let (changed, delta, split) = child.node.change(key, change);
                child.live = child.live.saturating_add_signed(delta);
                if let Some(split) = split {
                    child.live -= split.live;
                    let upper = Child {
                        separator: split.separator,
                        live: split.live,
                        node: split.node,
                    };
                    children.insert(at + 1, upper);
                }
                (changed, delta, split_inner(children))
            }
        }
    }

    pub fn tombstone(&mut self, key: &[u8], rev: Rev) -> Option<Version> {
        match self {
            Node::Leaf(leaf) => leaf.tombstone(key, rev),
            Node::Inner(children) => {
                let at = child_of(children, key);
                let child = children.get_mut(at)?;
                let previous = child.node.tombstone(key, rev)?;
                child.live -= 1;
                Some(previous)
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
                if removed.is_live() {
                    children[at].live -= 1;
                }
                join(children, at.saturating_sub(1));
                join(children, at);
                Some(removed)
            }
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

    /// The root grows: its halves become children of a new one.
    pub fn grow(&mut self, split: Split) {
        let lower = std::mem::replace(self, Node::Inner(Vec::with_capacity(2)));
        let Node::Inner(children) = self else { return };
        children.push(Child {
            separator: Box::default(),
            live: lower.live(),
            node: lower,
        });
        children.push(Child {
            separator: split.separator,
            live: split.live,
            node: split.node,
        });
    }

    /// Entries from `start` on, ascending, until `visit` breaks.
    pub fn walk<B>(&self, start: &[u8], visit: &mut impl FnMut(&[u8], &Entry) -> ControlFlow<B>) -> ControlFlow<B> {
        match self {
            Node::Leaf(leaf) => {
                for at in leaf.lower_bound(start)..leaf.len() {
                    if let Some(entry) = leaf.entry(at) {
                        visit(leaf.key(at), entry)?;
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
                for at in leaf.lower_bound(start)..leaf.len() {
                    let key: smallvec::SmallVec<[u8; 128]> = leaf.key(at).into();
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

fn split_inner(children: &mut Vec<Child>) -> Option<Split> {
    if children.len() <= INNER_MAX {
        return None;
    }
    let mut upper = children.split_off(children.len() / 2);
    let separator = upper
        .first_mut()
        .map(|c| std::mem::take(&mut c.separator))
        .unwrap_or_default();
    let live = upper.iter().map(|c| c.live).sum();
    Some(Split {
        separator,
        live,
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
    child.live += next.live;
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
