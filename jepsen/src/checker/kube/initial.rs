//! The content that some watches begin with.

use super::Told;
use super::informer::{Line, Stream};
use super::reads::is_version;
use super::truth::{Floor, Transition, Truth};
use crate::checker::replay::Known;
use crate::history::Seen;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

/// Content whose end a bookmark marks. Returns its revision, and the lines after it.
pub(super) fn marked<'s, 'a>(
    stream: &'s Stream<'a>,
    truth: &Truth<'_>,
    floor: &Floor,
    told: &mut Told,
) -> Option<(i64, &'s [Line<'a>])> {
    let end = stream
        .lines
        .iter()
        .position(|line| matches!(line, Line::Bookmark { initial_end: true, .. }));
    let (first, rest) = stream.lines.split_at(end.map_or(stream.lines.len(), |e| e + 1));
    // What changes before the mark is sent as well: the sum of it is the content.
    let mut held: BTreeMap<&str, &Seen> = BTreeMap::new();
    for line in first {
        let Line::Event(transition, seen) = line else { continue };
        if *transition == Transition::Deleted {
            held.remove(seen.name.as_str());
            continue;
        }
        held.insert(&seen.name, seen);
        if !is_version(&seen.name, seen, truth) {
            let message = format!(
                "the content shows {seen:?}, the store has {:?}",
                truth.at(&seen.name, seen.rv)
            );
            stream.fail("wrong-object", &message, told);
        }
    }
    // Without the mark the stream was cut off before.
    let Some(Line::Bookmark { rv, .. }) = end.map(|e| stream.lines[e]) else {
        return None;
    };
    let least = match stream.start.resource_version.as_str() {
        "" => floor.before(stream.begin_ns()),
        asked => asked.parse().unwrap_or(0),
    };
    if rv < least {
        stream.fail(
            "stale-initial",
            &format!("the content is of {rv}, and must not be older than {least}"),
            told,
        );
    }
    if let Known::Known(content) = truth.content(rv, &stream.start.color) {
        let shown: Vec<(&str, i64)> = held.iter().map(|(name, seen)| (*name, seen.rv)).collect();
        let stored: Vec<(&str, i64)> = content.iter().map(|(name, object)| (*name, object.rv)).collect();
        if shown != stored {
            let message = format!("the content at {rv} is told as {shown:?}, the store has {stored:?}");
            stream.fail("wrong-initial", &message, told);
        }
    }
    Some((rv, rest))
}

/// Content without a mark: there is a revision whose content the first events are. Returns it, and the lines after.
pub(super) fn unmarked<'s, 'a>(
    stream: &'s Stream<'a>,
    truth: &Truth<'_>,
    floor: &Floor,
    told: &mut Told,
) -> Option<(i64, &'s [Line<'a>])> {
    if !truth.covers(2, truth.last()) {
        told.judgement.count("streams-of-unknown-content", 1);
        return None;
    }
    // Sums of what came first, however many: those of a set do not depend on its order.
    let hasher = RandomState::new();
    let hash = |name: &str, rv: i64| hasher.hash_one((name, rv));
    let mut sums = vec![0u64];
    for line in &stream.lines {
        let Line::Event(Transition::Added, seen) = line else {
            break;
        };
        sums.push(sums[sums.len() - 1] ^ hash(&seen.name, seen.rv));
    }
    if sums.len() == 1 {
        if let Some(Line::Event(transition, seen)) = stream.lines.first() {
            stream.fail(
                "wrong-initial",
                &format!("{transition:?} {seen:?} came before any content"),
                told,
            );
        }
        return None;
    }
    // The content of each revision, as such a sum, as the selector's transitions change it. The last one that fits
    // counts: objects that are added after the content may as well be a part of it.
    let (mut sum, mut count) = (0u64, 0usize);
    let mut found: Option<(i64, usize)> = None;
    let mut next_rv = None;
    for change in truth
        .changes
        .iter()
        .filter(|c| c.transition(&stream.start.color).is_some())
    {
        next_rv = next_rv.or_else(|| found.map(|_| change.rv));
        for (object, by) in [(change.before, -1), (change.after, 1)] {
            if let Some(object) = object.filter(|o| o.meets(&stream.start.color)) {
                sum ^= hash(change.name, object.rv);
                count = count.saturating_add_signed(by);
            }
        }
        if count > 0 && count < sums.len() && sums[count] == sum && is_before(change.rv, &stream.lines[count..]) {
            (found, next_rv) = (Some((change.rv, count)), None);
        }
    }
    let Some((rv, taken)) = found else {
        cut_off(stream, truth, told);
        return None;
    };
    let least = if stream.start.resource_version.is_empty() {
        floor.before(stream.begin_ns())
    } else {
        0
    };
    // Where nothing comes after it, it may have been cut off: then only what it shows counts.
    let next_rv = if taken == stream.lines.len() {
        first_overwritten(stream, truth)
    } else {
        next_rv
    };
    if let Some(next) = next_rv.filter(|n| *n <= least) {
        let message = format!("the content is of {rv}, which changed at {next}, and must not be older than {least}");
        stream.fail("stale-initial", &message, told);
    }
    Some((rv, &stream.lines[taken..]))
}

/// Whether the lines can follow a content of that revision. The same content may be there again later.
fn is_before(rv: i64, rest: &[Line<'_>]) -> bool {
    let event = rest.iter().find_map(|line| match line {
        Line::Event(_, seen) => Some(seen.rv),
        Line::Bookmark { .. } => None,
    });
    let bookmark = rest.iter().find_map(|line| match line {
        Line::Event(..) => None,
        Line::Bookmark { rv, .. } => Some(*rv),
    });
    event.is_none_or(|e| e > rv) && bookmark.is_none_or(|b| b >= rv)
}

/// When the first of the objects that a stream shows was changed.
fn first_overwritten(stream: &Stream<'_>, truth: &Truth<'_>) -> Option<i64> {
    let changes = stream.objects().filter_map(|seen| {
        let versions = truth.versions(&seen.name);
        let next = versions.get(versions.partition_point(|v| v.mod_revision <= seen.rv));
        next.map(|v| v.mod_revision)
    });
    changes.min()
}

/// A stream that was cut off within the content: all of it must have been there at one revision.
fn cut_off(stream: &Stream<'_>, truth: &Truth<'_>, told: &mut Told) {
    let only_added = stream
        .lines
        .iter()
        .all(|line| matches!(line, Line::Event(Transition::Added, _)));
    let begin = stream.objects().map(|seen| seen.rv).max().unwrap_or(0);
    let is_whole = only_added && first_overwritten(stream, truth).is_none_or(|end| begin < end);
    if !is_whole || !stream.objects().all(|seen| is_version(&seen.name, seen, truth)) {
        let shown: Vec<(&str, i64)> = stream.objects().map(|seen| (seen.name.as_str(), seen.rv)).collect();
        stream.fail(
            "wrong-initial",
            &format!("the first events are the content of no revision: {shown:?}"),
            told,
        );
    }
}
