//! What openraft needs of the crate `base2histogram`, without its tables.
//!
//! The published crate computes lookup tables for sixteen resolutions as soon as one histogram is made: 27 MB that stay
//! resident, and most of a member's start. openraft, without its `runtime-stats`, records one number per replication
//! batch and never reads it. This stand-in has one bucket a power of two.
//!
//! It goes when the published crate computes its tables on demand.

use std::fmt;
use std::marker::PhantomData;

const BUCKETS: usize = 65;

/// Counts of values by their number of significant bits.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: [u64; BUCKETS],
    _slot: PhantomData<T>,
}

impl<T> Histogram<T> {
    pub fn new() -> Self {
        Histogram {
            counts: [0; BUCKETS],
            _slot: PhantomData,
        }
    }

    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    pub fn record_n(&mut self, value: u64, count: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        self.counts[bucket] = self.counts[bucket].saturating_add(count);
    }

    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// The largest value of the bucket in which the quantile falls; 0 without samples.
    fn quantile(&self, permille: u64) -> u64 {
        let wanted = self.total().saturating_mul(permille).div_ceil(1000);
        let mut seen: u64 = 0;
        for (bits, count) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(*count);
            if *count > 0 && seen >= wanted {
                return u64::MAX.checked_shr(u64::BITS - bits as u32).unwrap_or(0);
            }
        }
        0
    }

    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.quantile(1),
            p1: self.quantile(10),
            p5: self.quantile(50),
            p10: self.quantile(100),
            p50: self.quantile(500),
            p90: self.quantile(900),
            p99: self.quantile(990),
            p99_9: self.quantile(999),
        }
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Histogram<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.percentile_stats().fmt(f)
    }
}

/// Upper bounds of the values at these percentiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "[samples: {}, P50: {}, P90: {}, P99: {}]",
            self.samples, self.p50, self.p90, self.p99
        )
    }
}

/// Several histograms by name; shown as a line each.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart {
    rows: Vec<(String, PercentileStats)>,
}

impl AsciiChart {
    pub fn new() -> Self {
        Self::default()
    }

    #[expect(clippy::should_implement_trait, reason = "the name is openraft's to choose")]
    pub fn add<T>(mut self, name: impl Into<String>, histogram: Histogram<T>) -> Self {
        self.rows.push((name.into(), histogram.percentile_stats()));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows
            .iter()
            .try_for_each(|(name, stats)| writeln!(f, "{name}: {stats}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_upper_bounds() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats().p50, 0);
        histogram.record_n(5, 90);
        histogram.record_n(1000, 10);
        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, stats.p50, stats.p90, stats.p99), (100, 7, 7, 1023));
        histogram.record(u64::MAX);
        histogram.record(0);
        assert_eq!(histogram.total(), 102);
        assert_eq!(histogram.percentile_stats().p99_9, u64::MAX);
    }
}
