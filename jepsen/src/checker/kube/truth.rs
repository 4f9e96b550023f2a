//! Objects as the store had them.

use crate::checker::replay::{Known, Replay, Version};
use crate::history::{Op, Seen};
use crate::workload::kube::{mark_in, node_in};
use std::collections::BTreeMap;

/// What is compared of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Object<'a> {
    pub rv: i64,
    pub v: u64,
    pub color: &'a str,
    pub node: &'a str,
    /// The stored value, in which the uid stands.
    value: &'a str,
}

impl<'a> Object<'a> {
    /// `None` when it was deleted.
    pub(super) fn of(version: Version<'a>) -> Option<Object<'a>> {
        let value = version.value?;
        let (v, color) = mark_in(value).unwrap_or_default();
        Some(Object {
            rv: version.mod_revision,
            v,
            color,
            node: node_in(value).unwrap_or_default(),
            value,
        })
    }

    /// Whether it is shown as it was, apart from its resourceVersion.
    pub(super) fn is_shown_by(&self, seen: &Seen) -> bool {
        (self.v, self.color, self.node) == (seen.v, seen.color.as_str(), seen.node.as_str())
            && self.value.contains(&seen.uid)
    }

    pub(super) fn meets(&self, color: &str) -> bool {
        color.is_empty() || self.color == color
    }

    pub(super) fn has_uid(&self, uid: &str) -> bool {
        self.value.contains(uid)
    }
}

/// What happened to an object at a revision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    pub rv: i64,
    pub name: &'a str,
    pub before: Option<Object<'a>>,
    pub after: Option<Object<'a>>,
}

/// What a change is to who selects a color.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transition {
    Added,
    Modified,
    Deleted,
}

impl<'a> Change<'a> {
    /// The event that it is, with the object as it is shown; `None` when it does not concern the selector.
    pub(super) fn transition(&self, color: &str) -> Option<(Transition, Object<'a>)> {
        let before = self.before.filter(|o| o.meets(color));
        let after = self.after.filter(|o| o.meets(color));
        match (before, after) {
            (None, Some(after)) => Some((Transition::Added, after)),
            (Some(_), Some(after)) => Some((Transition::Modified, after)),
            (Some(before), None) => Some((Transition::Deleted, before)),
            (None, None) => None,
        }
    }
}

/// The objects of one prefix.
pub(super) struct Truth<'a> {
    pub prefix: String,
    replay: &'a Replay<'a>,
    /// Every change that is known with what was before, in order.
    pub changes: Vec<Change<'a>>,
}

impl<'a> Truth<'a> {
    pub(super) fn new(replay: &'a Replay<'a>, prefix: &str) -> Truth<'a> {
        let mut changes = Vec::new();
        for (rv, events) in replay.events_between(2, replay.last()) {
            for (key, version) in events {
                let Some(name) = key.strip_prefix(prefix) else { continue };
                let Known::Known(before) = replay.at(key, rv - 1) else {
                    continue;
                };
                changes.push(Change {
                    rv,
                    name,
                    before: before.and_then(Object::of),
                    after: Object::of(*version),
                });
            }
        }
        Truth {
            prefix: prefix.to_owned(),
            replay,
            changes,
        }
    }

    pub(super) fn last(&self) -> i64 {
        self.replay.last()
    }

    /// Whether all changes of `from..=through` are known.
    pub(super) fn covers(&self, from: i64, through: i64) -> bool {
        self.replay.covers(from, through)
    }

    /// Changes of `from..=through`.
    pub(super) fn between(&self, from: i64, through: i64) -> &[Change<'a>] {
        let begin = self.changes.partition_point(|c| c.rv < from);
        let end = self.changes.partition_point(|c| c.rv <= through);
        self.changes.get(begin..end).unwrap_or(&[])
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// All that is known of an object.
    pub(super) fn versions(&self, name: &str) -> &[Version<'a>] {
        self.replay.versions(&self.key(name))
    }

    /// An object at a revision.
    pub(super) fn at(&self, name: &str, rv: i64) -> Known<Option<Object<'a>>> {
        match self.replay.at(&self.key(name), rv) {
            Known::Known(version) => Known::Known(version.and_then(Object::of)),
            Known::Unknown => Known::Unknown,
        }
    }

    /// The objects that meet a selector, by name, at a revision.
    pub(super) fn content(&self, rv: i64, color: &str) -> Known<BTreeMap<&'a str, Object<'a>>> {
        let end = self
            .prefix
            .strip_suffix('/')
            .map_or_else(|| format!("{}\u{10ffff}", self.prefix), |p| format!("{p}0"));
        match self.replay.range(&self.prefix, &end, rv) {
            Known::Known(found) => Known::Known(
                found
                    .into_iter()
                    .filter_map(|(key, version)| Some((&key[self.prefix.len()..], Object::of(version)?)))
                    .filter(|(_, object)| object.meets(color))
                    .collect(),
            ),
            Known::Unknown => Known::Unknown,
        }
    }

    /// The revision that deleted the object of that uid.
    pub(super) fn deletion_of(&self, name: &str, uid: &str) -> Option<i64> {
        let versions = self.versions(name);
        let last = versions
            .iter()
            .rposition(|v| Object::of(*v).is_some_and(|o| o.has_uid(uid)))?;
        versions
            .get(last + 1)
            .filter(|v| v.is_deleted())
            .map(|v| v.mod_revision)
    }
}

/// What had been acknowledged by when: the newest revision of a write or a deletion.
#[derive(Debug, Default)]
pub(super) struct Floor {
    /// Time of the return, and the highest revision by then.
    known: Vec<(u64, i64)>,
}

impl Floor {
    pub(super) fn of(ops: &[&Op], truth: &Truth<'_>) -> Floor {
        let mut known: Vec<(u64, i64)> = ops
            .iter()
            .filter_map(|op| {
                let revision = match op.f.as_str() {
                    "create" | "update" | "patch" => op.revision()?,
                    "delete" => truth.deletion_of(
                        op.key.as_deref()?,
                        op.answer()?["uid"].as_str().filter(|u| !u.is_empty())?,
                    )?,
                    _ => return None,
                };
                Some((op.return_ns?, revision))
            })
            .collect();
        known.sort_unstable();
        let mut highest = 0;
        for (_, revision) in &mut known {
            highest = highest.max(*revision);
            *revision = highest;
        }
        Floor { known }
    }

    /// What is called then must not be older than this.
    pub(super) fn before(&self, call_ns: u64) -> i64 {
        let end = self.known.partition_point(|(return_ns, _)| *return_ns < call_ns);
        end.checked_sub(1).map_or(0, |at| self.known[at].1)
    }
}
