//! When leases expire. It is told the time with each call and knows no clock.

use ahash::AHashMap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// A revocation that has not come through after this long is asked for again.
const REVOKE_RETRY: Duration = Duration::from_secs(3);

struct Timed {
    ttl: Duration,
    deadline: Duration,
}

/// Times are durations since any fixed moment.
#[derive(Default)]
pub struct LeaseBook {
    leases: AHashMap<i64, Timed>,
    /// Not before these moments can the lease expire; a renewal leaves its old moment here until it comes.
    queue: BinaryHeap<Reverse<(Duration, i64)>>,
}

fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}

impl LeaseBook {
    /// A lease begins, or begins anew with `first_seconds` to go of its TTL.
    pub fn grant(&mut self, id: i64, ttl_seconds: i64, first_seconds: i64, now: Duration) {
        let deadline = now + seconds(first_seconds);
        self.leases.insert(
            id,
            Timed {
                ttl: seconds(ttl_seconds),
                deadline,
            },
        );
        self.queue.push(Reverse((deadline, id)));
    }

    pub fn revoke(&mut self, id: i64) {
        self.leases.remove(&id);
    }

    /// Starts the TTL again; its seconds, or `None` when the lease is unknown or has expired.
    pub fn renew(&mut self, id: i64, now: Duration) -> Option<i64> {
        let lease = self.leases.get_mut(&id).filter(|l| l.deadline > now)?;
        lease.deadline = now + lease.ttl;
        i64::try_from(lease.ttl.as_secs()).ok()
    }

    /// Whole seconds that are left.
    pub fn remaining_seconds(&self, id: i64, now: Duration) -> Option<i64> {
        let left = self.leases.get(&id)?.deadline.saturating_sub(now);
        i64::try_from(left.as_secs()).ok()
    }

    /// Up to `max` leases whose time is over; asked again only after [`REVOKE_RETRY`].
    pub fn expired(&mut self, now: Duration, max: usize) -> Vec<i64> {
        let mut over = Vec::new();
        while over.len() < max
            && let Some(Reverse((due, id))) = self.queue.peek().copied()
            && due <= now
        {
            self.queue.pop();
            let Some(lease) = self.leases.get(&id) else { continue };
            if lease.deadline <= now {
                over.push(id);
                self.queue.push(Reverse((now + REVOKE_RETRY, id)));
            } else {
                self.queue.push(Reverse((lease.deadline, id)));
            }
        }
        over
    }

    /// The earliest moment at which something may expire.
    pub fn next_due(&self) -> Option<Duration> {
        self.queue.peek().map(|Reverse((due, _))| *due)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn leases_expire_when_their_time_is_over_and_not_before() {
        let mut book = LeaseBook::default();
        book.grant(1, 5, 5, at(0));
        book.grant(2, 3, 3, at(0));
        assert_eq!(book.next_due(), Some(at(3)));
        assert!(book.expired(at(2), 10).is_empty());
        assert_eq!(book.expired(at(3), 10), [2]);
        assert_eq!(book.expired(at(5), 10), [1]);
    }

    #[test]
    fn a_renewal_moves_the_end() {
        let mut book = LeaseBook::default();
        book.grant(1, 5, 5, at(0));
        assert_eq!(book.renew(1, at(4)), Some(5));
        assert!(book.expired(at(5), 10).is_empty());
        assert_eq!(book.next_due(), Some(at(9)));
        assert_eq!(book.remaining_seconds(1, at(6)), Some(3));
        assert_eq!(book.expired(at(9), 10), [1]);
        assert_eq!(book.renew(1, at(9)), None);
        assert_eq!(book.renew(7, at(9)), None);
    }

    #[test]
    fn a_revocation_is_asked_for_again_until_it_comes() {
        let mut book = LeaseBook::default();
        book.grant(1, 2, 2, at(0));
        assert_eq!(book.expired(at(2), 10), [1]);
        assert!(book.expired(at(3), 10).is_empty());
        assert_eq!(book.expired(at(5), 10), [1]);
        book.revoke(1);
        assert!(book.expired(at(60), 10).is_empty());
        assert_eq!(book.next_due(), None);
    }

    #[test]
    fn expiry_comes_in_bounded_portions() {
        let mut book = LeaseBook::default();
        (0..10).for_each(|id| book.grant(id, 2, 2, at(0)));
        assert_eq!(book.expired(at(2), 4).len(), 4);
        assert_eq!(book.expired(at(2), 4).len(), 4);
        assert_eq!(book.expired(at(2), 4).len(), 2);
    }

    #[test]
    fn a_remainder_counts_once() {
        let mut book = LeaseBook::default();
        book.grant(1, 100, 10, at(0));
        assert_eq!(book.remaining_seconds(1, at(0)), Some(10));
        assert_eq!(book.renew(1, at(5)), Some(100));
        assert_eq!(book.remaining_seconds(1, at(5)), Some(100));
    }
}
