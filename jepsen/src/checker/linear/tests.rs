#![allow(clippy::unwrap_used)]

use super::*;
use porcupine_rs as porcupine;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// A register of small numbers, which may be absent.
struct Register;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Write(u8),
    Read(Option<u8>),
    /// The answer is `None` when it never came.
    Cas(u8, u8, Option<bool>),
}

fn step(state: Option<u8>, op: Step) -> Option<Option<u8>> {
    match op {
        Step::Write(value) => Some(Some(value)),
        Step::Read(value) => (value == state).then_some(state),
        Step::Cas(from, to, answer) => {
            let done = state == Some(from);
            if answer.is_some_and(|answer| answer != done) {
                return None;
            }
            Some(if done { Some(to) } else { state })
        }
    }
}

impl Model for Register {
    type State = Option<u8>;
    type Op = Step;

    fn init(&self) -> Option<u8> {
        None
    }

    fn step(&self, state: &Option<u8>, op: &Step) -> Option<Option<u8>> {
        step(*state, *op)
    }
}

/// The same for the oracle.
#[derive(Clone, Debug)]
struct Oracle;

impl porcupine::Model for Oracle {
    type State = Option<u8>;
    type Op = Step;
    type Metadata = ();

    fn init() -> Option<u8> {
        None
    }

    fn step(state: &Option<u8>, op: &Step) -> (bool, Option<u8>) {
        match step(*state, *op) {
            Some(next) => (true, next),
            None => (false, *state),
        }
    }
}

fn oracle_says(calls: &[Call<Step>]) -> bool {
    let operations: Vec<porcupine::Operation<Oracle>> = calls
        .iter()
        .map(|call| porcupine::Operation {
            client_id: None,
            call_time: i64::try_from(call.call_ns).unwrap(),
            return_time: call.return_ns.map_or(i64::MAX, |at| i64::try_from(at).unwrap()),
            op: call.op,
            metadata: None,
        })
        .collect();
    porcupine::check_operations(&operations)
}

/// A history of `ops` operations with answers that may be right: they come of a random order of the effects, some of
/// them changed afterwards.
fn random_calls(rng: &mut StdRng, ops: usize, overlap: u64, lies: bool) -> Vec<Call<Step>> {
    let mut calls = Vec::new();
    let mut state = None;
    let mut used = std::collections::HashSet::new();
    let mut time = |rng: &mut StdRng, from: u64, to: u64| loop {
        // Times differ, since whether equal ones overlap is a matter of definition.
        let at = rng.random_range(from..=to) * 1024 + rng.random_range(0..1024);
        if used.insert(at) {
            return at;
        }
    };
    for at in 0..ops {
        let effect = 1 + 10 * at as u64 + overlap;
        let open = rng.random_ratio(1, 6);
        let mut op = match rng.random_range(0..3) {
            0 => Step::Write(rng.random_range(0..4)),
            1 => Step::Read(state),
            _ => {
                let from = state
                    .filter(|_| rng.random_ratio(2, 3))
                    .unwrap_or(rng.random_range(0..4));
                Step::Cas(from, rng.random_range(0..4), (!open).then_some(state == Some(from)))
            }
        };
        let effective = !open || rng.random();
        if effective {
            state = step(state, op).unwrap();
        }
        if lies && !open && rng.random_ratio(1, 8) {
            op = match op {
                Step::Read(_) => Step::Read(rng.random_ratio(4, 5).then(|| rng.random_range(0..4))),
                Step::Cas(from, to, Some(done)) => Step::Cas(from, to, Some(!done)),
                other => other,
            };
        }
        if open && matches!(op, Step::Read(_)) {
            continue;
        }
        calls.push(Call {
            op,
            call_ns: time(rng, effect - overlap.min(effect), effect),
            return_ns: (!open).then(|| time(rng, effect + 1, effect + 1 + overlap)),
            alike: match op {
                Step::Write(value) => u64::from(value),
                Step::Cas(from, to, _) => 100 + 10 * u64::from(from) + u64::from(to),
                Step::Read(_) => 1000,
            },
        });
    }
    calls.shuffle(rng);
    calls
}

