//! Seeds that found something once.
#![allow(clippy::unwrap_used)]

use keelson_sim::{Options, run};

fn good(seed: u64, steps: u64) {
    let report = run(&Options {
        steps,
        ..Options::new(seed)
    })
    .unwrap();
    assert_eq!(report.violation, None, "seed {seed}\n{}", report.lines.join("\n"));
}

/// A follower applied what a quorum had and its own disk had not yet. Its state was flushed, the power went, and the log
/// ended before the state: the member refused to start. Now entries are applied when they are durable here.
#[test]
fn a_state_that_was_flushed_is_never_ahead_of_the_log() {
    for seed in [317, 345, 353, 376] {
        good(seed, 150);
    }
}

/// As the first one was found: an orderly stop closes the log before the state is flushed for the last time.
#[test]
fn a_stop_writes_the_log_to_its_end() {
    good(301, 150);
}

/// A stream read on from a place in the log that was purged meanwhile, and got what came after the hole.
#[test]
fn a_purge_leaves_no_hole_in_a_stream() {
    good(338, 150);
}
