//! What the checkers' tests share: histories written as text, and a simulated store with concurrent clients that
//! makes good histories at random, for mutations to spoil.

mod schedule;
mod script;
mod store;

pub(crate) use schedule::{Request, Schedule};
pub(crate) use script::history;
pub(crate) use store::{Kept, Store};

use super::{Checker, Evidence, Judgement, Verdict};
use crate::history::{FinalState, History, Meta, Op, WatchKind, WatchRecord, WatchStart};
use std::collections::BTreeMap;

/// What a run of these operations recorded, without watchers, faults and final states.
pub(crate) fn evidence(ops: Vec<Op>) -> Evidence {
    Evidence {
        meta: Meta {
            seed: 0,
            target: "model".to_owned(),
            version: String::new(),
            nodes: 3,
            time_s: 1,
            workloads: Vec::new(),
            faults: Vec::new(),
            bug: None,
            options: BTreeMap::new(),
            began: "1970-01-01T00:00:00Z".to_owned(),
        },
        history: History { ops },
        watches: BTreeMap::new(),
        informers: BTreeMap::new(),
        faults: Vec::new(),
        finals: Vec::new(),
    }
}

/// What a spectator of member `node` was sent, each revision in a message of its own.
pub(crate) fn spectator(store: &Store, node: usize) -> Vec<WatchRecord> {
    let record = |time_ns, what| WatchRecord {
        time_ns,
        node,
        stream: 1,
        what,
    };
    let mut records = vec![
        record(0, WatchKind::Start(WatchStart::everything(1))),
        record(0, WatchKind::Created { revision: 1 }),
    ];
    for (time_ns, events) in &store.log {
        records.push(record(
            *time_ns,
            WatchKind::Events {
                revision: events[0].mod_revision,
                fragment: false,
                events: events.clone(),
            },
        ));
    }
    records.push(record(
        u64::MAX,
        WatchKind::Progress {
            revision: store.revision,
        },
    ));
    records
}

/// What each of three members holds in the end.
pub(crate) fn finals(store: &Store) -> Vec<FinalState> {
    (1..=3)
        .map(|node| FinalState {
            node,
            revision: store.revision,
            compact_revision: 0,
            hash: 7,
            hash_revision: store.revision,
            kvs: store.kvs(),
        })
        .collect()
}

/// Judges, and tells the names of the anomalies, each once.
pub(crate) fn anomalies(checker: &dyn Checker, evidence: &Evidence) -> Vec<String> {
    let judgement = checker.check(evidence);
    let mut names: Vec<String> = judgement.findings.iter().map(|f| f.anomaly.clone()).collect();
    names.sort();
    names.dedup();
    assert_eq!(judgement.verdict == Verdict::Fail, !names.is_empty(), "{judgement:?}");
    names
}

/// Fails unless nothing is wrong and nothing is unknown.
pub(crate) fn assert_passes(checker: &dyn Checker, evidence: &Evidence) -> Judgement {
    let judgement = checker.check(evidence);
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:#?}");
    judgement
}

/// Fails unless `anomaly` is among what is found.
pub(crate) fn assert_finds(checker: &dyn Checker, evidence: &Evidence, anomaly: &str) {
    let found = anomalies(checker, evidence);
    assert!(
        found.iter().any(|name| name == anomaly),
        "wanted {anomaly}, found {found:?}"
    );
}
