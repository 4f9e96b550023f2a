//! When leases expire, and when what is left of them is worth writing down. It is told the time with each call and
//! knows no clock.

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

/// What became of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It has its whole TTL again, seconds.
    Renewed(i64),
    /// Its time was over, and it is about to be revoked.
    Expired,
    Unknown,
}

type Queue = BinaryHeap<Reverse<(Duration, i64)>>;

/// Times are durations since any fixed moment.
pub struct LeaseBook {
    /// How often the remainder of a lease is written down; shorter ones are not.
    checkpoint_every: Duration,
    leases: AHashMap<i64, Timed>,
    /// Not before these moments can the lease expire; a renewal leaves its old moment here until it comes.
    queue: Queue,
    /// When to write down what is left.
    checkpoints: Queue,
}

fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}

impl LeaseBook {
    pub fn new(checkpoint_every: Duration) -> LeaseBook {
        LeaseBook {
            checkpoint_every,
            leases: AHashMap::new(),
            queue: Queue::new(),
            checkpoints: Queue::new(),
        }
    }

    /// A lease begins, or begins anew with `first` to go of its TTL.
    pub fn grant(&mut self, id: i64, ttl_seconds: i64, first: Duration, now: Duration) {
        let deadline = now + first;
        let ttl = seconds(ttl_seconds);
        self.leases.insert(id, Timed { ttl, deadline });
        self.queue.push(Reverse((deadline, id)));
        if first > self.checkpoint_every {
            self.checkpoints
                .push(Reverse((now.saturating_add(self.checkpoint_every), id)));
        }
    }

    pub fn revoke(&mut self, id: i64) {
        self.leases.remove(&id);
    }

    pub fn knows(&self, id: i64) -> bool {
        self.leases.contains_key(&id)
    }

    /// Starts the TTL again.
    pub fn renew(&mut self, id: i64, now: Duration) -> Renewal {
        let Some(lease) = self.leases.get_mut(&id) else {
            return Renewal::Unknown;
        };
        if lease.deadline <= now {
            return Renewal::Expired;
        }
        lease.deadline = now + lease.ttl;
        Renewal::Renewed(i64::try_from(lease.ttl.as_secs()).unwrap_or(i64::MAX))
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

    /// Up to `max` leases of which it is time to write down the remainder, with its seconds, rounded up.
    pub fn due_checkpoints(&mut self, now: Duration, max: usize) -> Vec<(i64, i64)> {
        let mut due_now = Vec::new();
        while due_now.len() < max
            && let Some(Reverse((due, id))) = self.checkpoints.peek().copied()
            && due <= now
        {
            self.checkpoints.pop();
            let Some(lease) = self.leases.get(&id) else { continue };
            let left = lease.deadline.saturating_sub(now);
            if left > self.checkpoint_every {
                self.checkpoints
                    .push(Reverse((now.saturating_add(self.checkpoint_every), id)));
            }
            if !left.is_zero() && left < lease.ttl {
                let up = left + Duration::from_nanos(999_999_999);
                due_now.push((id, i64::try_from(up.as_secs()).unwrap_or(i64::MAX)));
            }
        }
        due_now
    }

    pub fn next_checkpoint(&self) -> Option<Duration> {
        self.checkpoints.peek().map(|Reverse((due, _))| *due)
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
        let mut book = LeaseBook::new(at(300));
        book.grant(1, 5, at(5), at(0));
        book.grant(2, 3, at(3), at(0));
        assert_eq!(book.next_due(), Some(at(3)));
        assert!(book.expired(at(2), 10).is_empty());
        assert_eq!(book.expired(at(3), 10), [2]);
        assert_eq!(book.expired(at(5), 10), [1]);
    }

    #[test]
    fn a_renewal_moves_the_end() {
        let mut book = LeaseBook::new(at(300));
        book.grant(1, 5, at(5), at(0));
        assert_eq!(book.renew(1, at(4)), Renewal::Renewed(5));
        assert!(book.expired(at(5), 10).is_empty());
        assert_eq!(book.next_due(), Some(at(9)));
        assert_eq!(book.remaining_seconds(1, at(6)), Some(3));
        assert_eq!(book.expired(at(9), 10), [1]);
        assert_eq!(book.renew(1, at(9)), Renewal::Expired);
        assert_eq!(book.renew(7, at(9)), Renewal::Unknown);
    }

    #[test]
    fn a_revocation_is_asked_for_again_until_it_comes() {
        let mut book = LeaseBook::new(at(300));
        book.grant(1, 2, at(2), at(0));
        assert_eq!(book.expired(at(2), 10), [1]);
        assert!(book.expired(at(3), 10).is_empty());
        assert_eq!(book.expired(at(5), 10), [1]);
        book.revoke(1);
        assert!(book.expired(at(60), 10).is_empty());
        assert_eq!(book.next_due(), None);
    }

    #[test]
    fn expiry_comes_in_bounded_portions() {
        let mut book = LeaseBook::new(at(300));
        (0..10).for_each(|id| book.grant(id, 2, at(2), at(0)));
        assert_eq!(book.expired(at(2), 4).len(), 4);
        assert_eq!(book.expired(at(2), 4).len(), 4);
        assert_eq!(book.expired(at(2), 4).len(), 2);
    }

    #[test]
    fn a_remainder_counts_once() {
        let mut book = LeaseBook::new(at(300));
        book.grant(1, 100, at(10), at(0));
        assert_eq!(book.remaining_seconds(1, at(0)), Some(10));
        assert_eq!(book.renew(1, at(5)), Renewal::Renewed(100));
        assert_eq!(book.remaining_seconds(1, at(5)), Some(100));
    }

    #[test]
    fn what_is_left_of_long_leases_is_written_down_from_time_to_time() {
        let mut book = LeaseBook::new(at(300));
        book.grant(1, 1000, at(1000), at(0));
        book.grant(2, 300, at(300), at(0));
        assert_eq!(book.next_checkpoint(), Some(at(300)));
        assert!(book.due_checkpoints(at(299), 10).is_empty());
        assert_eq!(book.due_checkpoints(at(300), 10), [(1, 700)]);
        assert_eq!(book.due_checkpoints(at(600), 10), [(1, 400)]);
        assert_eq!(book.renew(1, at(700)), Renewal::Renewed(1000));
        assert_eq!(book.due_checkpoints(at(900), 10), [(1, 800)]);
        book.revoke(1);
        assert!(book.due_checkpoints(at(5000), 10).is_empty());
        assert_eq!(book.next_checkpoint(), None);
    }
}
