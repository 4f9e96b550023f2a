//! Answers remembered for a short time.
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// A map whose entries expire, and which never holds more than `entries_max`.
pub struct Cache<K, V> {
    entries: Mutex<HashMap<K, (Instant, V)>>,
    entries_max: usize,
}

impl<K: Eq + Hash + Clone, V: Clone> Cache<K, V> {
    pub fn new(entries_max: usize) -> Self {
        Cache {
            entries: Mutex::default(),
            entries_max,
        }
    }

    pub fn get(&self, key: &K, now: Instant) -> Option<V> {
        let entries = self.entries.lock();
        entries
            .get(key)
            .filter(|(until, _)| *until > now)
            .map(|(_, v)| v.clone())
    }

    pub fn put(&self, key: K, value: V, now: Instant, keep: Duration) {
        let mut entries = self.entries.lock();
        if entries.len() >= self.entries_max && !entries.contains_key(&key) {
            entries.retain(|_, (until, _)| *until > now);
        }
        while entries.len() >= self.entries_max && !entries.contains_key(&key) {
            let soonest = entries
                .iter()
                .min_by_key(|(_, (until, _))| *until)
                .map(|(k, _)| k.clone());
            match soonest {
                Some(k) => entries.remove(&k),
                None => return,
            };
        }
        entries.insert(key, (now + keep, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expires_and_stays_small() {
        let c = Cache::new(2);
        let now = Instant::now();
        let second = Duration::from_secs(1);
        c.put("a", 1, now, second);
        c.put("b", 2, now, 3 * second);
        assert_eq!(c.get(&"a", now), Some(1));
        assert_eq!(c.get(&"a", now + second), None);
        c.put("c", 3, now, 2 * second);
        assert_eq!(c.get(&"a", now), None, "the one that would expire first made room");
        assert_eq!((c.get(&"b", now), c.get(&"c", now)), (Some(2), Some(3)));
        c.put("c", 4, now, second);
        assert_eq!((c.get(&"b", now), c.get(&"c", now)), (Some(2), Some(4)));
    }
}
