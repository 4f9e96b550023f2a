//! When members may be added, removed and promoted: etcd's strict reconfiguration checks, on facts that the caller
//! collected. Nothing here asks anybody.

use std::time::Duration;

/// A member has to be in touch for this long before it counts as connected.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(5);
/// How much of the leader's log a learner has to have before it can be promoted.
const READY_PERCENT: u64 = 90;

/// What is known of a voter.
#[derive(Clone, Copy, Debug)]
pub struct Voter {
    pub id: u64,
    /// It has published a name.
    pub started: bool,
    /// How long it has been in touch without a break; `None`: it is not. Of this member itself: forever.
    pub in_touch: Option<Duration>,
}

/// Why a change is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    NotEnoughStarted,
    Unhealthy,
}

fn quorum(members: usize) -> usize {
    members / 2 + 1
}

fn started(voters: &[Voter]) -> usize {
    voters.iter().filter(|v| v.started).count()
}

fn healthy(voters: &[Voter]) -> usize {
    let healthy = |v: &&Voter| v.in_touch.is_some_and(|t| t >= HEALTHY_AFTER);
    voters.iter().filter(healthy).count()
}

/// The quorum of the larger cluster has to be there already, for the new member may never come.
pub fn may_add(voters: &[Voter], as_learner: bool) -> Result<(), Refused> {
    let after = voters.len() + 1;
    let restoring = started(voters) == 1 && after == 2;
    if !as_learner && !restoring && started(voters) < quorum(after) {
        return Err(Refused::NotEnoughStarted);
    }
    if voters.len() > 1 && healthy(voters) < quorum(after) {
        return Err(Refused::Unhealthy);
    }
    Ok(())
}

/// Of a voter; a learner may always go.
pub fn may_remove(voters: &[Voter], id: u64) -> Result<(), Refused> {
    let rest: Vec<Voter> = voters.iter().filter(|v| v.id != id).copied().collect();
    if started(&rest) < quorum(rest.len()) {
        return Err(Refused::NotEnoughStarted);
    }
    // One that is down is no part of the quorum that works.
    let up = voters.iter().any(|v| v.id == id && v.in_touch.is_some());
    if up && healthy(voters).saturating_sub(1) < 1 + voters.len().saturating_sub(1) / 2 {
        return Err(Refused::Unhealthy);
    }
    Ok(())
}

/// The learner counts as started.
pub fn may_promote(voters: &[Voter]) -> Result<(), Refused> {
    if started(voters) + 1 < quorum(voters.len() + 1) {
        return Err(Refused::NotEnoughStarted);
    }
    Ok(())
}

/// Whether a learner has caught up far enough with the leader's log.
pub fn is_ready(learner_matched: u64, leader_matched: u64) -> bool {
    u128::from(learner_matched) * 100 >= u128::from(leader_matched) * u128::from(READY_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(60));
    const SHORT: Option<Duration> = Some(Duration::from_secs(1));

    fn voters(of: &[(bool, Option<Duration>)]) -> Vec<Voter> {
        let voter = |(id, (started, in_touch)): (u64, &(bool, Option<Duration>))| Voter {
            id,
            started: *started,
            in_touch: *in_touch,
        };
        (1..).zip(of).map(voter).collect()
    }

    #[test]
    fn a_single_member_may_grow_and_not_vanish() {
        let one = voters(&[(true, LONG)]);
        assert_eq!(may_add(&one, false), Ok(()));
        assert_eq!(may_add(&one, true), Ok(()));
        assert_eq!(may_remove(&one, 1), Err(Refused::NotEnoughStarted));
    }

    #[test]
    fn members_that_never_came_stand_in_the_way_of_more() {
        let two = voters(&[(true, LONG), (false, None)]);
        assert_eq!(may_add(&two, false), Err(Refused::NotEnoughStarted));
        assert_eq!(may_remove(&two, 2), Ok(()));
        assert_eq!(may_remove(&two, 1), Err(Refused::NotEnoughStarted));
    }

    #[test]
    fn contact_has_to_last_before_it_counts() {
        let fresh = voters(&[(true, LONG), (true, SHORT), (true, SHORT)]);
        assert_eq!(may_add(&fresh, false), Err(Refused::Unhealthy));
        assert_eq!(may_add(&fresh, true), Err(Refused::Unhealthy));
        assert_eq!(may_remove(&fresh, 3), Err(Refused::Unhealthy));
        let settled = voters(&[(true, LONG), (true, LONG), (true, LONG)]);
        assert_eq!(may_add(&settled, false), Ok(()));
        assert_eq!(may_remove(&settled, 3), Ok(()));
    }

    #[test]
    fn a_member_that_is_down_may_go_and_the_others_may_not() {
        let one_down = voters(&[(true, LONG), (true, LONG), (true, None)]);
        assert_eq!(may_remove(&one_down, 3), Ok(()));
        assert_eq!(may_remove(&one_down, 2), Err(Refused::Unhealthy));
        // Two of four would be no quorum.
        assert_eq!(may_add(&one_down, false), Err(Refused::Unhealthy));
    }

    #[test]
    fn promotion_wants_a_started_quorum_and_nine_tenths_of_the_log() {
        assert_eq!(may_promote(&voters(&[(true, LONG)])), Ok(()));
        let mostly_absent = voters(&[(true, LONG), (false, None), (false, None)]);
        assert_eq!(may_promote(&mostly_absent), Err(Refused::NotEnoughStarted));
        assert!(is_ready(90, 100) && is_ready(100, 100));
        assert!(!is_ready(89, 100) && !is_ready(0, 100));
    }
}
