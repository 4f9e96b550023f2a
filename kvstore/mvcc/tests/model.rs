//! The store against a simple model: every revision kept whole, in memory.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use keelson_mvcc::{
    Command, Error, KeyRange, LogEntry, Options, ReadError, Reply, Response, Slice, StateMachine, Store,
};
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb::KeyValue;
use pb::request_op::Request;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const KEYS: u8 = 12;

#[derive(Clone, Debug)]
enum Op {
    Put {
        key: u8,
        lease: u8,
    },
    IgnoreValue {
        key: u8,
    },
    Delete {
        from: u8,
        to: Option<u8>,
    },
    /// If the key has this version then put and delete, else put another.
    Txn {
        key: u8,
        version: i64,
        then: u8,
        gone: u8,
        other: u8,
    },
    Grant {
        lease: u8,
    },
    Revoke {
        lease: u8,
    },
    Compact {
        back: u8,
    },
    Trim,
    /// Close without a flush and apply the log again from what was durable.
    Crash,
    Flush,
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..KEYS;
    prop_oneof![
        8 => (key(), 0..3u8).prop_map(|(key, lease)| Op::Put { key, lease }),
        2 => key().prop_map(|key| Op::IgnoreValue { key }),
        3 => (key(), proptest::option::of(key())).prop_map(|(from, to)| Op::Delete { from, to }),
        4 => (key(), 0..3i64, key(), key(), key())
            .prop_map(|(key, version, then, gone, other)| Op::Txn { key, version, then, gone, other }),
        1 => (1..3u8).prop_map(|lease| Op::Grant { lease }),
        1 => (1..3u8).prop_map(|lease| Op::Revoke { lease }),
        1 => (0..12u8).prop_map(|back| Op::Compact { back }),
        1 => Just(Op::Trim),
        1 => Just(Op::Crash),
        1 => Just(Op::Flush),
    ]
}

type State = BTreeMap<Bytes, KeyValue>;

/// One change: a deletion has no value.
#[derive(Clone, Debug, PartialEq)]
struct Change {
    revision: i64,
    key: Bytes,
    kv: Option<KeyValue>,
    previous: Option<KeyValue>,
}

struct Model {
    /// The state at each revision from 0 on.
    states: Vec<State>,
    changes: Vec<Change>,
    compacted: i64,
    leases: BTreeMap<i64, ()>,
}

impl Model {
    fn new() -> Self {
        Model {
            states: vec![State::new(); 2],
            changes: Vec::new(),
            compacted: -1,
            leases: BTreeMap::new(),
        }
    }
    fn revision(&self) -> i64 {
        self.states.len() as i64 - 1
    }
    fn now(&self) -> &State {
        self.states.last().unwrap()
    }
    fn write(&mut self, edits: Vec<(Bytes, Option<(Bytes, i64)>)>) {
        let revision = self.revision() + 1;
        let before = self.now().clone();
        let mut state = before.clone();
        let mut changed = false;
        for (key, edit) in edits {
            let previous = before.get(&key).cloned();
            let kv = match edit {
                None if state.remove(&key).is_none() => continue,
                None => None,
                Some((value, lease)) => {
                    let old = state.get(&key);
                    let kv = KeyValue {
                        key: key.clone(),
                        value,
                        lease,
                        mod_revision: revision,
                        create_revision: old.map_or(revision, |o| o.create_revision),
                        version: old.map_or(0, |o| o.version) + 1,
                    };
                    state.insert(key.clone(), kv.clone());
                    Some(kv)
                }
            };
            changed = true;
            self.changes.push(Change {
                revision,
                key,
                kv,
                previous,
            });
        }
        if changed {
            self.states.push(state);
        }
    }
}

fn key(n: u8) -> Bytes {
    Bytes::from(format!("k{n:02}"))
}

struct Harness {
    // Closed before its folder goes.
    store: Option<Arc<Store>>,
    dir: tempfile::TempDir,
    log: Vec<LogEntry>,
    model: Model,
}

