//! What a controller has asked for and not yet seen (client-go `ControllerExpectations`).
//!
//! Between a create and its event the local copy is behind; acting on it would create twice. A controller
//! therefore waits until its expectations are met, or [`EXPECTATIONS_MAX`] has passed, which means events were lost.
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// After this long an expectation no longer holds a controller back.
pub const EXPECTATIONS_MAX: Duration = Duration::from_secs(5 * 60);

#[derive(Debug)]
struct Expected {
    creations: i64,
    /// Keys of the objects whose deletion was asked.
    deletions: HashSet<String>,
    since: Instant,
}

#[derive(Default, Debug)]
pub struct Expectations {
    by_owner: Mutex<HashMap<String, Expected>>,
}

impl Expectations {
    pub fn expect_creations(&self, owner: &str, count: usize) {
        self.set(owner, count as i64, HashSet::new());
    }
    pub fn expect_deletions(&self, owner: &str, keys: impl IntoIterator<Item = String>) {
        self.set(owner, 0, keys.into_iter().collect());
    }
    pub fn expect(&self, owner: &str, creations: usize, deletions: impl IntoIterator<Item = String>) {
        self.set(owner, creations as i64, deletions.into_iter().collect());
    }
    fn set(&self, owner: &str, creations: i64, deletions: HashSet<String>) {
        self.by_owner.lock().insert(
            owner.to_owned(),
            Expected {
                creations,
                deletions,
                since: Instant::now(),
            },
        );
    }
    pub fn creation_observed(&self, owner: &str) {
        if let Some(e) = self.by_owner.lock().get_mut(owner) {
            e.creations -= 1;
        }
    }
    pub fn deletion_observed(&self, owner: &str, key: &str) {
        if let Some(e) = self.by_owner.lock().get_mut(owner) {
            e.deletions.remove(key);
        }
    }
    pub fn forget(&self, owner: &str) {
        self.by_owner.lock().remove(owner);
    }
    /// `None` when the controller may act, else when it may at the latest.
    pub fn pending(&self, owner: &str) -> Option<Duration> {
        let mut m = self.by_owner.lock();
        let e = m.get(owner)?;
        let left = EXPECTATIONS_MAX.checked_sub(e.since.elapsed()).filter(|d| !d.is_zero());
        if (e.creations <= 0 && e.deletions.is_empty()) || left.is_none() {
            m.remove(owner);
            return None;
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_waits_for_what_it_asked() {
        let e = Expectations::default();
        assert!(e.pending("a").is_none());
        e.expect_creations("a", 2);
        e.creation_observed("a");
        assert!(e.pending("a").is_some());
        e.creation_observed("a");
        assert!(e.pending("a").is_none());
        e.expect_deletions("a", ["x".to_owned(), "y".to_owned()]);
        e.deletion_observed("a", "x");
        e.deletion_observed("a", "x");
        assert!(e.pending("a").is_some());
        e.deletion_observed("a", "y");
        assert!(e.pending("a").is_none());
    }
}
