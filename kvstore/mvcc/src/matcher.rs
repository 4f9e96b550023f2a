//! Which watchers want an event: single keys by hash, ranges by an interval tree.

use crate::keyrange::{End, KeyRange};
use ahash::{AHashMap, RandomState};
use bytes::Bytes;
use smallvec::SmallVec;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Most keys that are watched by themselves have one watcher.
type Watchers<W> = SmallVec<[W; 1]>;

/// A range of a single key, found by that key. It is the one that the first watcher brought.
struct Single(Arc<KeyRange>);

impl Borrow<[u8]> for Single {
    fn borrow(&self) -> &[u8] {
        &self.0.start
    }
}

impl Hash for Single {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrow::<[u8]>::borrow(self).hash(state);
    }
}

impl PartialEq for Single {
    fn eq(&self, other: &Single) -> bool {
        self.0.start == other.0.start
    }
}

impl Eq for Single {}

/// Finds the watchers of a key among very many. `W` names a watcher.
pub struct Matcher<W> {
    single: AHashMap<Single, Watchers<W>>,
    ranges: Option<Box<Node<W>>>,
    hash: RandomState,
}

/// A treap ordered by (start, end); each node knows the furthest end below it. Equal ranges share a node.
struct Node<W> {
    start: Bytes,
    end: Upper,
    furthest: Upper,
    priority: u64,
    watchers: Vec<W>,
    left: Option<Box<Node<W>>>,
    right: Option<Box<Node<W>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Upper {
    Before(Bytes),
    Unbounded,
}

impl Upper {
    fn is_above(&self, key: &[u8]) -> bool {
        match self {
            Upper::Before(end) => key < end.as_ref(),
            Upper::Unbounded => true,
        }
    }
}

impl<W> Default for Matcher<W> {
    fn default() -> Self {
        Matcher {
            single: AHashMap::new(),
            ranges: None,
            hash: RandomState::new(),
        }
    }
}

type Tree<W> = Option<Box<Node<W>>>;

impl<W> Node<W> {
    fn refresh(&mut self) {
        let below = [&self.left, &self.right].into_iter().flatten().map(|n| &n.furthest);
        let furthest = below.chain([&self.end]).max().cloned();
        if let Some(furthest) = furthest {
            self.furthest = furthest;
        }
    }

    fn order(&self, start: &[u8], end: &Upper) -> Ordering {
        start.cmp(self.start.as_ref()).then_with(|| end.cmp(&self.end))
    }
}

/// Splits into what is below (start, end) and what is above.
fn split<W>(tree: Tree<W>, start: &[u8], end: &Upper) -> (Tree<W>, Tree<W>) {
    let Some(mut node) = tree else { return (None, None) };
    if node.order(start, end) == Ordering::Greater {
        let (low, high) = split(node.right.take(), start, end);
        node.right = low;
        node.refresh();
        (Some(node), high)
    } else {
        let (low, high) = split(node.left.take(), start, end);
        node.left = high;
        node.refresh();
        (low, Some(node))
    }
}

fn merge<W>(low: Tree<W>, high: Tree<W>) -> Tree<W> {
    match (low, high) {
        (None, tree) | (tree, None) => tree,
        (Some(mut a), Some(mut b)) => {
            if a.priority >= b.priority {
                a.right = merge(a.right.take(), Some(b));
                a.refresh();
                Some(a)
            } else {
                b.left = merge(Some(a), b.left.take());
                b.refresh();
                Some(b)
            }
        }
    }
}

fn find<'a, W>(tree: &'a mut Tree<W>, start: &[u8], end: &Upper) -> Option<&'a mut Vec<W>> {
    let node = tree.as_mut()?;
    match node.order(start, end) {
        Ordering::Equal => Some(&mut node.watchers),
        Ordering::Less => find(&mut node.left, start, end),
        Ordering::Greater => find(&mut node.right, start, end),
    }
}

fn insert<W>(tree: Tree<W>, mut new: Box<Node<W>>) -> Tree<W> {
    match tree {
        Some(mut node) if node.priority >= new.priority => {
            if node.order(&new.start, &new.end) == Ordering::Less {
                node.left = insert(node.left.take(), new);
            } else {
                node.right = insert(node.right.take(), new);
            }
            node.refresh();
            Some(node)
        }
        tree => {
            (new.left, new.right) = split(tree, &new.start, &new.end);
            new.refresh();
            Some(new)
        }
    }
}

