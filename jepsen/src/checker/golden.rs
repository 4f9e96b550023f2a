//! Runs for tests, written as what happened: a small store of one sequence, the operations, and what watchers got.

use super::{Checker, Evidence, Verdict};
use crate::history::{
    FinalKv, FinalState, History, Meta, Op, Outcome, PrevKv, WatchEvent, WatchKind, WatchRecord, WatchStart,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// A run that is being written.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Every event so far, with what stood there before.
    pub events: Vec<WatchEvent>,
    pub ops: Vec<Op>,
    pub watches: BTreeMap<String, Vec<WatchRecord>>,
    pub finals: Vec<FinalState>,
    state: BTreeMap<String, PrevKv>,
    revision: i64,
    now_ns: u64,
}

impl Run {
    pub fn new() -> Run {
        Run {
            revision: 1,
            ..Run::default()
        }
    }

    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The state as it is now.
    pub fn state(&self) -> &BTreeMap<String, PrevKv> {
        &self.state
    }

    /// The next moment, a millisecond later.
    pub fn tick(&mut self) -> u64 {
        self.now_ns += 1_000_000;
        self.now_ns
    }

    pub fn put(&mut self, key: &str, value: &str) -> &mut Run {
        self.txn(&[(key, Some(value))])
    }

    pub fn delete(&mut self, key: &str) -> &mut Run {
        self.txn(&[(key, None)])
    }

    /// Puts and deletions at one revision. A deletion of what is not there does nothing.
    pub fn txn(&mut self, changes: &[(&str, Option<&str>)]) -> &mut Run {
        let revision = self.revision + 1;
        for &(key, value) in changes {
            let prev = self.state.get(key).cloned();
            if value.is_none() && prev.is_none() {
                continue;
            }
            let (create_revision, version) = prev
                .as_ref()
                .map_or((revision, 1), |p| (p.create_revision, p.version + 1));
            let kv = value.map(|v| PrevKv {
                value: v.to_owned(),
                create_revision,
                mod_revision: revision,
                version,
                lease: 0,
            });
            self.events.push(WatchEvent {
                delete: value.is_none(),
                key: key.to_owned(),
                value: value.unwrap_or_default().to_owned(),
                create_revision: kv.as_ref().map_or(0, |k| k.create_revision),
                mod_revision: revision,
                version: kv.as_ref().map_or(0, |k| k.version),
                lease: 0,
                prev,
            });
            match kv {
                Some(kv) => self.state.insert(key.to_owned(), kv),
                None => self.state.remove(key),
            };
            self.revision = revision;
        }
        self
    }

    fn op(
        &mut self,
        workload: &str,
        process: u64,
        f: &str,
        key: Option<&str>,
        value: Value,
        outcome: Outcome,
    ) -> &mut Op {
        let call_ns = self.tick();
        let return_ns = self.tick();
        self.ops.push(Op {
            index: self.ops.len() as u64,
            process,
            node: 1,
            workload: workload.to_owned(),
            f: f.to_owned(),
            key: key.map(str::to_owned),
            value,
            call_ns,
            return_ns: (!matches!(outcome, Outcome::Info { .. })).then_some(return_ns),
            outcome,
        });
        self.ops.last_mut().expect("one was pushed")
    }

    /// An operation that is called and answered now.
    #[expect(clippy::too_many_arguments, reason = "a line of a history has these")]
    pub fn ok(
        &mut self,
        workload: &str,
        process: u64,
        f: &str,
        key: Option<&str>,
        value: Value,
        answer: Value,
        revision: Option<i64>,
    ) -> &mut Op {
        self.op(
            workload,
            process,
            f,
            key,
            value,
            Outcome::Ok {
                value: answer,
                revision,
            },
        )
    }

    pub fn fail(&mut self, workload: &str, process: u64, f: &str, key: Option<&str>, value: Value) -> &mut Op {
        let error = "refused".to_owned();
        self.op(workload, process, f, key, value, Outcome::Fail { error })
    }

    pub fn info(&mut self, workload: &str, process: u64, f: &str, key: Option<&str>, value: Value) -> &mut Op {
        let error = "timeout".to_owned();
        self.op(workload, process, f, key, value, Outcome::Info { error })
    }

    /// A line of a watcher's file, now.
    pub fn line(&mut self, client: &str, stream: u64, what: WatchKind) -> &mut Run {
        let time_ns = self.tick();
        self.watches.entry(client.to_owned()).or_default().push(WatchRecord {
            time_ns,
            node: 1,
            stream,
            what,
        });
        self
    }

    /// Messages with all events of `from..=through` that a watch is to have, one for each revision.
    pub fn deliver(&mut self, client: &str, stream: u64, start: &WatchStart, from: i64, through: i64) -> &mut Run {
        for revision in from..=through {
            let events: Vec<WatchEvent> = self
                .events
                .iter()
                .filter(|e| e.mod_revision == revision)
                .filter(|e| super::replay::in_range(&e.key, &start.key, &start.range_end))
                .filter(|e| if e.delete { !start.no_delete } else { !start.no_put })
                .cloned()
                .map(|e| WatchEvent {
                    prev: e.prev.filter(|_| start.prev_kv),
                    ..e
                })
                .collect();
            if !events.is_empty() {
                let what = WatchKind::Events {
                    revision,
                    fragment: false,
                    events,
                };
                self.line(client, stream, what);
            }
        }
        self
    }

