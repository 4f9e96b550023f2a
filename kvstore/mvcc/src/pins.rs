//! Revisions that readers are at: the physical part of a compaction stays below them.

use parking_lot::Mutex;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Pins {
    readers: Mutex<BTreeMap<i64, usize>>,
}

impl Pins {
    pub fn add(&self, revision: i64) {
        *self.readers.lock().entry(revision).or_default() += 1;
    }

    pub fn remove(&self, revision: i64) {
        let mut readers = self.readers.lock();
        if let Some(count) = readers.get_mut(&revision) {
            *count -= 1;
            if *count == 0 {
                readers.remove(&revision);
            }
        }
    }

    /// How many readers there are.
    pub fn count(&self) -> usize {
        self.readers.lock().values().sum()
    }

    /// The oldest revision someone reads at.
    pub fn oldest(&self) -> Option<i64> {
        self.readers.lock().keys().next().copied()
    }
}
