//! How fast the log makes entries durable, by how many wait for one sync, and how fast it is read back at a start.
//!
//! `cargo bench -p keelson-wal`. What counts is the disk: `TMPDIR` names the one to measure.

// What cannot begin has nothing to say but why.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use keelson_wal::{Entry, EntryId, Options, Wal, check};
use std::sync::mpsc;

const PAYLOAD_BYTES: usize = 1024;
/// What a start reads back.
const RECOVERED_ENTRIES: u64 = 50_000;

fn entry(index: u64, payload: &Bytes) -> Entry {
    Entry {
        id: EntryId { term: 1, index },
        tag: 0,
        payload: payload.clone(),
    }
}

/// Appends one batch and waits until it is durable.
fn append(wal: &Wal, from: u64, entries: u64, payload: &Bytes) {
    let (tx, rx) = mpsc::channel();
    let batch = (from..from + entries).map(|i| entry(i, payload)).collect();
    wal.append(batch, Box::new(move |result| drop(tx.send(result))))
        .unwrap();
    rx.recv().unwrap().unwrap();
}

fn appends(c: &mut Criterion) {
    let payload = Bytes::from(vec![7u8; PAYLOAD_BYTES]);
    let mut group = c.benchmark_group("append and sync");
    for entries in [1, 16, 256] {
        let dir = tempfile::tempdir().unwrap();
        let wal = Wal::open(Options::new(dir.path().join("wal"))).unwrap();
        let mut next = 0;
        group.throughput(Throughput::Elements(entries));
        group.bench_function(format!("{entries} of 1 KiB"), |b| {
            b.iter(|| {
                append(&wal, next, entries, &payload);
                next += entries;
            });
        });
        wal.close();
    }
    group.finish();
}

fn recovery(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let payload = Bytes::from(vec![7u8; PAYLOAD_BYTES]);
    let options = || Options::new(dir.path().join("wal"));
    let wal = Wal::open(options()).unwrap();
    for from in (0..RECOVERED_ENTRIES).step_by(1000) {
        append(&wal, from, 1000, &payload);
    }
    wal.close();
    let mut group = c.benchmark_group("read back 50,000 of 1 KiB");
    group.throughput(Throughput::Bytes(RECOVERED_ENTRIES * PAYLOAD_BYTES as u64));
    group.sample_size(10);
    group.bench_function("check", |b| b.iter(|| check(&options()).unwrap()));
    group.bench_function("open", |b| {
        b.iter_batched(
            || (),
            |()| Wal::open(options()).unwrap(),
            // Closed outside the measured time: each is dropped before the next one opens.
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, appends, recovery);
criterion_main!(benches);
