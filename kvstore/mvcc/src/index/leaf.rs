//! A packed leaf: up to [`LEAF_MAX`] entries in one vector, and in one buffer what tells their keys apart. What the keys
//! begin with together is there once.

use super::entry::{Entry, Recorded};
use super::weight::Weight;
use crate::revision::{Rev, Version};
use std::cmp::Ordering;

/// Entries in a leaf; a full one splits.
pub const LEAF_MAX: usize = 64;
/// Two neighbours that together hold at most this many entries become one.
pub const LEAF_MERGE: usize = LEAF_MAX / 2;
/// Entries, and bytes of keys, that a leaf gets room for at a time.
const GROW_ENTRIES: usize = 8;
const GROW_KEY_BYTES: usize = 128;

#[derive(Default)]
pub struct Leaf {
    /// First what all keys begin with, then the rest of each, in no order.
    keys: Vec<u8>,
    shared: u32,
    entries: Vec<Entry>,
}

/// What a change of a key found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The state before: `None` when the key was absent or deleted.
    pub previous: Option<Version>,
    pub create: i64,
    pub version: i64,
}

/// A new version of a key: what is needed to know how long its record is.
#[derive(Clone, Copy, Debug)]
pub struct NewVersion {
    pub rev: Rev,
    pub value_bytes: usize,
    pub lease: i64,
}

impl NewVersion {
    fn recorded(&self, key: &[u8], create: i64, version: i64) -> Recorded {
        let bytes = crate::record::bytes_of(&crate::record::Shape {
            key: key.len(),
            create,
            main: self.rev.main,
            version,
            value: self.value_bytes,
            lease: self.lease,
        });
        Recorded {
            version: Version {
                rev: self.rev,
                tombstone: false,
            },
            bytes,
        }
    }
}

