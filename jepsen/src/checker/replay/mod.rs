//! The true sequence of states, put together from what the spectators were sent.
//!
//! A spectator watches every key of one member from revision 1 on. All of them together give each revision's events,
//! and with them what every key held at every revision. What a spectator was not sent because it was compacted before
//! is a gap, unless another was sent it; what falls in a gap is [`Known::Unknown`], never a reproach.
//!
//! The sequence is also a witness against the store: see [`Replay::doubts`], which [`check`] turns into findings.

mod build;
pub mod check;
#[cfg(test)]
mod tests;

use crate::history::WatchEvent;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

/// Clients with this prefix are spectators.
pub const SPECTATOR: &str = "spectator-";

/// What can be said of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<T> {
    Known(T),
    /// Compacted before any spectator saw it, or later than what they saw.
    Unknown,
}

impl<T> Known<T> {
    /// What is known, if it is.
    pub fn known(self) -> Option<T> {
        match self {
            Known::Known(value) => Some(value),
            Known::Unknown => None,
        }
    }
}

/// What a key became at a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version<'a> {
    pub mod_revision: i64,
    /// `None` when it was deleted.
    pub value: Option<&'a str>,
    /// 0 when it was deleted, as `version` and `lease`.
    pub create_revision: i64,
    pub version: i64,
    pub lease: i64,
}

impl<'a> Version<'a> {
    /// What an event tells.
    pub fn of(event: &'a WatchEvent) -> Version<'a> {
        if event.delete {
            return Version {
                mod_revision: event.mod_revision,
                value: None,
                create_revision: 0,
                version: 0,
                lease: 0,
            };
        }
        Version {
            mod_revision: event.mod_revision,
            value: Some(&event.value),
            create_revision: event.create_revision,
            version: event.version,
            lease: event.lease,
        }
    }

    pub fn is_deleted(&self) -> bool {
        self.value.is_none()
    }
}

/// A contradiction in what the spectators were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The anomaly by name: `member-disagreement`, `lost-event`, `broken-chain`.
    pub anomaly: &'static str,
    pub revision: i64,
    pub message: String,
}

/// The sequence of states.
#[derive(Debug, Default)]
pub struct Replay<'a> {
    keys: BTreeMap<&'a str, Vec<Version<'a>>>,
    /// What was written at each revision, in key order.
    events: BTreeMap<i64, Vec<(&'a str, Version<'a>)>>,
    /// Ranges of revisions, both ends included, of which nothing is known; in order, not touching.
    gaps: Vec<(i64, i64)>,
    last: i64,
    written: HashMap<(&'a str, &'a str), i64>,
    doubts: Vec<Doubt>,
}

impl<'a> Replay<'a> {
    /// The last revision that is known of.
    pub fn last(&self) -> i64 {
        self.last
    }

    /// Revisions of which nothing is known, both ends included.
    pub fn gaps(&self) -> &[(i64, i64)] {
        &self.gaps
    }

    /// Contradictions between what the spectators were sent.
    pub fn doubts(&self) -> &[Doubt] {
        &self.doubts
    }

    /// Every key that was ever written, in order.
    pub fn keys(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.keys.keys().copied()
    }

    /// All that is known of a key, by `mod_revision`.
    pub fn versions(&self, key: &str) -> &[Version<'a>] {
        self.keys.get(key).map_or(&[], Vec::as_slice)
    }

    /// The revision that wrote this value to this key: the last one, if there are several.
    pub fn written(&self, key: &str, value: &str) -> Option<i64> {
        self.written.get(&(key, value)).copied()
    }

    /// Whether all events of `from..=through` are known.
    pub fn covers(&self, from: i64, through: i64) -> bool {
        through <= self.last && !self.gaps.iter().any(|&(a, b)| a <= through && from <= b)
    }

    /// What was written at a revision, in key order; empty for revision 1 and before.
    pub fn events(&self, revision: i64) -> Known<&[(&'a str, Version<'a>)]> {
        match self.events.get(&revision) {
            Some(events) => Known::Known(events),
            None if revision <= 1 => Known::Known(&[]),
            None => Known::Unknown,
        }
    }

    /// Everything that is known to be written at `from..=through`, by revision and key.
    pub fn events_between(&self, from: i64, through: i64) -> impl Iterator<Item = (i64, &[(&'a str, Version<'a>)])> {
        // An inverted range has nothing, where `BTreeMap::range` would panic.
        let end = through.saturating_add(1).max(from);
        self.events.range(from..end).map(|(r, events)| (*r, events.as_slice()))
    }

    /// What a key held at a revision; `None` when it did not exist.
    pub fn at(&self, key: &str, revision: i64) -> Known<Option<Version<'a>>> {
        if revision > self.last {
            return Known::Unknown;
        }
        let versions = self.versions(key);
        let next = versions.partition_point(|v| v.mod_revision <= revision);
        let held = next.checked_sub(1).map(|i| versions[i]);
        let since = held.map_or(0, |v| v.mod_revision);
        let blind = self.gaps.iter().any(|&(a, b)| a <= revision && since < b);
        if blind && !versions.get(next).is_some_and(|n| follows(held.as_ref(), n)) {
            return Known::Unknown;
        }
        Known::Known(held.filter(|v| !v.is_deleted()))
    }

    /// Every key of `key..range_end` that existed at a revision, in key order. `range_end` as in the store: empty for
    /// one key, `\0` for all from `key` on.
    pub fn range(&self, key: &str, range_end: &str, revision: i64) -> Known<Vec<(&'a str, Version<'a>)>> {
        if revision > self.last {
            return Known::Unknown;
        }
        let mut all = Vec::new();
        for name in self.keys_in(key, range_end) {
            match self.at(name, revision) {
                Known::Known(Some(version)) => all.push((name, version)),
                Known::Known(None) => {}
                Known::Unknown => return Known::Unknown,
            }
        }
        // A key that was written and deleted within a gap leaves no trace at all.
        if self.gaps.iter().any(|&(a, b)| a <= revision && revision <= b) {
            return Known::Unknown;
        }
        Known::Known(all)
    }

    /// The keys that were ever written in a range, in order.
    pub fn keys_in<'s>(&'s self, key: &'s str, range_end: &'s str) -> impl Iterator<Item = &'a str> + use<'a, 's> {
        self.keys
            .range::<str, _>((Bound::Included(key), Bound::Unbounded))
            .map(|(name, _)| *name)
            .take_while(move |name| in_range(name, key, range_end))
    }
}

/// Whether a key lies in a range as the store has it: empty `range_end` for one key, `\0` for all from `key` on.
pub fn in_range(name: &str, key: &str, range_end: &str) -> bool {
    match range_end {
        "" => name == key,
        "\0" => name >= key,
        end => name >= key && name < end,
    }
}

/// Whether nothing can have come between two versions of a key: the numbers go on.
fn follows(held: Option<&Version<'_>>, next: &Version<'_>) -> bool {
    if next.is_deleted() {
        return false;
    }
    match held.filter(|v| !v.is_deleted()) {
        Some(held) => next.create_revision == held.create_revision && next.version == held.version + 1,
        None => false,
    }
}
