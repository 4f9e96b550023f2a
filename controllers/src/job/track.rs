//! Counting pods exactly once: a pod that ended is named in the status before its finalizer goes, and added to
//! the counters after (KEP-2307). A crash in between finds it in one of the two places, never in both.
use super::indexes::Indexes;
use super::pods::has_finalizer;
use super::policy::{self, Verdict};
use super::tally::{completions, condition, find, index_of, is_failed, is_indexed, spec};
use crate::common::pods::phase;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use std::collections::HashSet;
use std::sync::Arc;

/// Pods named in the status at once (upstream `MaxUncountedPods`).
pub const UNCOUNTED_PODS_MAX: usize = 500;

/// What is to be written, and whose finalizers go after that.
#[derive(Debug)]
pub struct Step {
    pub status: JobStatus,
    pub release: Vec<Arc<Pod>>,
    /// Pods still to be counted after this step.
    pub more: bool,
    /// The condition that ends the Job once everything is counted.
    pub finish: Option<JobCondition>,
}

fn add(n: &mut Option<i32>, more: usize) {
    let sum = n.unwrap_or(0).saturating_add(i32::try_from(more).unwrap_or(i32::MAX));
    *n = (sum != 0).then_some(sum);
}

/// Moves pods that have lost their finalizer from the list of uncounted into the counters.
pub fn settle(status: &mut JobStatus, holding: &HashSet<String>) {
    let mut u = status.uncounted_terminated_pods.take().unwrap_or_default();
    let take = |list: &mut Option<Vec<String>>, counter: &mut Option<i32>| {
        let mut names = list.take().unwrap_or_default();
        let before = names.len();
        names.retain(|n| holding.contains(n));
        add(counter, before - names.len());
        *list = (!names.is_empty()).then_some(names);
    };
    take(&mut u.succeeded, &mut status.succeeded);
    take(&mut u.failed, &mut status.failed);
    status.uncounted_terminated_pods = Some(u);
}

/// Uids of pods that hold the finalizer.
pub fn holding(pods: &[Arc<Pod>], leaving: &HashSet<String>) -> HashSet<String> {
    pods.iter()
        .filter(|p| has_finalizer(p))
        .filter_map(|p| p.metadata.uid.clone())
        .filter(|uid| !leaving.contains(uid))
        .collect()
}

pub fn step(
    job: &Job,
    mut status: JobStatus,
    pods: &[Arc<Pod>],
    leaving: &HashSet<String>,
    finish: Option<JobCondition>,
    now: Timestamp,
) -> Step {
    settle(&mut status, &holding(pods, leaving));
    let limit = completions(job).unwrap_or(i32::MAX);
    let success = finish.as_ref().is_some_and(|c| c.type_ == "SuccessCriteriaMet");
    let mut uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
    let mut indexes = Indexes::parse(status.completed_indexes.as_deref().unwrap_or_default(), limit);
    let mut new_indexes = 0;
    let (mut release, mut more) = (Vec::new(), false);
    for pod in pods.iter().filter(|p| has_finalizer(p)) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let failed = is_failed(pod, job);
        let over = job.metadata.deletion_timestamp.is_some() || finish.is_some();
        if leaving.contains(&uid) || !(over || failed || phase(pod) == "Succeeded") {
            continue;
        }
        release.push(pod.clone());
        let knows = |l: &Option<Vec<String>>| l.iter().flatten().any(|u| *u == uid);
        let index = index_of(pod).filter(|i| *i < limit);
        if phase(pod) == "Succeeded" && !knows(&uncounted.failed) {
            if is_indexed(job) {
                if let Some(i) = index.filter(|i| !indexes.contains(*i)) {
                    indexes.insert(i);
                    new_indexes += 1;
                }
            } else if !knows(&uncounted.succeeded) {
                uncounted.succeeded.get_or_insert_default().push(uid);
            }
        } else if (failed || (finish.is_some() && !success))
            && !knows(&uncounted.failed)
            && (!is_indexed(job) || index.is_some())
            && policy::judge(spec(job).pod_failure_policy.as_ref(), pod) != Verdict::Ignore
        {
            uncounted.failed.get_or_insert_default().push(uid);
        }
        let waiting = |l: &Option<Vec<String>>| l.as_ref().map_or(0, Vec::len);
        if new_indexes + waiting(&uncounted.succeeded) + waiting(&uncounted.failed) >= UNCOUNTED_PODS_MAX {
            more = true;
            break;
        }
    }
    if is_indexed(job) {
        let n = indexes.len();
        status.succeeded = (n != 0).then_some(n);
        status.completed_indexes = (n != 0).then(|| indexes.to_string());
    }
    status.uncounted_terminated_pods = Some(uncounted);
    let finish = announce(&mut status, finish, now);
    Step {
        status,
        release,
        more,
        finish,
    }
}

/// Writes that the end is decided, and gives the condition that the end itself will be.
fn announce(status: &mut JobStatus, finish: Option<JobCondition>, now: Timestamp) -> Option<JobCondition> {
    let c = finish?;
    let terminal = match c.type_.as_str() {
        "FailureTarget" => "Failed",
        "SuccessCriteriaMet" => "Complete",
        _ => return Some(c),
    };
    let (reason, message) = (
        c.reason.clone().unwrap_or_default(),
        c.message.clone().unwrap_or_default(),
    );
    if find(status, &c.type_).is_none() {
        status.conditions.get_or_insert_default().push(c);
    }
    Some(condition(terminal, "True", &reason, &message, now))
}

/// Ends the Job if all is counted and nothing terminates any more; returns whether it did.
pub fn finish(status: &mut JobStatus, end: Option<&JobCondition>, terminating: i32, now: Timestamp) -> bool {
    let Some(end) = end else {
        return false;
    };
    let u = status.uncounted_terminated_pods.clone().unwrap_or_default();
    if u != UncountedTerminatedPods::default() || terminating > 0 {
        return false;
    }
    ensure(status, end.clone());
    if end.type_ == "Complete" {
        status.completion_time = Some(crate::common::time::truncate(now));
    }
    true
}

/// Sets a condition; one that would be False is not added. Returns whether anything changed.
pub fn ensure(status: &mut JobStatus, c: JobCondition) -> bool {
    let list = status.conditions.get_or_insert_default();
    let changed = match list.iter_mut().find(|o| o.type_ == c.type_) {
        Some(o) if o.status == c.status && o.reason == c.reason && o.message == c.message => false,
        Some(o) => {
            *o = c;
            true
        }
        None if c.status == "False" => false,
        None => {
            list.push(c);
            true
        }
    };
    if list.is_empty() {
        status.conditions = None;
    }
    changed
}
