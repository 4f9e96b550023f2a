//! What breaks when, all of it from a seed.

use super::draw::{draw, lasts_ms};
use super::kind::Kind;
use super::step::Step;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Lanes of faults that go on side by side: one of these, drawn.
const LANES: &[usize] = &[1, 1, 1, 2, 2, 3];
/// The first fault of a lane begins within this time.
const FIRST_MS: std::ops::Range<u64> = 300..2000;
/// What passes between two faults of a lane.
const REST_MS: std::ops::Range<u64> = 1000..5000;
/// Faults that begin later than this before the end would hardly have begun.
const LAST_MS: u64 = 1000;

/// The faults of a run, in the order of their beginnings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub steps: Vec<Step>,
}

impl Plan {
    /// Draws faults of these kinds for members 1 to `nodes`. Every kind has its turn before one comes again; those
    /// that take a member's data away come one after another, never two at once.
    pub fn draw(seed: u64, kinds: &[Kind], time: Duration, nodes: usize) -> Plan {
        let mut rng = StdRng::seed_from_u64(seed);
        let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut plan = Plan::default();
        if kinds.is_empty() || nodes == 0 {
            return plan;
        }
        let lanes = LANES.choose(&mut rng).map_or(1, |lanes| *lanes).min(kinds.len());
        let mut order = kinds.to_vec();
        order.shuffle(&mut rng);
        for lane in 0..lanes {
            let of_lane: Vec<Kind> = order.iter().copied().skip(lane).step_by(lanes).collect();
            plan.lane(&mut rng, &of_lane, time_ms, nodes);
        }
        plan.steps.sort_by_key(|step| step.at_ms);
        for (number, step) in plan.steps.iter_mut().enumerate() {
            step.id = number as u64 + 1;
        }
        plan
    }

    fn lane(&mut self, rng: &mut StdRng, kinds: &[Kind], time_ms: u64, nodes: usize) {
        let mut at_ms = rng.random_range(FIRST_MS);
        let mut first = true;
        loop {
            let mut deck = kinds.to_vec();
            deck.shuffle(rng);
            let drawn: Vec<(Kind, u64, u64)> = deck
                .into_iter()
                .map(|kind| (kind, rng.random_range(lasts_ms(kind)), rng.random_range(REST_MS)))
                .collect();
            // In a short run all of them are shorter the first time, so that none is missing.
            let wanted_ms: u64 = drawn.iter().map(|(_, for_ms, rest_ms)| for_ms + rest_ms).sum();
            let room_ms = time_ms.saturating_sub(at_ms + LAST_MS);
            let squeeze = if first && wanted_ms > room_ms {
                room_ms as f64 / wanted_ms as f64
            } else {
                1.0
            };
            first = false;
            for (kind, for_ms, rest_ms) in drawn {
                if at_ms + LAST_MS >= time_ms {
                    return;
                }
                let for_ms = ((for_ms as f64 * squeeze) as u64).min(time_ms - at_ms);
                self.steps.push(Step {
                    id: 0,
                    at_ms,
                    for_ms,
                    fault: draw(rng, kind, nodes),
                });
                at_ms += for_ms + (rest_ms as f64 * squeeze) as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TIME: Duration = Duration::from_secs(120);

    #[test]
    fn the_seed_tells_the_plan_and_it_can_be_read_back() {
        let plan = Plan::draw(7, Kind::ALL, TIME, 5);
        assert_eq!(plan, Plan::draw(7, Kind::ALL, TIME, 5));
        assert_ne!(plan, Plan::draw(8, Kind::ALL, TIME, 5));
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }

    #[test]
    fn every_kind_has_its_turn_within_the_time() {
        for seed in 0..50 {
            for kind in Kind::ALL {
                let plan = Plan::draw(seed, &[*kind], Duration::from_secs(20), 3);
                assert!(!plan.steps.is_empty(), "{kind} {seed}");
                for (number, step) in plan.steps.iter().enumerate() {
                    assert_eq!(step.id, number as u64 + 1);
                    assert_eq!(step.fault.kind(), *kind);
                    assert!(step.at_ms + step.for_ms <= 20_000, "{step:?}");
                }
            }
            let all = Plan::draw(seed, Kind::ALL, Duration::from_secs(60), 3);
            for kind in Kind::ALL {
                assert!(all.steps.iter().any(|s| s.fault.kind() == *kind), "{kind} {seed}");
            }
        }
    }

    #[test]
    fn no_seed_breaks_a_bound() {
        for seed in 0..200 {
            for nodes in [1, 3, 5] {
                let plan = Plan::draw(seed, Kind::ALL, TIME, nodes);
                assert!(plan.steps.is_sorted_by_key(|s| s.at_ms));
            }
        }
    }
}
