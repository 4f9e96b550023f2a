//! What the index keeps of one key, in 48 bytes.

use super::weight::Weight;
use crate::revision::{Rev, Version};

/// A version, and how many bytes its record in `data` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub version: Version,
    pub bytes: u32,
}

/// The same in 16 bytes.
#[derive(Clone, Copy, Debug)]
struct Packed {
    main: i64,
    /// The sub revision, and the highest bit for a deletion.
    sub: u32,
    bytes: u32,
}

const TOMBSTONE: u32 = 1 << 31;

impl Packed {
    fn new(recorded: Recorded) -> Packed {
        let Version { rev, tombstone } = recorded.version;
        Packed {
            main: rev.main,
            // A transaction has far fewer changes than half of what 32 bits count.
            sub: (rev.sub & !TOMBSTONE) | if tombstone { TOMBSTONE } else { 0 },
            bytes: recorded.bytes,
        }
    }

    fn is_tombstone(self) -> bool {
        self.sub & TOMBSTONE != 0
    }

    fn version(self) -> Version {
        Version {
            rev: Rev::new(self.main, self.sub & !TOMBSTONE),
            tombstone: self.is_tombstone(),
        }
    }

    fn recorded(self) -> Recorded {
        Recorded {
            version: self.version(),
            bytes: self.bytes,
        }
    }
}

/// What the index knows of one key.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where what tells the key apart is in the leaf's buffer.
    pub(super) key_at: u32,
    pub(super) key_len: u32,
    latest: Packed,
    /// Revision of the creation of the current life; of no meaning for a deleted key.
    pub create: i64,
    /// Changes since the creation; 0 for a deleted key.
    pub version: i64,
    /// Older changes that are not compacted, ascending. Most keys have none.
    #[expect(
        clippy::box_collection,
        reason = "8 bytes instead of 24 in every entry; most are empty"
    )]
    older: Option<Box<Vec<Packed>>>,
}

impl Entry {
    pub(super) fn new(latest: Recorded, create: i64, version: i64) -> Entry {
        Entry {
            key_at: 0,
            key_len: 0,
            latest: Packed::new(latest),
            create,
            version,
            older: None,
        }
    }

    pub(super) fn placed(self, key_at: usize, key_len: usize) -> Entry {
        Entry {
            key_at: key_at as u32,
            key_len: key_len as u32,
            ..self
        }
    }

    /// The latest change.
    pub fn latest(&self) -> Version {
        self.latest.version()
    }

    pub fn is_live(&self) -> bool {
        !self.latest.is_tombstone()
    }

    pub fn weight(&self) -> Weight {
        if self.is_live() {
            Weight::of_record(self.latest.bytes)
        } else {
            Weight::default()
        }
    }

    /// The last change at or below `main`.
    pub fn at(&self, main: i64) -> Option<Version> {
        self.recorded_at(main).map(|recorded| recorded.version)
    }

    /// The same, with the size of its record.
    pub fn recorded_at(&self, main: i64) -> Option<Recorded> {
        if self.latest.main <= main {
            return Some(self.latest.recorded());
        }
        let older = self.older.as_ref()?;
        let n = older.partition_point(|v| v.main <= main);
        n.checked_sub(1)
            .and_then(|i| older.get(i))
            .map(|packed| packed.recorded())
    }

    pub(super) fn push(&mut self, next: Recorded, create: i64, version: i64) {
        self.older.get_or_insert_default().push(self.latest);
        self.latest = Packed::new(next);
        self.create = create;
        self.version = version;
    }

    /// Whether a compaction could find anything to drop here.
    pub fn has_past(&self) -> bool {
        self.older.is_some() || self.latest.is_tombstone()
    }

    /// Drops what no read at or above `bound` can see, telling each to `dead`. True: nothing is left of the key.
    /// A deletion exactly at the bound stays, for a watch that starts there.
    pub fn trim(&mut self, bound: i64, mut dead: impl FnMut(Version)) -> bool {
        let keep_from = |versions: &[Packed], latest: Packed| -> usize {
            if latest.main <= bound {
                return versions.len();
            }
            versions.partition_point(|v| v.main <= bound).saturating_sub(1)
        };
        if let Some(older) = &mut self.older {
            let mut cut = keep_from(older, self.latest);
            if let Some(first) = older.get(cut)
                && first.is_tombstone()
                && first.main < bound
            {
                cut += 1;
            }
            older.drain(..cut).map(Packed::version).for_each(&mut dead);
            if older.is_empty() {
                self.older = None;
            }
        }
        if self.older.is_none() && self.latest.is_tombstone() && self.latest.main < bound {
            dead(self.latest.version());
            return true;
        }
        false
    }
}

const _: () = assert!(size_of::<Entry>() == 48);
