//! Flags that make rare things happen often.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngCore, SeedableRng};

/// What a seed chooses from, by the name of the flag. Heartbeats and elections leave room for a machine that does more
/// than this.
const KNOBS: &[(&str, &[&str])] = &[
    ("heartbeat-interval", &["50", "100"]),
    ("election-timeout", &["800", "1000", "1500"]),
    ("snapshot-count", &["50", "100", "300", "1000"]),
    ("snapshot-catchup-entries", &["10", "50", "200"]),
    ("watch-progress-notify-interval", &["200ms", "1s"]),
    ("compaction-batch-limit", &["10", "100", "1000"]),
];

/// The flags of all members for this seed, with these, which win over what is drawn.
pub fn knobs(seed: u64, flags: &[String]) -> Vec<String> {
    let mut rng = StdRng::seed_from_u64(seed);
    // Not the numbers that the faults are drawn by.
    let mut rng = StdRng::seed_from_u64(rng.next_u64());
    let mut all: Vec<String> = Vec::new();
    for (name, values) in KNOBS {
        let value = values.choose(&mut rng).unwrap_or(&values[0]);
        let given = |flag: &String| flag.trim_start_matches('-').split('=').next() == Some(name);
        if !flags.iter().any(given) {
            all.push(format!("--{name}={value}"));
        }
    }
    all.extend(flags.iter().cloned());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_are_given_stay_and_the_seed_tells_the_others() {
        let given = ["--snapshot-count=7".to_owned()];
        let all = knobs(3, &given);
        assert_eq!(all, knobs(3, &given));
        assert_eq!(all.len(), KNOBS.len());
        assert_eq!(all.iter().filter(|f| f.contains("snapshot-count")).count(), 1);
        assert!(all.contains(&given[0]));
    }
}
