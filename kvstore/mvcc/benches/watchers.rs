//! Who is to hear of a key: 10,000 watchers of single keys, and 1,000 of ranges.
//!
//! `cargo bench -p keelson-mvcc --bench watchers`.

// What cannot begin has nothing to say but why.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use keelson_mvcc::{KeyRange, Matcher};
use std::sync::Arc;

const SINGLE: u64 = 10_000;
const RANGES: u64 = 1_000;

fn key(n: u64) -> Bytes {
    format!("/registry/pods/default/pod-{n:010}").into()
}

fn matching(c: &mut Criterion) {
    let mut matcher = Matcher::default();
    for n in 0..SINGLE {
        matcher.add(&Arc::new(KeyRange::new(key(n), Bytes::new())), n);
    }
    let mut n = 0;
    let mut hear = |matcher: &Matcher<u64>| {
        n = (n + 7_919) % SINGLE;
        let mut heard = 0u64;
        matcher.matching(&key(n), |watcher| heard += watcher);
        heard
    };
    c.bench_function("match a key, 10,000 watchers of keys", |b| b.iter(|| hear(&matcher)));
    for n in 0..RANGES {
        // Each over ten keys, none over another.
        matcher.add(&Arc::new(KeyRange::new(key(n * 10), key(n * 10 + 10))), n);
    }
    c.bench_function("match a key, 1,000 watchers of ranges beside them", |b| {
        b.iter(|| hear(&matcher));
    });
    c.bench_function("add and remove a watcher", |b| {
        let range = Arc::new(KeyRange::new(key(SINGLE / 2), Bytes::new()));
        b.iter(|| {
            matcher.add(&range, SINGLE + 1);
            matcher.remove(&range, &(SINGLE + 1))
        });
    });
}

criterion_group!(benches, matching);
criterion_main!(benches);
