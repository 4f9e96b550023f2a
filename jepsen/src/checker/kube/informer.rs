//! Watches of the Kubernetes API.

use super::Told;
use super::initial;
use super::truth::{Floor, Transition, Truth};
use crate::history::{InformerKind, InformerRecord, InformerStart, Seen};
use std::collections::{BTreeMap, HashSet};

/// A watch from its start to its end.
pub(super) struct Stream<'a> {
    client: &'a str,
    number: u64,
    server: usize,
    begin_ns: u64,
    pub start: &'a InformerStart,
    pub lines: Vec<Line<'a>>,
}

/// What counts of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) enum Line<'a> {
    Event(Transition, &'a Seen),
    Bookmark { rv: i64, initial_end: bool },
}

impl<'a> Stream<'a> {
    pub(super) fn objects(&self) -> impl Iterator<Item = &'a Seen> + '_ {
        self.lines.iter().filter_map(|line| match line {
            Line::Event(_, seen) => Some(*seen),
            Line::Bookmark { .. } => None,
        })
    }

    pub(super) fn begin_ns(&self) -> u64 {
        self.begin_ns
    }

    pub(super) fn fail(&self, anomaly: &'static str, message: &str, told: &mut Told) {
        let start = self.start;
        let place = format!(
            "informer {} stream {} (server {})",
            self.client, self.number, self.server
        );
        let asked = format!(
            "resourceVersion {:?}, color {:?}, initial events {}",
            start.resource_version, start.color, start.send_initial_events
        );
        told.fail(anomaly, format!("{place}, {asked}: {message}"), Vec::new(), &place);
    }
}

/// The streams of a client, in their order.
pub(super) fn streams<'a>(client: &'a str, records: &'a [InformerRecord]) -> Vec<Stream<'a>> {
    let mut all: BTreeMap<u64, Stream<'a>> = BTreeMap::new();
    for record in records {
        if let InformerKind::Start(start) = &record.what {
            let stream = Stream {
                client,
                number: record.stream,
                server: record.node,
                begin_ns: record.time_ns,
                start,
                lines: Vec::new(),
            };
            all.insert(record.stream, stream);
            continue;
        }
        let Some(stream) = all.get_mut(&record.stream) else {
            continue;
        };
        stream.lines.extend(match &record.what {
            InformerKind::Added { object } => Some(Line::Event(Transition::Added, object)),
            InformerKind::Modified { object } => Some(Line::Event(Transition::Modified, object)),
            InformerKind::Deleted { object } => Some(Line::Event(Transition::Deleted, object)),
            InformerKind::Bookmark { rv, initial_end } => Some(Line::Bookmark {
                rv: *rv,
                initial_end: *initial_end,
            }),
            _ => None,
        });
    }
    all.into_values().collect()
}

pub(super) fn check(stream: &Stream<'_>, truth: &Truth<'_>, floor: &Floor, told: &mut Told) {
    told.judgement.count("streams", 1);
    told.judgement.count("events", stream.objects().count() as u64);
    let start: i64 = stream.start.resource_version.parse().unwrap_or(0);
    if stream.start.send_initial_events {
        if let Some((from, rest)) = initial::marked(stream, truth, floor, told) {
            transitions(stream, from, rest, truth, told);
        }
    } else if start == 0 {
        if let Some((from, rest)) = initial::unmarked(stream, truth, floor, told) {
            transitions(stream, from, rest, truth, told);
        }
    } else {
        transitions(stream, start, &stream.lines, truth, told);
    }
}

/// Exactly the transitions after `from`, and bookmarks between them.
fn transitions(stream: &Stream<'_>, from: i64, lines: &[Line<'_>], truth: &Truth<'_>, told: &mut Told) {
    let color = stream.start.color.as_str();
    let mut sent: HashSet<(i64, &str)> = HashSet::new();
    let (mut last, mut bookmark) = (from, from);
    for line in lines {
        match line {
            Line::Bookmark { rv, .. } => {
                if *rv < last.max(bookmark) {
                    let message = format!(
                        "a bookmark of {rv} after events and bookmarks of {}",
                        last.max(bookmark)
                    );
                    stream.fail("stale-bookmark", &message, told);
                }
                bookmark = bookmark.max(*rv);
            }
            Line::Event(transition, seen) => {
                let (rv, name) = (seen.rv, seen.name.as_str());
                if !sent.insert((rv, name)) {
                    stream.fail("duplicate-event", &format!("{name:?} at {rv} came again"), told);
                } else if rv <= from {
                    stream.fail(
                        "before-start-event",
                        &format!("{name:?} at {rv}, where {from} had been seen"),
                        told,
                    );
                } else if rv < last {
                    stream.fail("unordered-event", &format!("{name:?} at {rv} came after {last}"), told);
                } else if rv <= bookmark {
                    let message = format!("{name:?} at {rv} came after a bookmark of {bookmark}");
                    stream.fail("early-bookmark", &message, told);
                }
                last = last.max(rv);
                event(stream, *transition, seen, truth, told);
            }
        }
    }
    let proven = last.max(bookmark);
    for change in truth.between(from + 1, proven) {
        let Some((transition, _)) = change.transition(color) else {
            continue;
        };
        if !sent.contains(&(change.rv, change.name)) {
            let anomaly = if change.rv < last {
                "lost-event"
            } else {
                "early-bookmark"
            };
            let message = format!(
                "{transition:?} {:?} at {} is left out; {proven} came",
                change.name, change.rv
            );
            stream.fail(anomaly, &message, told);
        }
    }
}

/// An event against what happened.
fn event(stream: &Stream<'_>, transition: Transition, seen: &Seen, truth: &Truth<'_>, told: &mut Told) {
    if !truth.covers(seen.rv, seen.rv) {
        told.judgement.count("events-of-unknown-revisions", 1);
        return;
    }
    let Some(change) = truth.between(seen.rv, seen.rv).iter().find(|c| c.name == seen.name) else {
        // Before a gap it may not be known what was there.
        if truth.covers(2, seen.rv) {
            stream.fail(
                "phantom-event",
                &format!("{transition:?} {seen:?}, where the store changed nothing"),
                told,
            );
        }
        return;
    };
    match change.transition(&stream.start.color) {
        None => {
            let message = format!("{transition:?} {seen:?}, which the selector never met: {change:?}");
            stream.fail("phantom-event", &message, told);
        }
        Some((expected, _)) if expected != transition => {
            let message = format!("{transition:?} {seen:?}, which is {expected:?}: {change:?}");
            stream.fail("wrong-transition", &message, told);
        }
        Some((_, object)) if !object.is_shown_by(seen) => {
            stream.fail(
                "wrong-object",
                &format!("{transition:?} shows {seen:?}, the store has {object:?}"),
                told,
            );
        }
        Some(_) => {}
    }
}
