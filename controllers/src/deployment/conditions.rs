//! The status of a Deployment and its conditions.
use super::plan::{View, replicas_of, spec};
use super::revision::max_unavailable;
use crate::common::time::{remaining, truncate};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::jiff::Timestamp;
use std::time::Duration;

pub const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const REPLICA_FAILURE: &str = "ReplicaFailure";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";

fn some(n: i32) -> Option<i32> {
    (n != 0).then_some(n)
}

pub fn get<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|c| c.type_ == kind)
}

pub fn new(kind: &str, status: &str, reason: &str, message: String, now: Timestamp) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_update_time: Some(truncate(now)),
        last_transition_time: Some(truncate(now)),
    }
}

/// Replaces the condition of its kind unless status and reason are the same.
pub fn set(status: &mut DeploymentStatus, mut c: DeploymentCondition) {
    if let Some(old) = get(status, &c.type_) {
        if old.status == c.status && old.reason == c.reason {
            return;
        }
        if old.status == c.status {
            c.last_transition_time = old.last_transition_time.clone();
        }
    }
    remove(status, &c.type_.clone());
    status.conditions.get_or_insert_default().push(c);
}

pub fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(list) = &mut status.conditions {
        list.retain(|c| c.type_ != kind);
        if list.is_empty() {
            status.conditions = None;
        }
    }
}

/// The deadline, unless it is upstream's "none" (MaxInt32).
pub fn deadline_s(d: &Deployment) -> Option<i32> {
    spec(d).progress_deadline_seconds.filter(|s| *s != i32::MAX)
}

pub fn is_complete(d: &Deployment, s: &DeploymentStatus) -> bool {
    let want = spec(d).replicas.unwrap_or(1);
    s.updated_replicas.unwrap_or(0) == want
        && s.replicas.unwrap_or(0) == want
        && s.available_replicas.unwrap_or(0) == want
        && s.observed_generation.unwrap_or(0) >= d.metadata.generation.unwrap_or(0)
}

fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let n = |v: Option<i32>| v.unwrap_or(0);
    let outdated = |s: &DeploymentStatus| n(s.replicas) - n(s.updated_replicas);
    n(new.updated_replicas) > n(old.updated_replicas)
        || outdated(new) < outdated(old)
        || n(new.ready_replicas) > n(old.ready_replicas)
        || n(new.available_replicas) > n(old.available_replicas)
}

fn has_timed_out(d: &Deployment, s: &DeploymentStatus, now: Timestamp) -> bool {
    let (Some(deadline), Some(c)) = (deadline_s(d), get(s, PROGRESSING)) else {
        return false;
    };
    match c.reason.as_deref() {
        Some(NEW_AVAILABLE) => false,
        Some(TIMED_OUT) => true,
        _ => c
            .last_update_time
            .as_ref()
            .is_some_and(|t| remaining(t, i64::from(deadline), now).is_none()),
    }
}

/// Counts and the Available condition.
pub fn calculate(view: &View, now: Timestamp) -> DeploymentStatus {
    let d = &view.deployment;
    let old = d.status.clone().unwrap_or_default();
    let sum = |f: &dyn Fn(&ReplicaSet) -> i32| view.all().map(f).sum::<i32>();
    let status_of = |rs: &ReplicaSet| rs.status.clone().unwrap_or_default();
    let available = sum(&|rs| status_of(rs).available_replicas.unwrap_or(0));
    let total = sum(&replicas_of);
    let mut s = DeploymentStatus {
        observed_generation: d.metadata.generation,
        replicas: some(sum(&|rs| status_of(rs).replicas)),
        updated_replicas: some(view.new.as_ref().map_or(0, |rs| status_of(rs).replicas)),
        ready_replicas: some(sum(&|rs| status_of(rs).ready_replicas.unwrap_or(0))),
        available_replicas: some(available),
        unavailable_replicas: some((total - available).max(0)),
        ..old
    };
    let enough = available >= spec(d).replicas.unwrap_or(1) - max_unavailable(d);
    let condition = if enough {
        new(
            AVAILABLE,
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.".into(),
            now,
        )
    } else {
        new(
            AVAILABLE,
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.".into(),
            now,
        )
    };
    set(&mut s, condition);
    s
}

/// The status during a rollout: adds Progressing and ReplicaFailure.
pub fn rollout(view: &View, now: Timestamp) -> DeploymentStatus {
    let d = &view.deployment;
    let mut s = calculate(view, now);
    if deadline_s(d).is_none() {
        remove(&mut s, PROGRESSING);
    }
    let old = d.status.clone().unwrap_or_default();
    let current = get(&old, PROGRESSING);
    let settled =
        s.replicas == s.updated_replicas && current.is_some_and(|c| c.reason.as_deref() == Some(NEW_AVAILABLE));
    if deadline_s(d).is_some() && !settled {
        let subject = match &view.new {
            Some(rs) => format!("ReplicaSet {:?}", rs.metadata.name.as_deref().unwrap_or_default()),
            None => format!("Deployment {:?}", d.metadata.name.as_deref().unwrap_or_default()),
        };
        if is_complete(d, &s) {
            let m = format!("{subject} has successfully progressed.");
            set(&mut s, new(PROGRESSING, "True", NEW_AVAILABLE, m, now));
        } else if has_progressed(&old, &s) {
            let m = format!("{subject} is progressing.");
            let mut c = new(PROGRESSING, "True", "ReplicaSetUpdated", m, now);
            // Each sign of progress moves the update time, and with it the deadline, even when the reason stays.
            if let Some(cur) = current.filter(|c| c.status == "True") {
                c.last_transition_time = cur.last_transition_time.clone();
            }
            remove(&mut s, PROGRESSING);
            set(&mut s, c);
        } else if has_timed_out(d, &s, now) {
            let m = format!("{subject} has timed out progressing.");
            set(&mut s, new(PROGRESSING, "False", TIMED_OUT, m, now));
        }
    }
    match failure_of(view) {
        Some(c) => set(&mut s, c),
        None => remove(&mut s, REPLICA_FAILURE),
    }
    s
}

/// The new set's failure comes before those of the old.
fn failure_of(view: &View) -> Option<DeploymentCondition> {
    view.new.iter().chain(&view.old).find_map(|rs| {
        let c = rs
            .status
            .as_ref()?
            .conditions
            .iter()
            .flatten()
            .find(|c| c.type_ == REPLICA_FAILURE)?;
        Some(DeploymentCondition {
            type_: REPLICA_FAILURE.into(),
            status: c.status.clone(),
            reason: c.reason.clone(),
            message: c.message.clone(),
            last_transition_time: c.last_transition_time.clone(),
            last_update_time: c.last_transition_time.clone(),
        })
    })
}

/// When to look whether the deadline has passed.
pub fn check_after(d: &Deployment, status: &DeploymentStatus, now: Timestamp) -> Option<Duration> {
    let deadline = deadline_s(d)?;
    let c = get(status, PROGRESSING)?;
    let over = matches!(
        c.reason.as_deref(),
        Some(TIMED_OUT | NEW_AVAILABLE | "DeploymentPaused")
    );
    if is_complete(d, status) || over {
        return None;
    }
    let left = remaining(c.last_update_time.as_ref()?, i64::from(deadline), now);
    // A second more, so that whole-second times are surely past.
    Some(left.unwrap_or_default() + Duration::from_secs(1))
}