fn shared_bytes(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Leaf {
    /// Of ascending entries whose whole keys lie in a buffer.
    pub fn build(keys: &[u8], entries: Vec<Entry>) -> Leaf {
        Self::of(&[], keys, entries, 0)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn weight(&self) -> Weight {
        self.entries.iter().map(Entry::weight).sum()
    }

    /// What all keys begin with.
    fn shared(&self) -> &[u8] {
        self.keys.get(..self.shared as usize).unwrap_or_default()
    }

    /// What comes after that in one of them.
    fn own<'a>(keys: &'a [u8], entry: &Entry) -> &'a [u8] {
        keys.get(entry.key_at as usize..(entry.key_at + entry.key_len) as usize)
            .unwrap_or_default()
    }

    /// Writes a key over what is in `out`.
    pub fn key_into(&self, at: usize, out: &mut Vec<u8>) {
        out.clear();
        if let Some(entry) = self.entries.get(at) {
            out.extend_from_slice(self.shared());
            out.extend_from_slice(Self::own(&self.keys, entry));
        }
    }

    pub fn key(&self, at: usize) -> Vec<u8> {
        let mut key = Vec::new();
        self.key_into(at, &mut key);
        key
    }

    /// Where a key lies against what all keys here begin with; when it begins so too, what is left of it.
    fn against_shared<'k>(&self, key: &'k [u8]) -> Result<&'k [u8], Ordering> {
        let shared = self.shared();
        match key.split_at_checked(shared.len()) {
            Some((begin, rest)) if begin == shared => Ok(rest),
            _ => Err(key.cmp(shared)),
        }
    }

    pub fn find(&self, key: &[u8]) -> Result<usize, usize> {
        match self.against_shared(key) {
            Ok(rest) => self.entries.binary_search_by(|e| Self::own(&self.keys, e).cmp(rest)),
            Err(Ordering::Greater) => Err(self.entries.len()),
            Err(_) => Err(0),
        }
    }

    /// Position of the first key at or above `key`.
    pub fn lower_bound(&self, key: &[u8]) -> usize {
        match self.find(key) {
            Ok(at) | Err(at) => at,
        }
    }

    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.find(key).ok().and_then(|i| self.entries.get(i))
    }

    pub fn entry(&self, at: usize) -> Option<&Entry> {
        self.entries.get(at)
    }

    pub fn entry_mut(&mut self, at: usize) -> Option<&mut Entry> {
        self.entries.get_mut(at)
    }

    /// Of the entries below position `at`.
    pub fn weight_before(&self, at: usize) -> Weight {
        self.entries.iter().take(at).map(Entry::weight).sum()
    }

    fn insert(&mut self, at: usize, key: &[u8], entry: Entry) {
        if self.against_shared(key).is_err() {
            let shared = shared_bytes(key, self.shared());
            self.repack(shared);
        }
        let own = key.get(self.shared as usize..).unwrap_or_default();
        if self.keys.capacity() - self.keys.len() < own.len() {
            self.keys.reserve_exact(own.len().max(GROW_KEY_BYTES));
        }
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(GROW_ENTRIES);
        }
        let entry = entry.placed(self.keys.len(), own.len());
        self.keys.extend_from_slice(own);
        self.entries.insert(at, entry);
    }

    /// Also tells by how much the weight changes.
    pub fn put(&mut self, key: &[u8], new: &NewVersion) -> (Changed, Weight) {
        let found = self.find(key);
        let entry = found.ok().and_then(|at| self.entries.get_mut(at));
        let before = entry.as_ref().map_or_else(Weight::default, |e| e.weight());
        let previous = entry.as_ref().filter(|e| e.is_live()).map(|e| e.latest());
        let (create, version) = match &entry {
            Some(entry) if entry.is_live() => (entry.create, entry.version + 1),
            _ => (new.rev.main, 1),
        };
        let recorded = new.recorded(key, create, version);
        match (entry, found) {
            (Some(entry), _) => entry.push(recorded, create, version),
            (None, Ok(at) | Err(at)) => self.insert(at, key, Entry::new(recorded, create, version)),
        }
        let changed = Changed {
            previous,
            create,
            version,
        };
        (changed, Weight::of_record(recorded.bytes) - before)
    }

    /// Marks a live key deleted; `None` when there is nothing to delete. Also tells by how much the weight changes.
    pub fn tombstone(&mut self, key: &[u8], rev: Rev) -> Option<(Version, Weight)> {
        let at = self.find(key).ok()?;
        let entry = self.entries.get_mut(at).filter(|e| e.is_live())?;
        let (previous, before) = (entry.latest(), entry.weight());
        let recorded = Recorded {
            version: Version { rev, tombstone: true },
            // Nobody is ever sent it.
            bytes: 0,
        };
        entry.push(recorded, entry.create, 0);
        Some((previous, Weight::default() - before))
    }

    /// Adds a change read back from disk; for one key they come in ascending order.
    pub fn load(&mut self, key: &[u8], change: Recorded, create: i64, version: i64) -> Weight {
        let new = Entry::new(change, create, version);
        let weight = new.weight();
        match self.find(key) {
            Err(at) => {
                self.insert(at, key, new);
                weight
            }
            Ok(at) => {
                let Some(entry) = self.entries.get_mut(at) else {
                    return Weight::default();
                };
                let before = entry.weight();
                entry.push(change, create, version);
                weight - before
            }
        }
    }

    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let at = self.find(key).ok()?;
        let removed = self.entries.remove(at);
        let used: usize = self.entries.iter().map(|e| e.key_len as usize).sum();
        if used < (self.keys.len() - self.shared as usize) / 2 {
            self.repack(self.shared as usize);
        }
        Some(removed)
    }

    /// Splits the entries from a position on off; `self` keeps those before.
    pub fn split(&mut self, at: usize) -> Leaf {
        let moved = self.entries.split_off(at);
        let upper = Self::of(self.shared(), &self.keys, moved, GROW_ENTRIES);
        let lower = std::mem::take(&mut self.entries);
        *self = Self::of(self.shared(), &self.keys, lower, GROW_ENTRIES);
        upper
    }

    /// A leaf of its own for ascending entries whose keys lie in another's buffer, with room for some more.
    fn of(shared: &[u8], keys: &[u8], entries: Vec<Entry>, room: usize) -> Leaf {
        // The first and the last key say what all have in common.
        let ends = (entries.first(), entries.last());
        let more = match ends {
            (Some(a), Some(b)) => shared_bytes(Self::own(keys, a), Self::own(keys, b)),
            _ => 0,
        };
        let common = entries.first().map_or(&[][..], |e| Self::own(keys, e)).get(..more);
        let rest: usize = entries.iter().map(|e| e.key_len as usize - more).sum();
        let mut leaf = Leaf {
            keys: Vec::with_capacity(shared.len() + more + rest),
            shared: (shared.len() + more) as u32,
            // Vec::split_off and what is left of it both keep more room than they need.
            entries: Vec::with_capacity(entries.len() + room),
        };
        leaf.keys.extend_from_slice(shared);
        leaf.keys.extend_from_slice(common.unwrap_or_default());
        for entry in entries {
            let own = Self::own(keys, &entry).get(more..).unwrap_or_default();
            let key_at = leaf.keys.len();
            leaf.keys.extend_from_slice(own);
            leaf.entries.push(entry.placed(key_at, own.len()));
        }
        leaf
    }

    /// Takes over the entries of the next leaf.
    pub fn append(&mut self, other: Leaf) {
        let mut key = Vec::new();
        for (at, entry) in other.entries.iter().enumerate() {
            other.key_into(at, &mut key);
            self.insert(self.entries.len(), &key, entry.clone());
        }
    }

    /// Writes the buffer anew, with so many bytes in common, at most as many as now.
    fn repack(&mut self, shared: usize) {
        let old = std::mem::take(&mut self.keys);
        let all = old.get(..self.shared as usize).unwrap_or_default();
        let shared = shared.min(all.len());
        let (common, each) = all.split_at(shared);
        let used: usize = self.entries.iter().map(|e| e.key_len as usize + each.len()).sum();
        let mut keys = Vec::with_capacity(shared + used);
        keys.extend_from_slice(common);
        for entry in &mut self.entries {
            let own = Self::own(&old, entry);
            let key_at = keys.len() as u32;
            keys.extend_from_slice(each);
            keys.extend_from_slice(own);
            entry.key_at = key_at;
            entry.key_len += each.len() as u32;
        }
        self.keys = keys;
        self.shared = shared as u32;
    }
}