    /// Spectators of members 1 to `members` that were sent everything so far.
    pub fn spectators(&mut self, members: usize) -> &mut Run {
        for member in 1..=members {
            let client = format!("spectator-{member}");
            let start = WatchStart::everything(1);
            let through = self.revision;
            self.line(&client, 1, WatchKind::Start(start.clone()));
            self.line(&client, 1, WatchKind::Created { revision: 1 });
            self.deliver(&client, 1, &start, 1, through);
            self.line(&client, 1, WatchKind::ProgressRequest);
            self.line(&client, 1, WatchKind::Progress { revision: through });
            self.line(&client, 1, WatchKind::Closed);
        }
        self
    }

    /// A spectator that was sent everything but `from..=through`, which were compacted while it was away.
    pub fn spectator_with_gap(&mut self, member: usize, from: i64, through: i64) -> &mut Run {
        let client = format!("spectator-{member}");
        let last = self.revision;
        let cancelled = WatchKind::Cancelled {
            revision: 0,
            compact_revision: through + 1,
            reason: String::new(),
        };
        self.line(&client, 1, WatchKind::Start(WatchStart::everything(1)));
        self.line(&client, 1, WatchKind::Created { revision: 1 });
        self.deliver(&client, 1, &WatchStart::everything(1), 1, from - 1);
        self.line(&client, 1, WatchKind::Broken { error: String::new() });
        self.line(&client, 2, WatchKind::Start(WatchStart::everything(from)));
        self.line(&client, 2, WatchKind::Created { revision: last });
        self.line(&client, 2, cancelled);
        self.line(&client, 3, WatchKind::Start(WatchStart::everything(through + 1)));
        self.line(&client, 3, WatchKind::Created { revision: last });
        self.deliver(&client, 3, &WatchStart::everything(1), through + 1, last)
    }

    /// Members 1 to `members` hold the state as it is now.
    pub fn finals(&mut self, members: usize) -> &mut Run {
        for node in 1..=members {
            self.finals.push(FinalState {
                node,
                revision: self.revision,
                compact_revision: 0,
                hash: 17,
                hash_revision: self.revision,
                kvs: self.state.iter().map(|(key, kv)| final_kv(key, kv)).collect(),
            });
        }
        self
    }

    /// Leaves events out of all watches.
    pub fn drop_events(&mut self, is_dropped: impl Fn(&WatchEvent) -> bool) -> &mut Run {
        for records in self.watches.values_mut() {
            for record in records.iter_mut() {
                if let WatchKind::Events { events, .. } = &mut record.what {
                    events.retain(|e| !is_dropped(e));
                }
            }
            records.retain(|r| !matches!(&r.what, WatchKind::Events { events, .. } if events.is_empty()));
        }
        self
    }

    /// Changes the events of one watcher.
    pub fn change_events(&mut self, client: &str, change: impl Fn(&mut WatchEvent)) -> &mut Run {
        for record in self.watches.get_mut(client).into_iter().flatten() {
            if let WatchKind::Events { events, .. } = &mut record.what {
                events.iter_mut().for_each(&change);
            }
        }
        self
    }

    pub fn evidence(&self) -> Evidence {
        Evidence {
            meta: meta(),
            history: History { ops: self.ops.clone() },
            watches: self.watches.clone(),
            informers: BTreeMap::new(),
            faults: Vec::new(),
            finals: self.finals.clone(),
        }
    }
}

fn final_kv(key: &str, kv: &PrevKv) -> FinalKv {
    FinalKv {
        key: key.to_owned(),
        value: kv.value.clone(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

pub fn meta() -> Meta {
    Meta {
        seed: 0,
        target: "model".to_owned(),
        version: String::new(),
        nodes: 3,
        time_s: 0,
        workloads: Vec::new(),
        faults: Vec::new(),
        bug: None,
        options: BTreeMap::new(),
        began: String::new(),
    }
}

/// Evidence of operations alone.
pub fn evidence_of(ops: Vec<Op>) -> Evidence {
    let run = Run { ops, ..Run::new() };
    run.evidence()
}

/// The checker must find nothing.
#[track_caller]
pub fn passes(checker: &dyn Checker, evidence: &Evidence) {
    let judgement = checker.check(evidence);
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:#?}");
}

/// The checker must find this anomaly by name, among others perhaps.
#[track_caller]
pub fn failed_with(checker: &dyn Checker, evidence: &Evidence, anomaly: &str) {
    let judgement = checker.check(evidence);
    assert_eq!(judgement.verdict, Verdict::Fail, "{judgement:#?}");
    assert!(
        judgement.findings.iter().any(|f| f.anomaly == anomaly),
        "no {anomaly}: {judgement:#?}"
    );
}

/// Numbers that follow from a seed (SplitMix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `0..bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound.max(1)
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(self.below(all.len() as u64) as usize).copied()
    }
}