fn remove<W>(tree: Tree<W>, start: &[u8], end: &Upper) -> Tree<W> {
    let mut node = tree?;
    match node.order(start, end) {
        Ordering::Equal => return merge(node.left.take(), node.right.take()),
        Ordering::Less => node.left = remove(node.left.take(), start, end),
        Ordering::Greater => node.right = remove(node.right.take(), start, end),
    }
    node.refresh();
    Some(node)
}

fn stab<W>(tree: &Tree<W>, key: &[u8], visit: &mut impl FnMut(&W)) {
    let Some(node) = tree else { return };
    if !node.furthest.is_above(key) {
        return;
    }
    stab(&node.left, key, visit);
    if node.start.as_ref() <= key {
        if node.end.is_above(key) {
            node.watchers.iter().for_each(&mut *visit);
        }
        stab(&node.right, key, visit);
    }
}

fn upper(end: &End) -> Option<Upper> {
    match end {
        End::Single => None,
        End::Before(end) => Some(Upper::Before(end.clone())),
        End::Unbounded => Some(Upper::Unbounded),
    }
}

impl<W: PartialEq> Matcher<W> {
    pub fn add(&mut self, range: &Arc<KeyRange>, watcher: W) {
        let Some(end) = upper(&range.end) else {
            self.single.entry(Single(range.clone())).or_default().push(watcher);
            return;
        };
        if let Some(watchers) = find(&mut self.ranges, &range.start, &end) {
            watchers.push(watcher);
            return;
        }
        let node = Node {
            priority: self.hash.hash_one((&range.start, &end)),
            start: range.start.clone(),
            furthest: end.clone(),
            end,
            watchers: vec![watcher],
            left: None,
            right: None,
        };
        self.ranges = insert(self.ranges.take(), Box::new(node));
    }

    /// True: it was there.
    pub fn remove(&mut self, range: &KeyRange, watcher: &W) -> bool {
        let Some(end) = upper(&range.end) else {
            let Some(watchers) = self.single.get_mut(range.start.as_ref()) else {
                return false;
            };
            let before = watchers.len();
            watchers.retain(|w| w != watcher);
            let found = watchers.len() < before;
            if watchers.is_empty() {
                self.single.remove(range.start.as_ref());
            }
            return found;
        };
        let Some(watchers) = find(&mut self.ranges, &range.start, &end) else {
            return false;
        };
        let before = watchers.len();
        watchers.retain(|w| w != watcher);
        let (found, empty) = (watchers.len() < before, watchers.is_empty());
        if empty {
            self.ranges = remove(self.ranges.take(), &range.start, &end);
        }
        found
    }

    /// Visits every watcher whose range has the key.
    pub fn matching(&self, key: &[u8], mut visit: impl FnMut(&W)) {
        if let Some(watchers) = self.single.get(key) {
            watchers.iter().for_each(&mut visit);
        }
        stab(&self.ranges, key, &mut visit);
    }

    pub fn is_empty(&self) -> bool {
        self.single.is_empty() && self.ranges.is_none()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn range(start: u8, end: u8) -> KeyRange {
        let end = match end {
            0 => End::Single,
            1..=9 => End::Unbounded,
            _ => End::Before(Bytes::from(vec![end])),
        };
        KeyRange {
            start: Bytes::from(vec![start]),
            end,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_looking_at_each(
            added in proptest::collection::vec((any::<u8>(), any::<u8>()), 1..60),
            removed in proptest::collection::vec(any::<prop::sample::Index>(), 0..30),
            keys in proptest::collection::vec(any::<u8>(), 1..20),
        ) {
            let mut matcher = Matcher::default();
            let mut all: Vec<(KeyRange, usize)> =
                added.into_iter().enumerate().map(|(id, (start, end))| (range(start, end), id)).collect();
            for (range, id) in &all {
                matcher.add(&Arc::new(range.clone()), *id);
            }
            for at in removed {
                if !all.is_empty() {
                    let (range, id) = all.remove(at.index(all.len()));
                    prop_assert!(matcher.remove(&range, &id));
                    prop_assert!(!matcher.remove(&range, &id));
                }
            }
            for key in keys {
                let mut found = Vec::new();
                matcher.matching(&[key], |id| found.push(*id));
                found.sort_unstable();
                let expected: Vec<_> = all.iter().filter(|(r, _)| r.contains(&[key])).map(|(_, id)| *id).collect();
                prop_assert_eq!(found, expected);
            }
            for (range, id) in &all {
                prop_assert!(matcher.remove(range, id));
            }
            prop_assert!(matcher.is_empty());
        }
    }
}