fn open(dir: &tempfile::TempDir) -> Arc<Store> {
    Store::open(&Options {
        path: dir.path().to_owned(),
        cache_bytes: 1 << 20,
    })
    .unwrap()
}

impl Harness {
    fn new() -> Self {
        let dir = common::tempdir();
        let store = open(&dir);
        Harness {
            dir,
            store: Some(store),
            log: Vec::new(),
            model: Model::new(),
        }
    }
    fn store(&self) -> &Arc<Store> {
        self.store.as_ref().unwrap()
    }
    fn apply(&mut self, command: Command) -> Response {
        let index = self.log.len() as u64 + 1;
        let entry = LogEntry {
            index,
            term: 1,
            leader: 1,
            command: command.encode(),
            membership: None,
        };
        self.log.push(entry.clone());
        self.store().apply(&[entry]).unwrap().remove(0)
    }
    fn crash(&mut self) {
        let durable = self.store().durable_index().unwrap();
        assert!(durable <= self.store().applied_state().index);
        let left = common::copy_as_after_a_crash(&self.dir);
        self.store = None;
        self.dir = left;
        let store = open(&self.dir);
        assert_eq!(
            store.applied_state().index,
            durable,
            "what is read back is what was said to be durable"
        );
        let rest = &self.log[durable as usize..];
        assert_eq!(store.apply(rest).unwrap().len(), rest.len());
        self.store = Some(store);
    }

