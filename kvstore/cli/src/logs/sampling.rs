//! Thins out what repeats: of each message of ours, a hundred lines a second and then every hundredth; of each place in
//! a library, five a second and then every thousandth.

use crate::notice::Level;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters; messages share one when their hashes meet.
const SLOTS: usize = 1024;
const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// What counts as the same line again.
#[derive(Hash)]
pub enum Repeated<'a> {
    /// Our own messages: what varies stands in fields.
    Message(&'a str),
    /// A place in a library: what varies stands in the message, so that no two are alike, and a peer that is away is
    /// worth hundreds of them a second.
    Place(&'a str, u32),
}

impl Repeated<'_> {
    /// Lines in a second that are all written.
    fn first(&self) -> u64 {
        match self {
            Repeated::Message(_) => 100,
            Repeated::Place(..) => 5,
        }
    }

    /// After them one of so many is.
    fn thereafter(&self) -> u64 {
        match self {
            Repeated::Message(_) => 100,
            Repeated::Place(..) => 1000,
        }
    }
}

/// Each slot holds a second and the lines in it.
pub struct Sampling(Vec<AtomicU64>);

impl Sampling {
    pub fn new() -> Sampling {
        Sampling((0..SLOTS).map(|_| AtomicU64::new(0)).collect())
    }

    pub fn admits(&self, level: Level, line: &Repeated<'_>, second: i64) -> bool {
        let mut hasher = DefaultHasher::new();
        (level.name(), line).hash(&mut hasher);
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
        count <= line.first() || (count - line.first()).is_multiple_of(line.thereafter())
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
                .filter(|_| sampling.admits(Level::Info, &Repeated::Message(message), second))
                .count()
        };
        assert_eq!(lines("a", 5), 109);
        assert_eq!(lines("a", 6), 109);
        assert!(sampling.admits(Level::Info, &Repeated::Message("b"), 6));
    }
    #[test]
    fn a_place_in_a_library_gets_less() {
        let sampling = Sampling::new();
        let lines = |line| {
            (0..1000)
                .filter(|_| sampling.admits(Level::Warn, &Repeated::Place("replication.rs", line), 5))
                .count()
        };
        assert_eq!(lines(1), 5);
        assert_eq!(lines(2), 5);
    }
}
