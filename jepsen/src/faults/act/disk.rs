//! Disks that are slow or full, and syncs that fail or take long.

use super::process::restart;
use crate::faults::scene::{Act, until};
use crate::faults::step::{Fault, Victims};
use crate::world::{DiskRate, State, SyncFault};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A member that gives up needs this long to close; one that is healthy after it goes on.
const DECIDES: Duration = Duration::from_secs(2);
/// It has done either within this time, unless other faults keep it from both.
const DECIDED: Duration = Duration::from_secs(10);

pub(super) fn slow(act: &Act<'_>) {
    let Fault::SlowDisk {
        victims,
        bytes_per_s,
        writes_per_s,
    } = &act.step.fault
    else {
        return;
    };
    let rate = DiskRate {
        bytes_per_s: *bytes_per_s,
        writes_per_s: *writes_per_s,
    };
    let world = act.world();
    let nodes = act.each_softly(&act.victims(victims), |node| world.slow_disk(node, Some(rate)));
    act.begin(
        &nodes,
        json!({"bytes_per_s": bytes_per_s, "writes_per_s": writes_per_s}),
    );
    act.last();
    act.each_softly(&nodes, |node| world.slow_disk(node, None));
    act.end(&nodes, Value::Null);
}

/// A member whose sync failed is to end, rather than go on as if nothing was.
pub(super) fn sync_error(act: &Act<'_>, victims: &Victims) {
    let world = act.world();
    let victims = act.victims(victims);
    let fragile = act.fragile(&victims);
    let nodes = act.each_softly(&victims, |node| world.sync_fault(node, Some(SyncFault::Fail)));
    act.begin(&nodes, Value::Null);
    act.last();
    act.each_softly(&nodes, |node| world.sync_fault(node, None));
    settle(act, &nodes);
    act.end(&nodes, Value::Null);
    drop(fragile);
}

pub(super) fn sync_slow(act: &Act<'_>, victims: &Victims, delay_ms: u64) {
    let world = act.world();
    let fault = SyncFault::Slow(Duration::from_millis(delay_ms));
    let nodes = act.each_softly(&act.victims(victims), |node| world.sync_fault(node, Some(fault)));
    act.begin(&nodes, json!({"delay_ms": delay_ms}));
    act.last();
    act.each_softly(&nodes, |node| world.sync_fault(node, None));
    act.end(&nodes, Value::Null);
}

pub(super) fn full(act: &Act<'_>, victims: &Victims) {
    let world = act.world();
    let victims = act.victims(victims);
    let fragile = act.fragile(&victims);
    let filled = act.each(&victims, |node| world.fill_disk(node));
    let nodes: Vec<usize> = filled.iter().map(|(node, _)| *node).collect();
    act.begin(&nodes, json!({"filled": filled}));
    act.last();
    act.each_softly(&nodes, |node| world.free_disk(node));
    settle(act, &nodes);
    act.end(&nodes, Value::Null);
    drop(fragile);
}

/// Waits until each member has ended or shows that it goes on; the ended are written down and started again.
fn settle(act: &Act<'_>, nodes: &[usize]) {
    let world = act.world();
    let begin = Instant::now();
    for &node in nodes {
        // An error of this end is none: neither ended nor healthy may be the work of another fault.
        let _ = until(begin + DECIDED, || match world.state(node) {
            State::Ended(status) => {
                act.effect("gave-up", &[node], json!({"status": status.to_string()}));
                Ok(())
            }
            State::Running if begin.elapsed() > DECIDES => world.health(node),
            other => Err(format!("{other:?}")),
        });
    }
    restart(act, nodes);
}
