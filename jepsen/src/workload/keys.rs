//! Keys that are in use for a while and then replaced, so that no key has more operations than can be judged.

use std::sync::{Mutex, PoisonError};

/// Operations on a key that ended indefinitely, before another takes its place: each may take effect at any later
/// time, which a search has to try.
const DOUBTS_MAX: u32 = 6;

/// A number of places, each with the key in use there: `<workload>/<place>-<generation>`.
pub(super) struct Keys {
    workload: &'static str,
    ops_max: u32,
    places: Mutex<Vec<Place>>,
}

#[derive(Clone, Copy, Default)]
struct Place {
    generation: u32,
    ops: u32,
    doubts: u32,
}

impl Keys {
    /// Keys of this workload, each for so many operations.
    pub(super) fn new(workload: &'static str, places: usize, ops_max: u32) -> Keys {
        Keys {
            workload,
            ops_max,
            places: Mutex::new(vec![Place::default(); places]),
        }
    }

    /// The key of a place, for one operation.
    pub(super) fn take(&self, place: usize) -> String {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let held = &mut places[place];
        if held.ops >= self.ops_max || held.doubts >= DOUBTS_MAX {
            *held = Place {
                generation: held.generation + 1,
                ..Place::default()
            };
        }
        held.ops += 1;
        format!("{}/{place}-{}", self.workload, held.generation)
    }

    /// An operation on this place's key ended indefinitely.
    pub(super) fn doubt(&self, place: usize) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)[place].doubts += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_replaced_after_its_operations_or_doubts() {
        let keys = Keys::new("x", 2, 2);
        assert_eq!([keys.take(0), keys.take(0), keys.take(0)], ["x/0-0", "x/0-0", "x/0-1"]);
        assert_eq!(keys.take(1), "x/1-0");
        for _ in 0..DOUBTS_MAX {
            keys.doubt(1);
        }
        assert_eq!(keys.take(1), "x/1-1");
    }
}
