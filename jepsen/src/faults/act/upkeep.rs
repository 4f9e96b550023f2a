//! What operators do every day, at the worst time.

use crate::faults::scene::Act;
use crate::faults::step::Victims;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Compacts again and again, up to some revisions behind the newest.
pub(super) fn compact(act: &Act<'_>, every_ms: u64, behind_max: i64, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let nodes: Vec<usize> = act.world().nodes().collect();
    let end = Instant::now() + Duration::from_millis(act.step.for_ms);
    act.begin(&nodes, json!({"every_ms": every_ms, "behind_max": behind_max}));
    let (mut done, mut compacted, mut refused) = (0, 0, false);
    while Instant::now() < end && act.scene.rest(Duration::from_millis(every_ms)) {
        // Clients compact too: what is behind theirs is refused, and the newest never is for long.
        let behind = if refused { 0 } else { rng.random_range(0..=behind_max) };
        let Some(revision) = act.admin().revision().map(|r| r - behind) else {
            continue;
        };
        if revision <= compacted {
            continue;
        }
        // Before it is sent: from here on what is older may be gone.
        act.effect("compact", &nodes, json!({"revision": revision}));
        let outcome = act.admin().compact(revision);
        refused = outcome.as_ref().is_err_and(|e| e.is_compacted());
        match outcome {
            Ok(()) => {
                (done, compacted) = (done + 1, revision);
                act.effect("compaction", &nodes, json!({"revision": revision}));
            }
            Err(e) => act.effect(
                "compact-failed",
                &nodes,
                json!({"revision": revision, "definite": e.definite, "error": e.to_string()}),
            ),
        }
    }
    act.end(&nodes, json!({"done": done}));
}

pub(super) fn defragment(act: &Act<'_>, victims: &Victims) {
    for node in act.victims(victims) {
        if act.scene.is_stopped() {
            return;
        }
        act.begin(&[node], Value::Null);
        let outcome = act.admin().defragment(node);
        act.end(&[node], json!({"error": outcome.err()}));
    }
}
