//! Leases shared by many short-lived objects (upstream: etcd3/lease_manager.go).
//!
//! Invariant: an object attached to a lease lives at least its own TTL and at most 5% (or a minute) longer.
use std::time::{Duration, Instant};

/// Objects on one lease; upstream's default.
const OBJECTS_MAX: u32 = 1000;
/// How much longer than asked a lease lives, so that it can be shared for that time.
const REUSE_FRACTION: f64 = 0.05;
const REUSE_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct Shared {
    id: i64,
    ttl_seconds: u64,
    objects: u32,
    /// Until then an object attached to it still lives its whole TTL.
    reuse_until: Option<Instant>,
}

impl Shared {
    /// The lease for another object of that TTL, if the current one still serves.
    pub(crate) fn take(&mut self, ttl_seconds: u64, now: Instant) -> Option<i64> {
        let fits = self.ttl_seconds == ttl_seconds
            && self.objects < OBJECTS_MAX
            && self.reuse_until.is_some_and(|until| now < until);
        if !fits {
            return None;
        }
        self.objects += 1;
        Some(self.id)
    }

    pub(crate) fn set(&mut self, id: i64, ttl_seconds: u64, now: Instant) {
        *self = Shared {
            id,
            ttl_seconds,
            objects: 1,
            reuse_until: Some(now + reuse(ttl_seconds)),
        };
    }
}

/// TTL to ask the store for.
pub(crate) fn granted_seconds(ttl_seconds: u64) -> i64 {
    i64::try_from(ttl_seconds.saturating_add(reuse(ttl_seconds).as_secs())).unwrap_or(i64::MAX)
}

fn reuse(ttl_seconds: u64) -> Duration {
    Duration::from_secs((ttl_seconds as f64 * REUSE_FRACTION) as u64).min(REUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_shared_for_a_while_and_for_one_ttl() {
        let (mut s, t) = (Shared::default(), Instant::now());
        assert_eq!(s.take(3600, t), None);
        s.set(7, 3600, t);
        assert_eq!(s.take(3600, t), Some(7));
        assert_eq!(s.take(60, t), None);
        assert_eq!(s.take(3600, t + Duration::from_secs(61)), None);
        assert_eq!(granted_seconds(3600), 3660);
    }
}
