//! What applying costs, what the index answers, and what ranges cost to read and to encode, over 100,000 keys.
//!
//! `cargo bench -p keelson-mvcc --bench store`.

// What cannot begin has nothing to say but why.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use keelson_mvcc::{Command, LogEntry, Options, StateMachine, Store};
use keelson_proto::etcdserverpb as pb;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request;
use prost::Message;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

const KEYS: u64 = 100_000;
const VALUE_BYTES: usize = 1024;
/// Entries that are applied at a time.
const BATCH_ENTRIES: u64 = 128;
/// A step over all keys that has nothing to do with their order.
const STRIDE: u64 = 7_368_787;

fn key(n: u64) -> Bytes {
    format!("/registry/pods/default/pod-{n:010}").into()
}

fn put(n: u64) -> Command {
    Command::Put(pb::PutRequest {
        key: key(n),
        value: vec![b'v'; VALUE_BYTES].into(),
        ..Default::default()
    })
}

/// kube-apiserver's update of a key that is there, as a client with an outdated revision sends it, or its create.
fn txn(n: u64, revision: i64) -> Command {
    let op = |request| pb::RequestOp { request: Some(request) };
    Command::Txn(pb::TxnRequest {
        compare: vec![pb::Compare {
            result: CompareResult::Equal as i32,
            target: CompareTarget::Mod as i32,
            key: key(n),
            target_union: Some(TargetUnion::ModRevision(revision)),
            ..Default::default()
        }],
        success: vec![op(Request::RequestPut(pb::PutRequest {
            key: key(n),
            value: vec![b'v'; VALUE_BYTES].into(),
            ..Default::default()
        }))],
        failure: vec![op(Request::RequestRange(pb::RangeRequest {
            key: key(n),
            ..Default::default()
        }))],
    })
}

/// A store, and the index of the next entry.
struct Machine {
    store: Arc<Store>,
    next: u64,
}

fn open(path: &Path) -> Arc<Store> {
    Store::open(&Options {
        path: path.join("store"),
        cache_bytes: keelson_mvcc::CACHE_BYTES_DEFAULT,
    })
    .unwrap()
}

impl Machine {
    fn entries(&mut self, commands: impl Iterator<Item = Command>) -> Vec<LogEntry> {
        commands
            .map(|command| {
                self.next += 1;
                LogEntry {
                    index: self.next,
                    term: 1,
                    leader: 1,
                    command: command.encode(),
                    membership: None,
                }
            })
            .collect()
    }

    fn filled(path: &Path) -> Machine {
        let mut machine = Machine {
            store: open(path),
            next: 0,
        };
        for from in (0..KEYS).step_by(1000) {
            let entries = machine.entries((from..from + 1000).map(|n| put(n * STRIDE % KEYS)));
            machine.store.apply(&entries).unwrap();
        }
        machine.store.flush().unwrap();
        machine
    }
}

fn apply(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = Machine::filled(dir.path());
    let store = machine.store.clone();
    let mut group = c.benchmark_group("apply 128 entries");
    group.throughput(Throughput::Elements(BATCH_ENTRIES));
    let mut n = 0;
    let mut step = || {
        n += BATCH_ENTRIES;
        n
    };
    group.bench_function("puts of keys that are there", |b| {
        b.iter_batched(
            || {
                let from = step();
                machine.entries((from..from + BATCH_ENTRIES).map(|n| put(n * STRIDE % KEYS)))
            },
            |entries| store.apply(&entries).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("creating transactions", |b| {
        b.iter_batched(
            || {
                let from = KEYS + step();
                machine.entries((from..from + BATCH_ENTRIES).map(|n| txn(n, 0)))
            },
            |entries| store.apply(&entries).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("transactions that read instead", |b| {
        b.iter_batched(
            || {
                let from = step();
                machine.entries((from..from + BATCH_ENTRIES).map(|n| txn(n * STRIDE % KEYS, i64::MAX)))
            },
            |entries| store.apply(&entries).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn range(from: Bytes, limit: i64) -> pb::RangeRequest {
    pb::RangeRequest {
        key: from,
        range_end: "/registry/pods0".into(),
        limit,
        ..Default::default()
    }
}

fn reads(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let store = Machine::filled(dir.path()).store;
    let all = || range("/registry/pods/".into(), 0);
    let mut n = 0;
    let mut any = || {
        n += 1;
        key(n * STRIDE % KEYS)
    };
    let mut group = c.benchmark_group("read of 100,000 keys");
    group.bench_function("get", |b| {
        b.iter(|| {
            let request = pb::RangeRequest {
                key: any(),
                ..Default::default()
            };
            store.range(&request).unwrap()
        });
    });
    group.bench_function("count", |b| {
        let request = pb::RangeRequest {
            count_only: true,
            ..all()
        };
        b.iter(|| store.cursor(&request).map(black_box).unwrap());
    });
    group.bench_function("page of 500", |b| b.iter(|| store.range(&range(any(), 500)).unwrap()));
    group.bench_function("page of 500 keys without values", |b| {
        b.iter(|| {
            let request = pb::RangeRequest {
                keys_only: true,
                ..range(any(), 500)
            };
            store.range(&request).unwrap()
        });
    });
    group.sample_size(10);
    group.bench_function("all", |b| b.iter(|| store.range(&all()).unwrap()));
    group.finish();

    let page = store.range(&range(key(0), 500)).unwrap();
    let mut group = c.benchmark_group("encode");
    group.throughput(Throughput::Bytes(page.encoded_len() as u64));
    group.bench_function("a page of 500", |b| b.iter(|| page.encode_to_vec()));
    group.throughput(Throughput::Elements(1));
    let command = put(7);
    group.bench_function("a put as a command", |b| b.iter(|| command.encode()));
    let encoded = command.encode();
    group.bench_function("a put's command, decoded", |b| {
        b.iter(|| Command::decode(encoded.clone()).unwrap());
    });
    group.finish();
}

fn start(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    drop(Machine::filled(dir.path()));
    let mut group = c.benchmark_group("start");
    group.sample_size(10);
    group.bench_function("open 100,000 keys of 1 KiB", |b| {
        b.iter_batched(|| (), |()| open(dir.path()), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, apply, reads, start);
criterion_main!(benches);
