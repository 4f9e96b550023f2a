//! Builds an index from rows in order: full leaves one after the other, then the nodes above them.

use super::KeyIndex;
use super::entry::{Entry, Recorded};
use super::leaf::Leaf;
use super::node::{Child, INNER_MAX, Node};
use std::cmp::Ordering;

/// Entries of a leaf, and children of a node, that is built: a little room is left for what is put later.
const LEAF_FILL: usize = super::leaf::LEAF_MAX * 7 / 8;
const INNER_FILL: usize = INNER_MAX * 7 / 8;

/// Takes the versions of ascending keys, those of one key ascending.
#[derive(Default)]
pub struct Builder {
    children: Vec<Child>,
    /// Of the leaf under way: whole keys, one after the other.
    keys: Vec<u8>,
    entries: Vec<Entry>,
    last: Vec<u8>,
}

/// What a builder has built: leaves whose keys are above those of any part before it.
pub struct Built {
    leaves: Vec<Child>,
}

impl Builder {
    /// For a part of the index: takes no key below `first`.
    pub fn from(first: &[u8]) -> Builder {
        Builder {
            last: first.to_vec(),
            ..Builder::default()
        }
    }

    /// False: the key is out of order, and nothing was done.
    pub fn push(&mut self, key: &[u8], change: Recorded, create: i64, version: i64) -> bool {
        match (key.cmp(&self.last), self.entries.last_mut()) {
            (Ordering::Less, _) => return false,
            (Ordering::Equal, Some(entry)) => entry.push(change, create, version),
            // The first one of all may be the least that there can be.
            _ => {
                if self.entries.len() == LEAF_FILL {
                    self.seal();
                }
                let entry = Entry::new(change, create, version).placed(self.keys.len(), key.len());
                self.keys.extend_from_slice(key);
                self.entries.push(entry);
                self.last.clear();
                self.last.extend_from_slice(key);
            }
        }
        true
    }

    fn seal(&mut self) {
        let entries = std::mem::replace(&mut self.entries, Vec::with_capacity(LEAF_FILL));
        let leaf = Leaf::build(&self.keys, entries);
        self.keys.clear();
        self.children.push(Child {
            separator: leaf.key(0).into(),
            weight: leaf.weight(),
            node: Node::Leaf(leaf),
        });
    }

    pub fn finish(mut self) -> Built {
        if !self.entries.is_empty() {
            self.seal();
        }
        Built { leaves: self.children }
    }
}

impl KeyIndex {
    /// Of parts in ascending order.
    pub fn of(parts: impl IntoIterator<Item = Built>) -> KeyIndex {
        let mut level: Vec<Child> = parts.into_iter().flat_map(|part| part.leaves).collect();
        while level.len() > 1 {
            let mut above = Vec::with_capacity(level.len().div_ceil(INNER_FILL));
            let mut below = level.into_iter().peekable();
            while below.peek().is_some() {
                let mut children: Vec<Child> = below.by_ref().take(INNER_FILL).collect();
                let separator = children
                    .first_mut()
                    .map(|c| std::mem::take(&mut c.separator))
                    .unwrap_or_default();
                above.push(Child {
                    separator,
                    weight: children.iter().map(|c| c.weight).sum(),
                    node: Node::Inner(children),
                });
            }
            level = above;
        }
        match level.pop() {
            Some(top) => KeyIndex { root: top.node },
            None => KeyIndex::default(),
        }
    }
}
