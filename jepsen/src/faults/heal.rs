//! Undoes whatever the faults have left, and waits until the cluster is what it was.

use super::act::{mend, rejoin};
use super::scene::{Scene, until};
use super::step::Return;
use crate::world::{Skew, State, WorldError};
use std::time::{Duration, Instant};

/// How long a member that was given up by its fault may take to come again, at most.
const REJOIN: Duration = Duration::from_secs(60);

/// Undoes everything; at the end every member is healthy and a voter.
pub(super) fn heal(scene: &Scene, deadline: Instant) -> Result<(), String> {
    let (world, admin) = (&scene.world, &scene.admin);
    // The network first: whatever else fails, nothing is cut off because of that.
    world.mend_network().map_err(|e| e.to_string())?;
    if let Some(kube) = world.kube() {
        mend(kube).map_err(|e| e.to_string())?;
    }
    let kept = scene.kept_wards();
    for node in world.nodes() {
        let name = |e: WorldError| format!("heal member {node}: {e}");
        world.sync_fault(node, None).map_err(name)?;
        world.slow_disk(node, None).map_err(name)?;
        world.skew(node, Skew::default()).map_err(name)?;
        world.free_disk(node).map_err(name)?;
        world.resume(node).map_err(name)?;
        if !kept.contains(&node) {
            world.start_member(node).map_err(name)?;
        }
    }
    for node in kept {
        let bound = deadline.min(Instant::now() + REJOIN);
        rejoin(scene, node, Return::Voter, bound).map_err(|e| format!("member {node} does not come again: {e}"))?;
        scene.release(node);
    }
    until(deadline, || admin.disarm()).map_err(|e| format!("take the alarms away: {e}"))?;
    for node in world.nodes() {
        until(deadline, || healthy(scene, node))
            .map_err(|e| format!("member {node} is not healthy: {e}\n{}", world.log_tail(node)))?;
        admin
            .promote(node, deadline)
            .map_err(|e| format!("member {node} is no voter: {e}"))?;
    }
    until(deadline, || {
        admin.leader().map(drop).ok_or_else(|| "nobody leads".to_owned())
    })
}

/// A member that ended by itself is started again: it may have done so for want of the others.
fn healthy(scene: &Scene, node: usize) -> Result<(), String> {
    if let State::Ended(status) = scene.world.state(node) {
        scene.world.start_member(node).map_err(|e| e.to_string())?;
        return Err(format!("ended: {status}"));
    }
    scene.world.health(node)
}