    fn step(&mut self, op: Op) {
        let value = Bytes::from(format!("v{}", self.log.len()));
        match op {
            Op::Put { key: k, lease } => {
                let lease = i64::from(lease);
                let request = pb::PutRequest {
                    key: key(k),
                    value: value.clone(),
                    lease,
                    prev_kv: true,
                    ..Default::default()
                };
                let answer = self.apply(Command::Put(request));
                if lease != 0 && !self.model.leases.contains_key(&lease) {
                    assert_eq!(answer, Err(Error::LeaseNotFound));
                    return;
                }
                let previous = self.model.now().get(&key(k)).cloned();
                self.model.write(vec![(key(k), Some((value, lease)))]);
                let Ok(Reply::Put(answer)) = answer else {
                    panic!("{answer:?}")
                };
                assert_eq!(answer.prev_kv, previous);
                assert_eq!(answer.header.unwrap().revision, self.model.revision());
            }
            Op::IgnoreValue { key: k } => {
                let request = pb::PutRequest {
                    key: key(k),
                    ignore_value: true,
                    ..Default::default()
                };
                let answer = self.apply(Command::Put(request));
                match self.model.now().get(&key(k)).map(|kv| kv.value.clone()) {
                    None => assert_eq!(answer, Err(Error::KeyNotFound)),
                    Some(value) => self.model.write(vec![(key(k), Some((value, 0)))]),
                }
            }
            Op::Delete { from, to } => {
                let range_end = to.map(key).unwrap_or_default();
                let request = pb::DeleteRangeRequest {
                    key: key(from),
                    range_end: range_end.clone(),
                    prev_kv: true,
                };
                let range = KeyRange::new(key(from), range_end);
                let Ok(Reply::DeleteRange(answer)) = self.apply(Command::DeleteRange(request)) else {
                    panic!()
                };
                let gone: Vec<_> = self
                    .model
                    .now()
                    .values()
                    .filter(|kv| range.contains(&kv.key))
                    .cloned()
                    .collect();
                assert_eq!(answer.deleted, gone.len() as i64);
                self.model.write(gone.iter().map(|kv| (kv.key.clone(), None)).collect());
                assert_eq!(answer.prev_kvs, gone);
                assert_eq!(answer.header.unwrap().revision, self.model.revision());
            }
            Op::Txn {
                key: k,
                version,
                then,
                gone,
                other,
            } => {
                let put = |k: u8| pb::PutRequest {
                    key: key(k),
                    value: value.clone(),
                    ..Default::default()
                };
                let op = |request| pb::RequestOp { request: Some(request) };
                let delete = pb::DeleteRangeRequest {
                    key: key(gone),
                    ..Default::default()
                };
                let get = pb::RangeRequest {
                    key: key(then),
                    ..Default::default()
                };
                let success = if then == gone {
                    vec![op(Request::RequestPut(put(then))), op(Request::RequestRange(get))]
                } else {
                    let nested = pb::TxnRequest {
                        success: vec![op(Request::RequestPut(put(then)))],
                        ..Default::default()
                    };
                    vec![
                        op(Request::RequestDeleteRange(delete)),
                        op(Request::RequestTxn(nested)),
                        op(Request::RequestRange(get)),
                    ]
                };
                let compare = pb::Compare {
                    key: key(k),
                    target_union: Some(pb::compare::TargetUnion::Version(version)),
                    ..Default::default()
                };
                let failure = vec![op(Request::RequestPut(put(other)))];
                let request = pb::TxnRequest {
                    compare: vec![compare],
                    success,
                    failure,
                };
                let holds = self.model.now().get(&key(k)).map_or(0, |kv| kv.version) == version;
                let Ok(Reply::Txn(answer)) = self.apply(Command::Txn(request)) else {
                    panic!()
                };
                assert_eq!(answer.succeeded, holds);
                self.model.write(match (holds, then == gone) {
                    (false, _) => vec![(key(other), Some((value, 0)))],
                    (true, true) => vec![(key(then), Some((value, 0)))],
                    (true, false) => vec![(key(gone), None), (key(then), Some((value, 0)))],
                });
                assert_eq!(answer.header.unwrap().revision, self.model.revision());
                if holds {
                    let last = answer.responses.last().unwrap().response.clone().unwrap();
                    let pb::response_op::Response::ResponseRange(read) = last else {
                        panic!()
                    };
                    assert_eq!(
                        read.kvs,
                        [self.model.now()[&key(then)].clone()],
                        "a read after a write sees it"
                    );
                    assert_eq!(read.header.unwrap().revision, self.model.revision());
                }
            }
            Op::Grant { lease } => {
                let id = i64::from(lease);
                let answer = self.apply(Command::LeaseGrant(pb::LeaseGrantRequest { id, ttl: 60 }));
                let known = self.model.leases.insert(id, ()).is_some();
                assert_eq!(answer.is_err(), known);
            }
            Op::Revoke { lease } => {
                let id = i64::from(lease);
                let answer = self.apply(Command::LeaseRevoke(pb::LeaseRevokeRequest { id }));
                assert_eq!(answer.is_ok(), self.model.leases.remove(&id).is_some());
                let gone = self
                    .model
                    .now()
                    .values()
                    .filter(|kv| kv.lease == id)
                    .map(|kv| (kv.key.clone(), None));
                let gone = gone.collect();
                self.model.write(gone);
            }
            Op::Compact { back } => {
                let revision = self.model.revision() - i64::from(back) + 1;
                let answer = self.apply(Command::Compact(pb::CompactionRequest {
                    revision,
                    physical: false,
                }));
                let expected = if revision <= self.model.compacted {
                    Some(Error::Compacted)
                } else if revision > self.model.revision() {
                    Some(Error::FutureRevision)
                } else {
                    self.model.compacted = revision;
                    None
                };
                assert_eq!(answer.err(), expected);
            }
            Op::Trim => while self.store().trim_slice().unwrap() == Slice::More {},
            Op::Crash => self.crash(),
            Op::Flush => {
                self.store().flush().unwrap();
                assert_eq!(
                    self.store().durable_index().unwrap(),
                    self.store().applied_state().index
                );
            }
        }
        assert_eq!(self.store().revision(), self.model.revision());
    }

