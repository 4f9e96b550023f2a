//! The ordered index of all keys, in memory: where the versions of each key are in `data`.
//!
//! A B-tree with packed leaves, and below each child the number of live keys and the bytes that a list of them takes,
//! so that both are told of any range at the current revision in O(log n). Deleted keys stay until a compaction drops
//! them.

mod build;
mod entry;
mod leaf;
mod node;
mod weight;

pub use build::{Builder, Built};
pub use entry::{Entry, Recorded};
pub use leaf::{Changed, NewVersion};
pub use weight::{Weight, listed_bytes};

use crate::keyrange::{End, KeyRange};
use crate::revision::{Rev, Version};
use leaf::Leaf;
use node::{Change, Node};
use std::ops::ControlFlow;

pub struct KeyIndex {
    root: Node,
}

impl Default for KeyIndex {
    fn default() -> Self {
        KeyIndex {
            root: Node::Leaf(Leaf::default()),
        }
    }
}

/// How far one slice of trimming went.
pub struct Trimmed {
    /// Where the next slice starts; `None` when the end was reached.
    pub next: Option<Vec<u8>>,
    /// What no read can see any more.
    pub dead: Vec<(Box<[u8]>, Version)>,
}

impl KeyIndex {
    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.root.get(key)
    }

    /// Keys that exist at the current revision.
    pub fn live(&self) -> usize {
        self.root.weight().keys as usize
    }

    pub fn put(&mut self, key: &[u8], new: NewVersion) -> Changed {
        self.change(key, &Change::Put(new))
    }

    /// `None` when there is no such key to delete.
    pub fn tombstone(&mut self, key: &[u8], rev: Rev) -> Option<Version> {
        self.root.tombstone(key, rev).map(|(previous, _)| previous)
    }

    /// Adds a change read back from disk; for one key they must come in ascending order.
    pub fn load(&mut self, key: &[u8], change: Recorded, create: i64, version: i64) {
        self.change(
            key,
            &Change::Load {
                change,
                create,
                version,
            },
        );
    }

    fn change(&mut self, key: &[u8], change: &Change) -> Changed {
        let (changed, _, split) = self.root.change(key, change);
        if let Some(split) = split {
            self.root.grow(split);
        }
        changed
    }

    fn remove(&mut self, key: &[u8]) {
        self.root.remove(key);
        self.root.collapse();
    }

    /// Of the keys of the range at the current revision, in O(log n).
    pub fn weight(&self, range: &KeyRange) -> Weight {
        match &range.end {
            _ if range.is_empty() => Weight::default(),
            End::Single => self.get(&range.start).map_or_else(Weight::default, Entry::weight),
            End::Before(end) => self.root.weight_before(end) - self.root.weight_before(&range.start),
            End::Unbounded => self.root.weight() - self.root.weight_before(&range.start),
        }
    }

    /// Number of keys of the range at the current revision, in O(log n).
    pub fn count_live(&self, range: &KeyRange) -> usize {
        self.weight(range).keys as usize
    }

    /// Visits the entries of the range from `from` on (deleted ones too), ascending, until `visit` breaks.
    pub fn walk(&self, range: &KeyRange, from: &[u8], mut visit: impl FnMut(&[u8], &Entry) -> ControlFlow<()>) {
        let start = from.max(range.start.as_ref());
        if range.end == End::Single {
            if start == range.start.as_ref()
                && let Some(entry) = self.get(start)
            {
                let _ = visit(start, entry);
            }
            return;
        }
        let _ = self.root.walk(start, &mut |key, entry| match &range.end {
            End::Before(end) if key >= end.as_ref() => ControlFlow::Break(()),
            _ => visit(key, entry),
        });
    }

    /// Forgets, for up to `max_keys` keys from `from` on, the versions that no read at or above `bound` can see.
    pub fn trim(&mut self, from: &[u8], max_keys: usize, bound: i64) -> Trimmed {
        let mut dead = Vec::new();
        let mut gone: Vec<Box<[u8]>> = Vec::new();
        let mut seen = 0;
        let stop = self.root.walk_mut(from, &mut |key, entry| {
            if seen == max_keys {
                return ControlFlow::Break(key.to_vec());
            }
            seen += 1;
            if entry.has_past() && entry.trim(bound, |version| dead.push((key.into(), version))) {
                gone.push(key.into());
            }
            ControlFlow::Continue(())
        });
        for key in gone {
            self.remove(&key);
        }
        Trimmed {
            next: stop.break_value(),
            dead,
        }
    }
}

#[cfg(test)]
mod tests;
