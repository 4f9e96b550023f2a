//! A packed leaf: the keys of up to [`LEAF_MAX`] entries lie in one buffer, their versions in one vector.

use crate::revision::{Rev, Version};

/// Entries in a leaf; a full one splits in two halves.
pub const LEAF_MAX: usize = 64;
/// Two neighbours that together hold at most this many entries become one.
pub const LEAF_MERGE: usize = LEAF_MAX / 2;

/// What the index knows of one key.
#[derive(Clone, Debug)]
pub struct Entry {
    key_at: u32,
    key_len: u32,
    /// The latest change.
    pub latest: Version,
    /// Revision of the creation of the current life; of no meaning for a deleted key.
    pub create: i64,
    /// Changes since the creation; 0 for a deleted key.
    pub version: i64,
    /// Older changes that are not compacted, ascending. Most keys have none.
    #[expect(
        clippy::box_collection,
        reason = "8 bytes instead of 24 in every entry; most are empty"
    )]
    older: Option<Box<Vec<Version>>>,
}

impl Entry {
    pub fn is_live(&self) -> bool {
        !self.latest.tombstone
    }

    /// The last change at or below `main`.
    pub fn at(&self, main: i64) -> Option<Version> {
        if self.latest.rev.main <= main {
            return Some(self.latest);
        }
        let older = self.older.as_ref()?;
        let n = older.partition_point(|v| v.rev.main <= main);
        n.checked_sub(1).and_then(|i| older.get(i)).copied()
    }

    fn push(&mut self, next: Version) {
        self.older.get_or_insert_default().push(self.latest);
        self.latest = next;
    }

    /// Whether a compaction could find anything to drop here.
    pub fn has_past(&self) -> bool {
        self.older.is_some() || self.latest.tombstone
    }

    /// Drops what no read at or above `bound` can see, telling each to `dead`. True: nothing is left of the key.
    /// A deletion exactly at the bound stays, for a watch that starts there.
    pub fn trim(&mut self, bound: i64, mut dead: impl FnMut(Version)) -> bool {
        let keep_from = |versions: &[Version], latest: Version| -> usize {
            if latest.rev.main <= bound {
                return versions.len();
            }
            versions.partition_point(|v| v.rev.main <= bound).saturating_sub(1)
        };
        if let Some(older) = &mut self.older {
            let mut cut = keep_from(older, self.latest);
            if let Some(first) = older.get(cut)
                && first.tombstone
                && first.rev.main < bound
            {
                cut += 1;
            }
            older.drain(..cut).for_each(&mut dead);
            if older.is_empty() {
                self.older = None;
            }
        }
        if self.older.is_none() && self.latest.tombstone && self.latest.rev.main < bound {
            dead(self.latest);
            return true;
        }
        false
    }
}

#[derive(Default)]
pub struct Leaf {
    keys: Vec<u8>,
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

impl Leaf {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn live(&self) -> usize {
        self.entries.iter().filter(|e| e.is_live()).count()
    }

    fn key_of<'a>(keys: &'a [u8], entry: &Entry) -> &'a [u8] {
        keys.get(entry.key_at as usize..(entry.key_at + entry.key_len) as usize)
            .unwrap_or_default()
    }

    pub fn key(&self, at: usize) -> &[u8] {
        self.entries.get(at).map_or(&[], |e| Self::key_of(&self.keys, e))
    }

    pub fn find(&self, key: &[u8]) -> Result<usize, usize> {
        self.entries.binary_search_by(|e| Self::key_of(&self.keys, e).cmp(key))
    }

    /// Position of the first key at or above `key`.
    pub fn lower_bound(&self, key: &[u8]) -> usize {
        self.entries.partition_point(|e| Self::key_of(&self.keys, e) < key)
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

    /// Live entries below position `at`.
    pub fn live_before(&self, at: usize) -> usize {
        self.entries.iter().take(at).filter(|e| e.is_live()).count()
    }

    fn insert(&mut self, at: usize, key: &[u8], latest: Version, create: i64, version: i64) {
        let entry = Entry {
            key_at: self.keys.len() as u32,
            key_len: key.len() as u32,
            latest,
            create,
            version,
            older: None,
        };
        self.keys.extend_from_slice(key);
        self.entries.insert(at, entry);
    }

    pub fn put(&mut self, key: &[u8], rev: Rev) -> Changed {
        let next = Version { rev, tombstone: false };
        match self.find(key) {
            Err(at) => {
                self.insert(at, key, next, rev.main, 1);
                Changed {
                    previous: None,
                    create: rev.main,
                    version: 1,
                }
            }
            Ok(at) => {
                let entry = &mut self.entries[at];
                let previous = entry.is_live().then_some(entry.latest);
                if previous.is_some() {
                    entry.version += 1;
                } else {
                    entry.create = rev.main;
                    entry.version = 1;
                }
                entry.push(next);
                Changed {
                    previous,
                    create: entry.create,
                    version: entry.version,
                }
            }
        }
    }

    /// Marks a live key deleted; `None` when there is nothing to delete.
    pub fn tombstone(&mut self, key: &[u8], rev: Rev) -> Option<Version> {
        let at = self.find(key).ok()?;
        let entry = self.entries.get_mut(at).filter(|e| e.is_live())?;
        let previous = entry.latest;
        entry.push(Version { rev, tombstone: true });
        entry.version = 0;
        Some(previous)
    }

    /// Adds a change read back from disk; for one key they come in ascending order.
    pub fn load(&mut self, key: &[u8], change: Version, create: i64, version: i64) {
        match self.find(key) {
            Err(at) => self.insert(at, key, change, create, version),
            Ok(at) => {
                let entry = &mut self.entries[at];
                entry.push(change);
                entry.create = create;
                entry.version = version;
            }
        }
    }

    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let at = self.find(key).ok()?;
        let removed = self.entries.remove(at);
        let used: usize = self.entries.iter().map(|e| e.key_len as usize).sum();
        if used < self.keys.len() / 2 {
            self.repack();
        }
        Some(removed)
    }

    /// Splits the upper half off; `self` keeps the lower one.
    pub fn split(&mut self) -> Leaf {
        let mut upper = Leaf::default();
        for entry in self.entries.split_off(self.entries.len() / 2) {
            upper.adopt(Self::key_of(&self.keys, &entry), entry.clone());
        }
        self.repack();
        upper
    }

    /// Takes over the entries of the next leaf.
    pub fn append(&mut self, other: Leaf) {
        for entry in other.entries {
            self.adopt(Self::key_of(&other.keys, &entry), entry.clone());
        }
    }

    fn adopt(&mut self, key: &[u8], entry: Entry) {
        let key_at = self.keys.len() as u32;
        self.keys.extend_from_slice(key);
        self.entries.push(Entry { key_at, ..entry });
    }

    fn repack(&mut self) {
        let used: usize = self.entries.iter().map(|e| e.key_len as usize).sum();
        let mut keys = Vec::with_capacity(used);
        for entry in &mut self.entries {
            let key_at = keys.len() as u32;
            keys.extend_from_slice(Self::key_of(&self.keys, entry));
            entry.key_at = key_at;
        }
        self.keys = keys;
    }
}
