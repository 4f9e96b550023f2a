//! Times in buckets whose width is at most a thirty-second of their value: quantiles of any number of samples in a few KiB.

use std::time::Duration;

const STEPS: usize = 32;

#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            counts: vec![0; 64 * STEPS],
            total: 0,
        }
    }
}

fn bucket(nanos: u64) -> usize {
    let high = 63 - (nanos | STEPS as u64).leading_zeros() as usize;
    let shift = high - 5;
    shift * STEPS + (nanos >> shift) as usize
}

fn upper(bucket: usize) -> u64 {
    if bucket < 2 * STEPS {
        return bucket as u64;
    }
    let shift = bucket / STEPS - 1;
    let mantissa = (bucket - shift * STEPS) as u64;
    ((mantissa + 1) << shift) - 1
}

impl Histogram {
    pub fn add(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos())
            .unwrap_or(u64::MAX >> 8)
            .min(u64::MAX >> 8);
        if let Some(count) = self.counts.get_mut(bucket(nanos)) {
            *count += 1;
            self.total += 1;
        }
    }

    /// `q` between 0 and 1; zero without samples.
    pub fn quantile(&self, q: f64) -> Duration {
        let wanted = (self.total as f64 * q).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && *count > 0 {
                return Duration::from_nanos(upper(at));
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_thirty_second() {
        let mut h = Histogram::default();
        (1..=100_000u64).for_each(|n| h.add(Duration::from_nanos(n * 17)));
        for q in [0.01, 0.5, 0.99, 1.0] {
            let exact = 1_700_000.0 * q;
            let got = h.quantile(q).as_nanos() as f64;
            assert!((got - exact).abs() <= exact / 31.0 + 17.0, "{q}: {got} for {exact}");
        }
        assert_eq!(Histogram::default().quantile(0.5), Duration::ZERO);
    }

    #[test]
    fn buckets_are_in_order_and_hold_their_values() {
        let mut last = 0;
        for nanos in (0..5_000u64).chain((13..40).map(|p| 1 << p)) {
            let at = bucket(nanos);
            assert!(at >= last, "{nanos}");
            assert!(upper(at) >= nanos, "{nanos}: {} {}", at, upper(at));
            last = at;
        }
    }
}
