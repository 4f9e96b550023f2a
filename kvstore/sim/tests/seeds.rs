//! What every change has to pass: seeds that must be good, and that they replay.
#![allow(clippy::unwrap_used)]

use keelson_sim::{Options, run, run_seeds};
use parking_lot::Mutex;

/// Seeds of one run of the tests. `keelson-sim --seeds` runs as many as one likes.
const SEEDS: u64 = 200;
/// Requests of a seed: enough for purges, snapshots and changes of members, and short enough for all the seeds.
const STEPS: u64 = 150;

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[test]
fn two_hundred_seeds_violate_nothing() {
    let options = |seed| Options {
        steps: STEPS,
        ..Options::new(seed)
    };
    let (bad, seen) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    run_seeds(1..=SEEDS, threads(), options, |report| {
        if let Some(violation) = &report.violation {
            let tail = report.lines.join("\n");
            bad.lock().push(format!("seed {}: {violation}\n{tail}", report.seed));
        }
        seen.lock().push(report.counts);
    })
    .unwrap();
    let bad = bad.into_inner();
    assert!(bad.is_empty(), "{} seeds:\n{}", bad.len(), bad.join("\n\n"));
    // And they saw something.
    let seen = seen.into_inner();
    let sum = |count: fn(&keelson_sim::Counts) -> u64| seen.iter().map(count).sum::<u64>();
    assert!(sum(|c| c.acked) > 10_000);
    assert!(sum(|c| c.unknown) > 500);
    assert!(sum(|c| c.reads) > 3000);
    assert!(sum(|c| c.events) > 5000);
    assert!(sum(|c| c.installs) > 50);
    assert!(sum(|c| c.crashes) > 1000);
    assert!(sum(|c| c.changes) > 30);
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 1..=6 {
        let runs = [1, 2].map(|_| run(&Options::new(seed)).unwrap());
        let [first, second] = &runs;
        assert_eq!(first.hash, second.hash, "seed {seed}");
        assert_eq!((first.polls, first.counts), (second.polls, second.counts));
        assert_eq!(first.lines, second.lines);
    }
    let other = run(&Options::new(7)).unwrap();
    assert_ne!(other.hash, run(&Options::new(8)).unwrap().hash);
}