    fn check_ranges(&self, from: u8, to: u8) {
        let range = KeyRange::new(key(from), key(to));
        for revision in 0..=self.model.revision() + 1 {
            let request = pb::RangeRequest {
                key: key(from),
                range_end: key(to),
                revision,
                limit: 3,
                ..Default::default()
            };
            let read = self.store().range(&request);
            if revision != 0 && revision < self.model.compacted {
                assert!(
                    matches!(read, Err(ReadError::Refused(Error::Compacted))),
                    "{revision}: {read:?}"
                );
                continue;
            }
            if revision > self.model.revision() {
                assert!(matches!(read, Err(ReadError::Refused(Error::FutureRevision))));
                continue;
            }
            let at = if revision == 0 { self.model.revision() } else { revision };
            let state = &self.model.states[at as usize];
            let expected: Vec<_> = state.values().filter(|kv| range.contains(&kv.key)).cloned().collect();
            let read = read.unwrap();
            assert_eq!(read.count, expected.len() as i64, "count at {revision}");
            assert_eq!(read.more, expected.len() > 3);
            assert_eq!(
                read.kvs,
                expected.iter().take(3).cloned().collect::<Vec<_>>(),
                "at {revision}"
            );
            assert_eq!(read.header.unwrap().revision, self.model.revision());
            let keys = self
                .store()
                .range(&pb::RangeRequest {
                    keys_only: true,
                    ..request
                })
                .unwrap();
            let slim = |kv: &KeyValue| KeyValue {
                value: Bytes::new(),
                lease: 0,
                ..kv.clone()
            };
            assert_eq!(keys.kvs, expected.iter().take(3).map(slim).collect::<Vec<_>>());
        }
    }

    /// Catching up from each revision gives all changes from there on, whether from the ring or from `data`.
    fn check_watches(&self, from: u8, to: u8) {
        let range = KeyRange::new(key(from), key(to));
        for start in 1..=self.model.revision() + 1 {
            let mut next = start;
            let mut seen = Vec::new();
            loop {
                match self.store().catch_up(&range, next) {
                    Err(error) => {
                        assert!(start < self.model.compacted, "{error}");
                        break;
                    }
                    Ok(caught) => {
                        assert!(start >= self.model.compacted);
                        for revision in &caught.revisions {
                            for event in revision.events.iter().filter(|e| range.contains(&e.kv.key)) {
                                seen.push(Change {
                                    revision: revision.revision,
                                    key: event.kv.key.clone(),
                                    kv: (!event.delete).then(|| event.kv.clone()),
                                    previous: event.previous_kv(self.store()).unwrap(),
                                });
                            }
                        }
                        next = caught.next;
                        if next > caught.current {
                            break;
                        }
                    }
                }
            }
            if start >= self.model.compacted {
                let expected: Vec<_> = self
                    .model
                    .changes
                    .iter()
                    .filter(|c| c.revision >= start && range.contains(&c.key))
                    .map(|c| Change {
                        previous: c.previous.clone().filter(|_| c.revision > self.model.compacted),
                        ..c.clone()
                    })
                    .collect();
                assert_eq!(seen, expected, "from {start}");
            }
        }
    }

    fn check_leases(&self) {
        for id in self.model.leases.keys() {
            let keys: Vec<_> = self
                .model
                .now()
                .values()
                .filter(|kv| kv.lease == *id)
                .map(|kv| kv.key.clone())
                .collect();
            assert_eq!(self.store().lease_keys(*id), keys);
        }
        assert_eq!(self.store().leases().len(), self.model.leases.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn agrees_with_a_store_that_keeps_everything(
        ops in proptest::collection::vec(op(), 1..120),
        from in 0..KEYS,
        to in 0..KEYS + 1,
    ) {
        let mut harness = Harness::new();
        for op in ops {
            harness.step(op);
        }
        harness.check_ranges(from, to);
        harness.check_watches(from, to);
        harness.check_leases();
        let before = harness.store().hash(0).unwrap();
        harness.crash();
        while harness.store().trim_slice().unwrap() == Slice::More {}
        harness.check_ranges(from, to);
        harness.check_watches(from, to);
        harness.check_leases();
        prop_assert_eq!(harness.store().hash(0).unwrap(), before, "trimmed or not, crashed or not");
        prop_assert_eq!(harness.store().live_keys(), harness.model.now().len());
    }
}
