//! What a stream must look like, whatever happened in the store.

use super::Told;
use super::stream::Stream;
use crate::history::{WatchEvent, WatchKind};
use std::collections::HashSet;

/// Where a stream stands.
#[derive(Default)]
struct State<'a> {
    is_created: bool,
    /// The newest revision of an event, and whether its message goes on in the next one.
    last: i64,
    is_open: bool,
    /// The highest progress.
    progress: i64,
    sent: HashSet<(i64, &'a str)>,
}

/// `sent` is what the client was sent on earlier streams.
pub(super) fn check(stream: &Stream<'_>, sent: &HashSet<(i64, &str)>, told: &mut Told) {
    let mut state = State::default();
    for line in &stream.lines {
        match &line.what {
            WatchKind::Created { .. } => state.is_created = true,
            WatchKind::Events { fragment, events, .. } => {
                if !state.is_created {
                    told.at(
                        "event-before-created",
                        stream,
                        line.time_ns,
                        "events came before the watch was created",
                    );
                }
                let before = state.last;
                for event in events {
                    one(stream, &mut state, before, event, sent, line.time_ns, told);
                }
                state.is_open = *fragment;
            }
            WatchKind::Progress { revision } => {
                let least = state.last.max(state.progress).max(stream.start.start_revision - 1);
                if *revision < least {
                    let message = format!("progress {revision} after events or progress of {least}");
                    told.at("stale-progress", stream, line.time_ns, &message);
                }
                state.progress = state.progress.max(*revision);
            }
            _ => {}
        }
    }
}

/// `before` is the newest revision of earlier messages.
fn one<'a>(
    stream: &Stream<'a>,
    state: &mut State<'a>,
    before: i64,
    event: &'a WatchEvent,
    sent: &HashSet<(i64, &str)>,
    time_ns: u64,
    told: &mut Told,
) {
    let (revision, key) = (event.mod_revision, event.key.as_str());
    if !stream.wants(key, event.delete) {
        let message = format!(
            "{key:?} at revision {revision} (deletion: {}) was not asked for",
            event.delete
        );
        told.at("unfiltered-event", stream, time_ns, &message);
    }
    let is_new = state.sent.insert((revision, key));
    let is_early = stream.first().is_some_and(|first| revision < first);
    if !is_new || (is_early && sent.contains(&(revision, key))) {
        let message = format!("{key:?} at revision {revision} came again");
        told.at("duplicate-event", stream, time_ns, &message);
    } else if is_early {
        let message = format!(
            "{key:?} at revision {revision} comes before the start (created at {:?})",
            stream.created
        );
        told.at("before-start-event", stream, time_ns, &message);
    } else if revision < state.last {
        let message = format!("{key:?} at revision {revision} came after revision {}", state.last);
        told.at("unordered-event", stream, time_ns, &message);
    } else if revision == before && !state.is_open {
        let message = format!("{key:?} at revision {revision} came in another message than the rest of that revision");
        told.at("split-revision", stream, time_ns, &message);
    }
    if is_new && revision <= state.progress {
        let message = format!("{key:?} at revision {revision} came after progress {}", state.progress);
        told.at("early-progress", stream, time_ns, &message);
    }
    state.last = state.last.max(revision);
}