#[test]
fn agrees_with_an_oracle_on_random_histories() {
    let (mut yes, mut no) = (0, 0);
    for seed in 0..6_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (ops, overlap) = (rng.random_range(1..14), rng.random_range(0..60));
        let calls = random_calls(&mut rng, ops, overlap, seed % 3 != 0);
        let found = search(&Register, &calls, Bounds::default());
        let expected = oracle_says(&calls);
        assert_eq!(
            found.linearizable == Linearizable::Yes,
            expected,
            "seed {seed}: {calls:#?}"
        );
        *if expected { &mut yes } else { &mut no } += 1;
    }
    assert!(yes > 600 && no > 600, "one-sided: {yes} and {no}");
}

/// A partial linearization must itself be an order of the model within the intervals.
fn assert_partial(calls: &[Call<Step>], partial: &Partial<Option<u8>>) {
    let mut state = None;
    let whole = partial.tail.len() == partial.length;
    for (at, &(position, after)) in partial.tail.iter().enumerate() {
        if whole {
            state = step(state, calls[position].op).expect("the model takes it");
            assert_eq!(state, after);
        }
        for &(later, _) in &partial.tail[at + 1..] {
            assert!(
                calls[later].return_ns.is_none_or(|end| end >= calls[position].call_ns),
                "order of time"
            );
        }
    }
    let stuck = partial.stuck.expect("something is left");
    assert!(partial.refused.contains(&stuck));
    assert!(partial.tail.iter().all(|&(position, _)| position != stuck));
}

proptest! {
    #[test]
    fn true_histories_pass_and_partial_orders_are_orders(seed: u64, ops in 1_usize..80, overlap in 0_u64..25, lies: bool) {
        let calls = random_calls(&mut StdRng::seed_from_u64(seed), ops, overlap, lies);
        let found = search(&Register, &calls, Bounds::default());
        if lies {
            for partial in &found.partials {
                assert_partial(&calls, partial);
            }
        } else {
            prop_assert_eq!(found.linearizable, Linearizable::Yes);
        }
    }
}

fn call(op: Step, call_ns: u64, return_ns: u64) -> Call<Step> {
    Call {
        op,
        call_ns,
        return_ns: Some(return_ns),
        alike: 0,
    }
}

#[test]
fn a_stale_read_is_no_order_and_the_report_says_where() {
    let calls = [
        call(Step::Write(1), 0, 10),
        call(Step::Write(2), 20, 30),
        call(Step::Read(Some(1)), 40, 50),
    ];
    let found = search(&Register, &calls, Bounds::default());
    assert_eq!(found.linearizable, Linearizable::No);
    let partial = &found.partials[0];
    assert_eq!((partial.length, partial.state, partial.stuck), (2, Some(2), Some(2)));
    assert_eq!(partial.tail, [(0, Some(1)), (1, Some(2))]);
}

#[test]
fn equal_times_overlap() {
    let calls = [call(Step::Write(1), 0, 10), call(Step::Read(None), 10, 10)];
    assert_eq!(
        search(&Register, &calls, Bounds::default()).linearizable,
        Linearizable::Yes
    );
}

#[test]
fn a_bound_makes_it_unknown() {
    let calls: Vec<_> = (0..24)
        .map(|i| call(Step::Write(i), 0, 100))
        .chain([call(Step::Read(Some(99)), 0, 100)])
        .collect();
    let bounds = Bounds {
        steps: 10_000,
        time: Duration::from_secs(60),
    };
    assert!(matches!(
        search(&Register, &calls, bounds).linearizable,
        Linearizable::Unknown(_)
    ));
}

#[test]
fn a_long_history_with_many_lost_writes_is_fast() {
    // Every tenth write ended indefinitely and was never seen; the last read is wrong, so all has to be tried.
    let mut calls = Vec::new();
    for at in 0..30_000_u64 {
        let value = u8::try_from(at % 200).unwrap();
        let mut write = call(Step::Write(value), at * 10, at * 10 + 5);
        if at % 10 == 0 && at < 3_000 {
            write.op = Step::Write(255);
            write.return_ns = None;
        }
        calls.push(write);
        if at % 10 != 0 {
            calls.push(call(Step::Read(Some(value)), at * 10 + 6, at * 10 + 14));
        }
    }
    calls.push(call(Step::Read(Some(250)), 1_000_000, 1_000_001));
    let found = search(&Register, &calls, Bounds::default());
    assert_eq!(found.linearizable, Linearizable::No, "after {} steps", found.steps);
}
