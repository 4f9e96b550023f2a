//! What a stream told against what happened.

use super::Told;
use super::compaction::Compactions;
use super::stream::Stream;
use crate::checker::replay::{Known, Replay, Version};
use crate::history::{WatchEvent, WatchKind};
use std::collections::{BTreeMap, HashSet};

pub(super) fn check(stream: &Stream<'_>, replay: &Replay<'_>, compactions: &Compactions, told: &mut Told) {
    let mut delivered: BTreeMap<i64, HashSet<&str>> = BTreeMap::new();
    for (time_ns, event) in stream.events() {
        delivered.entry(event.mod_revision).or_default().insert(&event.key);
        content(stream, replay, event, time_ns, told);
        prev_kv(stream, replay, compactions, event, time_ns, told);
    }
    missing(stream, replay, &delivered, told);
    cancelled(stream, compactions, told);
}

/// An event happened, and as it is told.
fn content(stream: &Stream<'_>, replay: &Replay<'_>, event: &WatchEvent, time_ns: u64, told: &mut Told) {
    let (revision, key) = (event.mod_revision, event.key.as_str());
    let Known::Known(events) = replay.events(revision) else {
        return;
    };
    let told_of = Version::of(event);
    match events.iter().find(|(k, _)| *k == key) {
        None => {
            let message = format!("{key:?} at revision {revision}, which changed {events:?}");
            told.at("phantom-event", stream, time_ns, &message);
        }
        Some((_, happened)) if *happened != told_of => {
            let message = format!("{key:?} is told as {told_of:?}, what happened is {happened:?}");
            told.at("wrong-event", stream, time_ns, &message);
        }
        Some(_) => {}
    }
}

/// What stood there before, where it was asked for.
fn prev_kv(
    stream: &Stream<'_>,
    replay: &Replay<'_>,
    compactions: &Compactions,
    event: &WatchEvent,
    time_ns: u64,
    told: &mut Told,
) {
    let (revision, key) = (event.mod_revision, event.key.as_str());
    let shown = event.prev.as_ref().map(|prev| Version {
        mod_revision: prev.mod_revision,
        value: Some(&prev.value),
        create_revision: prev.create_revision,
        version: prev.version,
        lease: prev.lease,
    });
    if !stream.start.prev_kv {
        if shown.is_some() {
            let message = format!("{key:?} at revision {revision} comes with what stood there before, unasked");
            told.at("wrong-prev-kv", stream, time_ns, &message);
        }
        return;
    }
    let Known::Known(before) = replay.at(key, revision - 1) else {
        return;
    };
    match (shown, before) {
        (None, Some(before)) if !compactions.may_have(revision, time_ns) => {
            let message = format!(
                "{key:?} at revision {revision} comes without what stood there before, {before:?}, which is not compacted"
            );
            told.at("missing-prev-kv", stream, time_ns, &message);
        }
        (Some(shown), before) if before != Some(shown) => {
            let message =
                format!("{key:?} at revision {revision} comes with {shown:?} before it, there stood {before:?}");
            told.at("wrong-prev-kv", stream, time_ns, &message);
        }
        _ => {}
    }
}

/// Nothing is left out between the start and what came last.
fn missing(stream: &Stream<'_>, replay: &Replay<'_>, delivered: &BTreeMap<i64, HashSet<&str>>, told: &mut Told) {
    let Some(first) = stream.first() else { return };
    let last = stream.last_whole();
    let time_ns = stream.lines.last().map_or(0, |line| line.time_ns);
    for (revision, events) in replay.events_between(first, stream.proven()) {
        let sent = delivered.get(&revision);
        let left_out: Vec<&str> = events
            .iter()
            .filter(|(key, version)| stream.wants(key, version.is_deleted()) && !sent.is_some_and(|s| s.contains(key)))
            .map(|(key, _)| *key)
            .collect();
        if left_out.is_empty() {
            continue;
        }
        if let Some(sent) = sent {
            let message = format!("revision {revision} came with {sent:?}, without {left_out:?}");
            told.at("partial-revision", stream, time_ns, &message);
        } else if revision < last {
            let message = format!("revision {revision} with {left_out:?} is left out; revision {last} came");
            told.at("lost-event", stream, time_ns, &message);
        } else {
            let message = format!(
                "progress {} was told, and revision {revision} with {left_out:?} never came",
                stream.proven()
            );
            told.at("early-progress", stream, time_ns, &message);
        }
    }
}

/// A watch ends as compacted only when what it needs next is compacted.
fn cancelled(stream: &Stream<'_>, compactions: &Compactions, told: &mut Told) {
    for line in &stream.lines {
        let WatchKind::Cancelled {
            compact_revision,
            reason,
            ..
        } = &line.what
        else {
            continue;
        };
        if *compact_revision == 0 {
            continue;
        }
        // Progress does not count here: a store may forget that it told a watch without events how far it had come.
        let needs = stream.first().unwrap_or(0).max(stream.last_whole() + 1);
        if *compact_revision <= needs || !compactions.may_have(*compact_revision, line.time_ns) {
            let message =
                format!("ended as compacted at {compact_revision} ({reason:?}), when it needed revision {needs} next");
            told.at("wrong-compacted-cancel", stream, line.time_ns, &message);
        }
    }
}
