//! What takes a member's data away, or makes it wrong. Such a member must not come back as it was: it could have
//! promised what it no longer knows. One member at a time, and it comes again with nothing.

use super::process::lost;
use crate::faults::scene::{Act, Scene, Ward, lock, until};
use crate::faults::step::Return;
use crate::world::{State, SyncFault};
use serde_json::{Value, json};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

/// A replacement is begun anew after this time.
const ATTEMPT: Duration = Duration::from_secs(10);
/// A member that notices what is wrong with its files does so within this time.
const NOTICE: Duration = Duration::from_secs(10);

/// Removes a member, wipes its disk, adds and starts it, and waits until it is healthy. It may be tried again after an
/// error, at any step.
pub(in crate::faults) fn rejoin(scene: &Scene, node: usize, how: Return, deadline: Instant) -> Result<(), String> {
    let (admin, world) = (&scene.admin, &scene.world);
    admin.remove(node, deadline).map_err(|e| format!("remove: {e}"))?;
    world.kill(node);
    let learner = how == Return::Learner;
    let cluster = admin.add(node, learner, deadline).map_err(|e| format!("add: {e}"))?;
    world
        .replace_disk(node, Some(cluster))
        .and_then(|()| world.start_member(node))
        .map_err(|e| e.to_string())?;
    if learner {
        admin.promote(node, deadline).map_err(|e| format!("promote: {e}"))?;
    }
    until(deadline, || world.health(node)).map_err(|e| format!("become healthy: {e}"))
}

/// [`rejoin`] until it works, or everything is to stop: with a member less than it has, the cluster must not lose another
/// one. Then the member is left to the healer.
pub(super) fn replace(act: &Act<'_>, ward: Ward<'_>, node: usize, how: Return) -> Result<(), String> {
    loop {
        match rejoin(act.scene, node, how, Instant::now() + ATTEMPT) {
            Ok(()) => return Ok(()),
            Err(e) if act.scene.is_stopped() => {
                ward.keep();
                return Err(e);
            }
            Err(_) => {}
        }
    }
}

/// Makes a member this fault's own, and keeps other faults that take a member away from beginning. `None` when it cannot
/// be; why is written down.
pub(super) fn take<'a>(act: &Act<'a>, node: usize) -> Option<(Ward<'a>, MutexGuard<'a, ()>)> {
    let alone = lock(&act.scene.membership);
    if act.scene.is_stopped() {
        act.skipped(&[node], "another member was not back before the end");
        return None;
    }
    let ward = act.ward(node);
    if ward.is_none() {
        act.skipped(&[node], "a member belongs to another fault");
    }
    Some((ward?, alone))
}

/// Syncs of a member do nothing for a while, then its power goes.
pub(super) fn lie(act: &Act<'_>, node: usize) {
    let Some((ward, _alone)) = take(act, node) else { return };
    if let Err(e) = act.world().sync_fault(node, Some(SyncFault::Lie)) {
        act.skipped(&[node], e);
        return;
    }
    act.begin(&[node], Value::Null);
    act.last();
    let error = match act.world().power_loss(node) {
        Ok(loss) => {
            lost(act, node, loss);
            None
        }
        Err(e) => {
            act.world().kill(node);
            Some(e.to_string())
        }
    };
    let replaced = replace(act, ward, node, Return::Voter);
    act.end(&[node], json!({"error": error.or(replaced.err())}));
}

/// Bits flip in the files of a member that is down. It is to refuse them, or to hold what the others hold.
pub(super) fn flip(act: &Act<'_>, node: usize, flips: usize, seed: u64) {
    let Some((ward, _alone)) = take(act, node) else { return };
    let places = match act.world().flip_bits(node, flips, seed) {
        Ok(places) => places,
        Err(e) => {
            act.skipped(&[node], e);
            // It was killed for it.
            if let Err(e) = act.world().start_member(node) {
                act.skipped(&[node], e);
            }
            return;
        }
    };
    act.begin(&[node], json!({"places": places}));
    act.last();
    let noticed = act
        .world()
        .start_member(node)
        .map_err(|e| e.to_string())
        .and_then(|()| notices(act, node));
    let error = match noticed {
        Ok(None) => {
            act.effect("flips-harmless", &[node], Value::Null);
            None
        }
        Ok(Some(how)) => {
            act.effect(
                "flips-noticed",
                &[node],
                json!({"how": how, "log": act.world().log_tail(node)}),
            );
            replace(act, ward, node, Return::Voter).err()
        }
        Err(e) => Some(e),
    };
    act.end(&[node], json!({"error": error}));
}

/// Makes a member read everything it has. How it shows that it noticed something, if it does.
fn notices(act: &Act<'_>, node: usize) -> Result<Option<String>, String> {
    let ended = || match act.world().state(node) {
        State::Ended(status) => Some(format!("ended: {status}")),
        _ => None,
    };
    let healthy = until(Instant::now() + NOTICE, || match ended() {
        Some(how) => Ok(Some(how)),
        None => act.world().health(node).map(|()| None),
    });
    match healthy {
        Ok(Some(how)) => return Ok(Some(how)),
        Ok(None) => {}
        // Neither healthy nor ended: the others may be down.
        Err(e) => return Ok(Some(format!("not healthy: {e}"))),
    }
    match act.admin().hash(node, 0) {
        Ok(_) => Ok(ended()),
        Err(e) => Ok(Some(format!("hash: {e}"))),
    }
}
