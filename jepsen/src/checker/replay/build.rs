//! How the sequence is put together.

use super::{Doubt, Replay, SPECTATOR, Version};
use crate::checker::Evidence;
use crate::history::{WatchEvent, WatchKind, WatchRecord};
use std::collections::{BTreeMap, BTreeSet};

/// Doubts that are kept: a store that is wrong everywhere need not be told of everywhere.
const DOUBTS_MAX: usize = 100;

/// What one spectator was sent.
struct Seen<'a> {
    client: &'a str,
    /// By revision, then key.
    events: BTreeMap<i64, BTreeMap<&'a str, &'a WatchEvent>>,
    /// Ranges that were sent whole, both ends included.
    covered: Vec<(i64, i64)>,
}

impl<'a> Replay<'a> {
    /// From what a run recorded.
    pub fn build(evidence: &'a Evidence) -> Replay<'a> {
        Replay::from_watches(&evidence.watches)
    }

    /// From the watches alone; those that are not spectators are ignored.
    pub fn from_watches(watches: &'a BTreeMap<String, Vec<WatchRecord>>) -> Replay<'a> {
        let mut replay = Replay::default();
        let seen: Vec<Seen<'a>> = watches
            .iter()
            .filter(|(client, _)| client.starts_with(SPECTATOR))
            .map(|(client, records)| see(client, records))
            .collect();
        replay.last = seen.iter().flat_map(|s| &s.covered).map(|c| c.1).max().unwrap_or(1);
        let revisions: BTreeSet<i64> = seen.iter().flat_map(|s| s.events.keys().copied()).collect();
        for revision in revisions {
            let merged = replay.merge(revision, &seen);
            replay
                .events
                .insert(revision, merged.iter().map(|(k, e)| (*k, Version::of(e))).collect());
            for (key, event) in merged {
                replay.add(key, event);
            }
        }
        replay.last = replay.last.max(replay.events.keys().next_back().copied().unwrap_or(1));
        let covered = union(seen.iter().flat_map(|s| s.covered.iter().copied()).collect());
        replay.find_gaps(&covered);
        replay.find_prev(&seen);
        replay.find_breaks();
        replay
    }

    /// The events of a revision from all who were sent any; where they contradict each other, the first counts.
    fn merge(&mut self, revision: i64, seen: &[Seen<'a>]) -> BTreeMap<&'a str, &'a WatchEvent> {
        let mut merged: BTreeMap<&'a str, &'a WatchEvent> = BTreeMap::new();
        let mut first: Option<&Seen<'a>> = None;
        for one in seen {
            let Some(events) = one.events.get(&revision) else {
                continue;
            };
            let Some(before) = first else {
                first = Some(one);
                merged.extend(events.iter().map(|(k, e)| (*k, *e)));
                continue;
            };
            let differs = events
                .iter()
                .find(|(key, event)| merged.get(*key).is_some_and(|m| Version::of(m) != Version::of(event)));
            // One may have got a part of the other's, which is for the checker of watches; not each something else.
            let apart =
                events.keys().any(|k| !merged.contains_key(k)) && merged.keys().any(|k| !events.contains_key(k));
            if let Some((key, event)) = differs {
                let message = format!(
                    "revision {revision}, key {key:?}: {} was sent {}, {} {}",
                    before.client,
                    text(merged[key]),
                    one.client,
                    text(event)
                );
                self.doubt("member-disagreement", revision, message);
            } else if apart {
                let message = format!(
                    "revision {revision}: {} was sent keys {:?}, {} {:?}",
                    before.client,
                    merged.keys().collect::<Vec<_>>(),
                    one.client,
                    events.keys().collect::<Vec<_>>()
                );
                self.doubt("member-disagreement", revision, message);
            }
            for (key, event) in events {
                merged.entry(key).or_insert(event);
            }
        }
        merged
    }

    fn add(&mut self, key: &'a str, event: &'a WatchEvent) {
        let version = Version::of(event);
        if let Some(value) = version.value {
            self.written.insert((key, value), version.mod_revision);
        }
        self.keys.entry(key).or_default().push(version);
    }

    /// Every revision from 2 on changes something. What no spectator covers is a gap; what is covered and empty was
    /// lost on its way to all of them.
    fn find_gaps(&mut self, covered: &[(i64, i64)]) {
        let mut gaps = Vec::new();
        let mut lost = Vec::new();
        let mut expected = 2;
        for revision in self.events.keys().copied().chain([self.last + 1]) {
            if revision > expected {
                split(expected, revision - 1, covered, &mut gaps, &mut lost);
            }
            expected = expected.max(revision + 1);
        }
        for &(from, through) in &lost {
            let message = format!(
                "no spectator was sent any event of revisions {from} to {through}, which they were told to have"
            );
            self.doubt("lost-event", from, message);
        }
        // What was lost is not known either.
        gaps.extend(lost);
        self.gaps = union(gaps);
    }

    /// What an event tells of its predecessor fills gaps.
    fn find_prev(&mut self, seen: &[Seen<'a>]) {
        if self.gaps.is_empty() {
            return;
        }
        for event in seen.iter().flat_map(|s| s.events.values()).flat_map(BTreeMap::values) {
            let Some(prev) = &event.prev else { continue };
            let in_gap = self
                .gaps
                .iter()
                .any(|&(a, b)| a <= prev.mod_revision && prev.mod_revision <= b);
            let Some(versions) = self.keys.get_mut(event.key.as_str()) else {
                continue;
            };
            let at = versions.partition_point(|v| v.mod_revision < prev.mod_revision);
            if in_gap && versions.get(at).is_none_or(|v| v.mod_revision != prev.mod_revision) {
                let version = Version {
                    mod_revision: prev.mod_revision,
                    value: Some(&prev.value),
                    create_revision: prev.create_revision,
                    version: prev.version,
                    lease: prev.lease,
                };
                versions.insert(at, version);
                self.written
                    .entry((&event.key, &prev.value))
                    .or_insert(prev.mod_revision);
            }
        }
    }

    /// The numbers of a key go on from version to version; where they do not, an event is missing or wrong.
    fn find_breaks(&mut self) {
        let mut found = Vec::new();
        for (key, versions) in &self.keys {
            let mut before: Option<&Version<'_>> = None;
            for version in versions {
                let since = before.map_or(0, |b| b.mod_revision);
                let blind = self.gaps.iter().any(|&(a, b)| a < version.mod_revision && since < b);
                let live = before.filter(|b| !b.is_deleted());
                let good = match (version.is_deleted(), live) {
                    (true, live) => live.is_some(),
                    (false, Some(b)) => {
                        version.create_revision == b.create_revision && version.version == b.version + 1
                    }
                    (false, None) => version.version == 1 && version.create_revision == version.mod_revision,
                };
                if !good && !blind && found.len() < DOUBTS_MAX {
                    found.push((
                        version.mod_revision,
                        format!("key {key:?}: {version:?} cannot follow {before:?}"),
                    ));
                }
                before = Some(version);
            }
        }
        for (revision, message) in found {
            self.doubt("broken-chain", revision, message);
        }
    }

    fn doubt(&mut self, anomaly: &'static str, revision: i64, message: String) {
        if self.doubts.len() < DOUBTS_MAX {
            self.doubts.push(Doubt {
                anomaly,
                revision,
                message,
            });
        }
    }
}

fn text(event: &WatchEvent) -> String {
    if event.delete {
        "a deletion".to_owned()
    } else {
        format!("{:?}", Version::of(event))
    }
}

/// What a client was sent over all its streams.
fn see<'a>(client: &'a str, records: &'a [WatchRecord]) -> Seen<'a> {
    let mut seen = Seen {
        client,
        events: BTreeMap::new(),
        covered: Vec::new(),
    };
    // By stream: where it starts, through where it was sent everything.
    let mut streams: BTreeMap<u64, (i64, i64)> = BTreeMap::new();
    for record in records {
        match &record.what {
            WatchKind::Start(start) if start.start_revision > 0 => {
                streams.insert(record.stream, (start.start_revision, start.start_revision - 1));
            }
            WatchKind::Created { revision } => {
                streams.entry(record.stream).or_insert((revision + 1, *revision));
            }
            WatchKind::Events { fragment, events, .. } => {
                for event in events {
                    seen.events
                        .entry(event.mod_revision)
                        .or_default()
                        .entry(&event.key)
                        .or_insert(event);
                }
                let through = events.iter().map(|e| e.mod_revision - i64::from(*fragment)).max();
                if let (Some(stream), Some(through)) = (streams.get_mut(&record.stream), through) {
                    stream.1 = stream.1.max(through);
                }
            }
            WatchKind::Progress { revision } => {
                if let Some(stream) = streams.get_mut(&record.stream) {
                    stream.1 = stream.1.max(*revision);
                }
            }
            _ => {}
        }
    }
    seen.covered = streams
        .into_values()
        .filter(|(from, through)| from <= through)
        .collect();
    seen
}

/// Ranges joined where they touch.
fn union(mut ranges: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    ranges.sort_unstable();
    let mut joined: Vec<(i64, i64)> = Vec::new();
    for (from, through) in ranges {
        match joined.last_mut() {
            Some(last) if from <= last.1 + 1 => last.1 = last.1.max(through),
            _ => joined.push((from, through)),
        }
    }
    joined
}

/// Divides a range into what is covered and what is not.
fn split(from: i64, through: i64, covered: &[(i64, i64)], outside: &mut Vec<(i64, i64)>, inside: &mut Vec<(i64, i64)>) {
    let mut at = from;
    for &(a, b) in covered.iter().filter(|&&(a, b)| a <= through && b >= from) {
        if a > at {
            outside.push((at, a - 1));
        }
        inside.push((at.max(a), through.min(b)));
        at = b + 1;
    }
    if at <= through {
        outside.push((at, through));
    }
}
