//! Processes that are killed, stopped, or lose their power or the time.

use crate::faults::scene::Act;
use crate::faults::step::{Fault, Victims};
use crate::world::{Loss, Skew};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) fn kill(act: &Act<'_>, victims: &Victims) {
    let world = act.world();
    let done = act.each(&act.victims(victims), |node| {
        world.kill(node);
        Ok(())
    });
    let nodes: Vec<usize> = done.into_iter().map(|(node, ())| node).collect();
    act.begin(&nodes, Value::Null);
    act.last();
    restart(act, &nodes);
    act.end(&nodes, Value::Null);
}

/// Starts what was stopped, unless it belongs to another fault by now.
pub(super) fn restart(act: &Act<'_>, nodes: &[usize]) {
    let world = act.world();
    act.each(nodes, |node| world.start_member(node));
}

pub(super) fn pause(act: &Act<'_>, victims: &Victims) {
    let world = act.world();
    let nodes = act.each_softly(&act.victims(victims), |node| world.pause(node));
    act.begin(&nodes, Value::Null);
    act.last();
    let resumed = act.each_softly(&nodes, |node| world.resume(node));
    act.end(&resumed, Value::Null);
}

pub(super) fn power_loss(act: &Act<'_>, victims: &Victims) {
    let world = act.world();
    let done = act.each(&act.victims(victims), |node| world.power_loss(node));
    let nodes: Vec<usize> = done.iter().map(|(node, _)| *node).collect();
    act.begin(&nodes, Value::Null);
    for (node, loss) in done {
        lost(act, node, loss);
    }
    act.last();
    restart(act, &nodes);
    act.end(&nodes, Value::Null);
}

/// Writes down what a power loss took.
pub(super) fn lost(act: &Act<'_>, node: usize, loss: Loss) {
    act.effect("bytes-lost", &[node], json!(loss));
}

pub(super) fn clock(act: &Act<'_>) {
    let Fault::Clock {
        victims,
        offset_ms,
        drift_ppm,
        strobe_ms,
        strobe_period_ms,
    } = &act.step.fault
    else {
        return;
    };
    let skew = Skew {
        offset_ms: *offset_ms,
        drift_ppm: *drift_ppm,
        strobe_ms: *strobe_ms,
        strobe_period: Duration::from_millis(*strobe_period_ms),
    };
    let world = act.world();
    let nodes = act.each_softly(&act.victims(victims), |node| world.skew(node, skew));
    act.begin(&nodes, json!(act.step.fault));
    act.last();
    act.each_softly(&nodes, |node| world.skew(node, Skew::default()));
    act.end(&nodes, Value::Null);
}
