//! What is counted with: no locks, so that the paths that count never wait for each other or for a reader.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Threads that count at the same time write to different cache lines, up to this many.
const SHARDS: usize = 4;

#[repr(align(64))]
#[derive(Default)]
struct Shard(AtomicU64);

/// Only goes up.
#[derive(Default)]
pub struct Counter([Shard; SHARDS]);

fn shard_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
    }
    MINE.with(Cell::get)
}

impl Counter {
    pub fn add(&self, n: u64) {
        if let Some(shard) = self.0.get(shard_of_this_thread()) {
            shard.0.fetch_add(n, Ordering::Relaxed);
        }
    }

    pub fn inc(&self) {
        self.add(1);
    }

    pub fn get(&self) -> u64 {
        self.0.iter().map(|s| s.0.load(Ordering::Relaxed)).sum()
    }
}

/// Goes up and down.
#[derive(Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn set(&self, n: i64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauge {
    /// One more until the answer is dropped.
    pub fn enter(&self) -> InFlight<'_> {
        InFlight::enter(self)
    }
}

/// Adds one while it lives.
pub struct InFlight<'a>(&'a Gauge);

impl<'a> InFlight<'a> {
    pub fn enter(gauge: &'a Gauge) -> Self {
        gauge.add(1);
        InFlight(gauge)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// Upper bounds of a histogram's buckets: `first`, then each `factor` times the one before.
#[derive(Clone, Copy, Debug)]
pub struct Exponential {
    pub first: f64,
    pub factor: f64,
    pub count: usize,
}

/// 1 ms to 8 s: how etcd measures disks and requests.
pub const SECONDS: Exponential = Exponential {
    first: 0.001,
    factor: 2.0,
    count: 14,
};

impl Exponential {
    fn bounds(self) -> Vec<f64> {
        std::iter::successors(Some(self.first), |b| Some(b * self.factor))
            .take(self.count)
            .collect()
    }
}

/// Counts observations by size.
pub struct Histogram {
    bounds: Vec<f64>,
    /// One more than bounds: the last takes everything above.
    buckets: Vec<AtomicU64>,
    /// Bits of an `f64`.
    sum: AtomicU64,
}

impl Histogram {
    pub fn new(bounds: Vec<f64>) -> Histogram {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram {
            bounds,
            buckets,
            sum: AtomicU64::new(0),
        }
    }

    pub fn exponential(of: Exponential) -> Histogram {
        Histogram::new(of.bounds())
    }

    pub fn observe(&self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let add = |bits: u64| Some((f64::from_bits(bits) + value).to_bits());
        // It always succeeds: the closure always gives a value.
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    pub fn observe_seconds(&self, took: Duration) {
        self.observe(took.as_secs_f64());
    }

    /// Observes how long the answer lives.
    pub fn time(&self) -> Timed<'_> {
        Timed {
            into: self,
            begun: Instant::now(),
        }
    }

    /// Upper bound and number of observations at or below it, then all of them, then their sum.
    pub fn read(&self) -> (Vec<(f64, u64)>, u64, f64) {
        let mut below = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        for (bound, bucket) in self.bounds.iter().zip(&self.buckets) {
            below += bucket.load(Ordering::Relaxed);
            buckets.push((*bound, below));
        }
        let above = self.buckets.last().map_or(0, |b| b.load(Ordering::Relaxed));
        (buckets, below + above, f64::from_bits(self.sum.load(Ordering::Relaxed)))
    }
}

/// A stopwatch that runs until it is dropped.
pub struct Timed<'a> {
    into: &'a Histogram,
    begun: Instant,
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        self.into.observe_seconds(self.begun.elapsed());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn counts_of_all_threads_add_up() {
        let counter = Counter::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1000).for_each(|_| counter.inc()));
            }
        });
        assert_eq!(counter.get(), 8000);
    }

    #[test]
    fn a_value_at_a_bound_is_below_it() {
        let histogram = Histogram::new(vec![1.0, 2.0]);
        [0.5, 1.0, 1.5, 2.0, 9.0].into_iter().for_each(|v| histogram.observe(v));
        let (buckets, count, sum) = histogram.read();
        assert_eq!(buckets, [(1.0, 2), (2.0, 4)]);
        assert_eq!((count, sum), (5, 14.0));
    }

    #[test]
    fn bounds_are_etcds() {
        let bounds = SECONDS.bounds();
        assert_eq!((bounds.first().copied(), bounds.len()), (Some(0.001), 14));
        assert!((bounds.last().unwrap() - 8.192).abs() < 1e-9);
    }
}
