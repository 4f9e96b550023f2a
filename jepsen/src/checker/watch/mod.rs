//! Watches: what the store promises to who watches, for every watcher of a run, spectators included.
//!
//! | promise | broken |
//! |---|---|
//! | `created` comes first | `event-before-created` |
//! | filtered: only what was asked for | `unfiltered-event` |
//! | from the start revision on | `before-start-event` |
//! | ordered by revision | `unordered-event` |
//! | unique, over streams too | `duplicate-event` |
//! | atomic: a revision comes whole, in one message or its fragments | `split-revision`, `partial-revision` |
//! | reliable: nothing is left out before what came | `lost-event` |
//! | nothing is told that did not happen, or otherwise than it did | `phantom-event`, `wrong-event` |
//! | the value before, where it was asked for and is not compacted | `wrong-prev-kv`, `missing-prev-kv` |
//! | bookmarks: everything up to a progress message's revision was sent | `early-progress`, `stale-progress` |
//! | ended as compacted only when what it needs next is compacted | `wrong-compacted-cancel` |
//! | after healing each spectator reaches the final revision | `not-converged` |

mod against;
mod compaction;
mod shape;
mod stream;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_mutation;

use super::replay::{Replay, SPECTATOR};
use super::{Checker, Evidence, Judgement};
pub(super) use compaction::Compactions;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use stream::{Stream, streams};

/// Findings of one kind that are told of.
const FINDINGS_MAX: usize = 10;

/// The checker `watch`, for every watcher.
pub struct WatchChecker;

impl Checker for WatchChecker {
    fn name(&self) -> &'static str {
        "watch"
    }

    fn check(&self, evidence: &Evidence) -> Judgement {
        let mut told = Told {
            judgement: Judgement::new(self.name()),
            counts: HashMap::new(),
        };
        let replay = Replay::build(evidence);
        let compactions = Compactions::of(evidence);
        for (client, records) in &evidence.watches {
            // By revision and key: what the client was sent on earlier streams.
            let mut sent: HashSet<(i64, &str)> = HashSet::new();
            for stream in streams(client, records) {
                shape::check(&stream, &sent, &mut told);
                against::check(&stream, &replay, &compactions, &mut told);
                sent.extend(stream.events().map(|(_, e)| (e.mod_revision, e.key.as_str())));
                told.judgement.count("streams", 1);
                told.judgement.count("events", stream.events().count() as u64);
                told.judgement.count("progress", stream.progress().count() as u64);
                told.judgement.count("compacted", u64::from(stream.is_compacted()));
            }
        }
        converge(evidence, &mut told);
        told.judgement
    }
}

/// After healing, each spectator was sent everything up to the final revision.
fn converge(evidence: &Evidence, told: &mut Told) {
    let Some(end) = evidence.finals.iter().map(|f| f.revision).max() else {
        return;
    };
    let is_late = evidence.faults.iter().any(|f| f.fault == "spectators-late");
    for (client, records) in evidence.watches.iter().filter(|(c, _)| c.starts_with(SPECTATOR)) {
        let reached = streams(client, records).iter().map(Stream::proven).max().unwrap_or(0);
        if reached >= end {
            continue;
        }
        let message = format!("{client} was told everything up to revision {reached}, of {end} after healing");
        if is_late {
            told.fail("not-converged", message, json!({"client": client}));
        } else {
            told.judgement.unknown(message);
        }
    }
}

/// Findings, not too many of a kind.
struct Told {
    judgement: Judgement,
    counts: HashMap<&'static str, usize>,
}

impl Told {
    fn fail(&mut self, anomaly: &'static str, message: String, detail: Value) {
        let count = self.counts.entry(anomaly).or_default();
        *count += 1;
        if *count <= FINDINGS_MAX {
            self.judgement.fail(anomaly, message, Vec::new(), detail);
        }
    }

    /// A finding on a stream, at a time.
    fn at(&mut self, anomaly: &'static str, stream: &Stream<'_>, time_ns: u64, message: &str) {
        let place = format!(
            "{} stream {} (member {}, start {})",
            stream.client, stream.number, stream.node, stream.start.start_revision
        );
        let detail = json!({"client": stream.client, "stream": stream.number, "time_ns": time_ns});
        self.fail(anomaly, format!("{place}: {message}"), detail);
    }
}
