//! Thins out what repeats: of each message, a hundred lines a second and then every hundredth.

use crate::notice::Level;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters; messages share one when their hashes meet.
const SLOTS: usize = 1024;
/// Lines of a message in a second that are all written.
const FIRST: u64 = 100;
/// After them one of so many is.
const THEREAFTER: u64 = 100;
const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// Each slot holds a second and the lines in it.
pub struct Sampling(Vec<AtomicU64>);

impl Sampling {
    pub fn new() -> Sampling {
        Sampling((0..SLOTS).map(|_| AtomicU64::new(0)).collect())
    }

    pub fn admits(&self, level: Level, message: &str, second: i64) -> bool {
        let mut hasher = DefaultHasher::new();
        (level.name(), message).hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % SLOTS as u64).unwrap_or_default();
        let Some(slot) = self.0.get(at) else { return true };
        let second = second.unsigned_abs() << COUNT_BITS;
        let next = |old: u64| {
            let count = if old & !COUNT_MASK == second {
                old & COUNT_MASK
            } else {
                0
            };
            second | (count + 1).min(COUNT_MASK)
        };
        let old = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(next(old)));
        let count = next(old.unwrap_or_default()) & COUNT_MASK;
        count <= FIRST || (count - FIRST).is_multiple_of(THEREAFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_thinned_out_and_other_messages_are_not() {
        let sampling = Sampling::new();
        let lines = |message: &str, second| {
            (0..1000)
                .filter(|_| sampling.admits(Level::Info, message, second))
                .count()
        };
        assert_eq!(lines("a", 5), 109);
        assert_eq!(lines("a", 6), 109);
        assert!(sampling.admits(Level::Info, "b", 6));
    }
}
