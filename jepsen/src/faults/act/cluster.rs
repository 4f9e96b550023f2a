//! Who is a member, who leads, and who has fallen so far behind that only a snapshot helps.

use super::destroy::{replace, take};
use crate::faults::scene::{Act, lock, until};
use crate::faults::shape::both;
use crate::faults::step::{Return, Victims};
use serde_json::json;
use std::time::{Duration, Instant};

/// The leadership is handed on within this time, or not.
const MOVE: Duration = Duration::from_secs(5);
/// How often entries are added to a log that is to be cut, and how many at once.
const LENGTHEN: Duration = Duration::from_millis(200);
const LENGTHEN_ENTRIES: usize = 100;
/// What the logs keep, when the flags do not say: those of etcd.
const SNAPSHOT_COUNT: u64 = 10_000;
/// A member is cut off for so long at least: what was on its way to it when the link broke is sent again until then, and
/// would bring it up to date without a snapshot.
const CUT_MIN: Duration = Duration::from_secs(4);
const CATCH_UP_ENTRIES: u64 = 5000;

/// A member is removed, its disk wiped, and it comes again.
pub(super) fn churn(act: &Act<'_>, victims: &Victims, how: Return) {
    let Some(&node) = act.victims(victims).first() else {
        return;
    };
    let Some((ward, _alone)) = take(act, node) else { return };
    act.begin(&[node], json!({"how": how}));
    let changed = replace(act, ward, node, how);
    if changed.is_ok() {
        act.effect("replaced", &[node], json!({"how": how}));
    }
    act.end(&[node], json!({"error": changed.err()}));
}

pub(super) fn move_leader(act: &Act<'_>, choice: usize) {
    let deadline = Instant::now() + MOVE;
    let mut attempts = 0;
    // The leader may not think well of the one that was chosen: then it is the next one's turn.
    let moved = until(deadline, || {
        attempts += 1;
        match act.admin().move_leader(choice + attempts - 1) {
            Err(e) if !act.scene.is_stopped() => Err(e),
            outcome => Ok(outcome),
        }
    });
    match moved.and_then(|outcome| outcome) {
        Ok((from, to)) => act.once(&[from, to], json!({"from": from, "to": to})),
        Err(e) => act.skipped(&[], e),
    }
}

/// A member is cut off from its peers until their logs begin after the end of its own.
pub(super) fn snapshot(act: &Act<'_>, node: usize) {
    // Two members away would be too many.
    let _alone = lock(&act.scene.membership);
    let world = act.world();
    let others: Vec<usize> = world.nodes().filter(|n| *n != node).collect();
    let index = |nodes: &[usize]| {
        let statuses = act.admin().statuses();
        let known = nodes
            .iter()
            .filter_map(|n| Some(statuses.get(n - 1)?.as_ref()?.raft_index));
        known.max()
    };
    let before = index(&[node]).or_else(|| index(&others)).unwrap_or(0);
    if let Err(e) = world.drop_packets(act.step.id, &both(&[node], &others), 100) {
        act.skipped(&[node], e);
        return;
    }
    let far = 2 * flag(act, "snapshot-count", SNAPSHOT_COUNT) + flag(act, "snapshot-catchup-entries", CATCH_UP_ENTRIES);
    act.begin(&[node], json!({"index": before, "entries": far}));
    let begun = Instant::now();
    let end = begun + Duration::from_millis(act.step.for_ms);
    let mut ahead = 0;
    while (ahead < far || begun.elapsed() < CUT_MIN) && Instant::now() < end && act.scene.rest(LENGTHEN) {
        // No majority may be there to do it; then it does not happen.
        let lengthened = act.admin().lengthen_log(&others, LENGTHEN_ENTRIES);
        ahead = index(&others).unwrap_or(0).saturating_sub(before);
        if let Err(e) = lengthened
            && Instant::now() >= end
        {
            act.skipped(&others, e);
        }
    }
    let mended = world.drop_packets(act.step.id, &[], 0);
    act.end(
        &[node],
        json!({"ahead": ahead, "far": ahead >= far, "error": mended.err().map(|e| e.to_string())}),
    );
}

/// The value of a flag that members were started with.
fn flag(act: &Act<'_>, name: &str, unless: u64) -> u64 {
    let value = |flag: &String| {
        flag.trim_start_matches('-')
            .strip_prefix(name)?
            .strip_prefix('=')?
            .parse()
            .ok()
    };
    act.world().spec().flags.iter().rev().find_map(value).unwrap_or(unless)
}
