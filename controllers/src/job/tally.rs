//! What the pods of a Job add up to, and whether it is over. Pure.
use super::indexes::Indexes;
use super::pods::{INDEX_KEY, finished_at, has_finalizer};
use super::policy::{self, Verdict};
use crate::common::pods::{is_active, is_ready, is_terminal, phase};
use crate::common::time::{remaining, truncate};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// First pause after a failed pod, and the longest (upstream).
const BACKOFF_FIRST: Duration = Duration::from_secs(10);
const BACKOFF_MAX: Duration = Duration::from_secs(600);

static NO_SPEC: LazyLock<JobSpec> = LazyLock::new(JobSpec::default);

pub fn spec(job: &Job) -> &JobSpec {
    job.spec.as_ref().unwrap_or(&NO_SPEC)
}
pub fn is_indexed(job: &Job) -> bool {
    spec(job).completion_mode.as_deref() == Some("Indexed")
}
pub fn is_suspended(job: &Job) -> bool {
    spec(job).suspend == Some(true)
}
pub fn completions(job: &Job) -> Option<i32> {
    spec(job).completions
}
/// Whether a pod is replaced only once it has ended, not while it terminates.
pub fn replaces_only_failed(job: &Job) -> bool {
    spec(job).pod_replacement_policy.as_deref() == Some("Failed") || spec(job).pod_failure_policy.is_some()
}
pub fn index_of(pod: &Pod) -> Option<i32> {
    let text = pod.metadata.annotations.as_ref()?.get(INDEX_KEY)?;
    text.parse().ok().filter(|i| *i >= 0)
}
pub fn find<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == kind && c.status == "True")
}
pub fn is_finished(job: &Job) -> bool {
    job.status
        .as_ref()
        .is_some_and(|s| find(s, "Complete").is_some() || find(s, "Failed").is_some())
}
pub fn is_failed(pod: &Pod, job: &Job) -> bool {
    match phase(pod) {
        "Failed" => true,
        "Succeeded" => false,
        _ => !replaces_only_failed(job) && pod.metadata.deletion_timestamp.is_some(),
    }
}

pub fn condition(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> JobCondition {
    JobCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_probe_time: Some(truncate(now)),
        last_transition_time: Some(truncate(now)),
    }
}

/// Failures since the last success, for the pause before the next pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    pub failures: u32,
    pub last_failure: Option<Timestamp>,
}

impl Backoff {
    fn advance(self, succeeded: &[Arc<Pod>], failed: &[Arc<Pod>]) -> Self {
        let last_success = succeeded.iter().map(|p| finished_at(p)).max();
        let recent: Vec<Timestamp> = failed
            .iter()
            .map(|p| finished_at(p))
            .filter(|t| last_success.is_none_or(|s| *t > s))
            .collect();
        let before = if last_success.is_some() {
            Backoff::default()
        } else {
            self
        };
        Backoff {
            failures: before
                .failures
                .saturating_add(u32::try_from(recent.len()).unwrap_or(u32::MAX)),
            last_failure: recent.into_iter().max().or(before.last_failure),
        }
    }

    pub fn remaining(&self, now: Timestamp) -> Option<Duration> {
        let last = self.last_failure?;
        if self.failures == 0 {
            return None;
        }
        let pause = (BACKOFF_FIRST * 2u32.pow((self.failures - 1).min(10))).min(BACKOFF_MAX);
        remaining(&truncate(last), i64::try_from(pause.as_secs()).unwrap_or(i64::MAX), now)
    }
}

/// One look at a Job's pods.
#[derive(Debug)]
pub struct Tally {
    pub active: Vec<Arc<Pod>>,
    pub ready: i32,
    pub terminating: i32,
    pub succeeded: i32,
    pub failed: i32,
    /// Of an indexed Job.
    pub succeeded_indexes: Indexes,
    pub backoff: Backoff,
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

impl Tally {
    /// `leaving` are the uids whose finalizer is being removed: they are counted already.
    pub fn new(job: &Job, pods: &[Arc<Pod>], leaving: &HashSet<String>, backoff: Backoff) -> Self {
        let status = job.status.clone().unwrap_or_default();
        let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
        let (done, broken) = (
            uncounted.succeeded.unwrap_or_default(),
            uncounted.failed.unwrap_or_default(),
        );
        let limit = completions(job).filter(|_| is_indexed(job));
        let fresh = |known: &[String], p: &Pod| {
            let uid = p.metadata.uid.as_deref().unwrap_or_default();
            let valid = !is_indexed(job) || index_of(p).is_some_and(|i| limit.is_none_or(|l| i < l));
            valid && has_finalizer(p) && !leaving.contains(uid) && !known.iter().any(|k| k == uid)
        };
        let new_succeeded: Vec<Arc<Pod>> = pods
            .iter()
            .filter(|p| phase(p) == "Succeeded" && fresh(&done, p))
            .cloned()
            .collect();
        let new_failed: Vec<Arc<Pod>> = pods
            .iter()
            .filter(|p| is_failed(p, job) && fresh(&broken, p))
            .cloned()
            .collect();
        let policy = spec(job).pod_failure_policy.as_ref();
        let counted = new_failed
            .iter()
            .filter(|p| policy::judge(policy, p) != Verdict::Ignore)
            .count();
        let mut succeeded = status.succeeded.unwrap_or(0) + count(done.len() + new_succeeded.len());
        let mut indexes = Indexes::default();
        if let Some(limit) = limit {
            indexes = Indexes::parse(status.completed_indexes.as_deref().unwrap_or_default(), limit);
            for p in pods.iter().filter(|p| phase(p) == "Succeeded" && has_finalizer(p)) {
                if let Some(i) = index_of(p).filter(|i| *i < limit) {
                    indexes.insert(i);
                }
            }
            succeeded = indexes.len();
        }
        let active: Vec<Arc<Pod>> = pods.iter().filter(|p| is_active(p)).cloned().collect();
        Tally {
            ready: count(active.iter().filter(|p| is_ready(p)).count()),
            terminating: count(
                pods.iter()
                    .filter(|p| p.metadata.deletion_timestamp.is_some() && !is_terminal(p))
                    .count(),
            ),
            active,
            succeeded,
            failed: status.failed.unwrap_or(0) + count(broken.len() + counted),
            succeeded_indexes: indexes,
            backoff: backoff.advance(&new_succeeded, &new_failed),
        }
    }

    /// Whether the Job is over, other than by all completions reached; and else when the deadline is.
    pub fn verdict(&self, job: &Job, pods: &[Arc<Pod>], now: Timestamp) -> (Option<JobCondition>, Option<Duration>) {
        let status = job.status.clone().unwrap_or_default();
        if let Some(c) = find(&status, "SuccessCriteriaMet") {
            return (Some(c.clone()), None);
        }
        if let Some(c) = find(&status, "FailureTarget") {
            let (reason, message) = (c.reason.as_deref(), c.message.as_deref());
            let failed = condition(
                "Failed",
                "True",
                reason.unwrap_or_default(),
                message.unwrap_or_default(),
                now,
            );
            return (Some(failed), None);
        }
        let fail = |reason: &str, message: &str| Some(condition("FailureTarget", "True", reason, message, now));
        let policy = spec(job).pod_failure_policy.as_ref();
        for p in pods.iter().filter(|p| is_failed(p, job)) {
            if let Verdict::FailJob(message) = policy::judge(policy, p) {
                return (fail("PodFailurePolicy", &message), None);
            }
        }
        let limit = spec(job).backoff_limit.unwrap_or(6);
        if self.failed > limit || restarts_exceed(job, pods, limit) {
            return (
                fail("BackoffLimitExceeded", "Job has reached the specified backoff limit"),
                None,
            );
        }
        let mut wait = None;
        if let (Some(deadline), false) = (spec(job).active_deadline_seconds, is_suspended(job)) {
            let start = status.start_time.unwrap_or_else(|| truncate(now));
            wait = remaining(&start, deadline, now);
            if wait.is_none() {
                return (
                    fail("DeadlineExceeded", "Job was active longer than specified deadline"),
                    None,
                );
            }
        }
        if let (Some(n), true) = (completions(job), is_indexed(job))
            && let Some(message) = policy::success(spec(job).success_policy.as_ref(), n, &self.succeeded_indexes)
        {
            let met = condition("SuccessCriteriaMet", "True", "SuccessPolicy", &message, now);
            return (Some(met), None);
        }
        (None, wait)
    }

    /// How many pods should be active.
    pub fn wanted(&self, job: &Job) -> i32 {
        let parallelism = spec(job).parallelism.unwrap_or(1);
        match completions(job) {
            // A work queue: once one has succeeded, no new ones start.
            None if self.succeeded > 0 => count(self.active.len()),
            None => parallelism,
            Some(n) => (n - self.succeeded).clamp(0, parallelism.max(0)),
        }
    }

    pub fn is_complete(&self, job: &Job, active: i32) -> bool {
        active == 0
            && match completions(job) {
                None => self.succeeded > 0,
                Some(n) => self.succeeded >= n,
            }
    }

    /// Indexes that need a pod.
    pub fn pending_indexes(&self, job: &Job, pods: &[Arc<Pod>], n: usize) -> Vec<i32> {
        let mut taken = self.succeeded_indexes.clone();
        let waits_for_terminating = replaces_only_failed(job);
        for p in pods {
            let terminating = p.metadata.deletion_timestamp.is_some() && !is_terminal(p);
            if let Some(i) = index_of(p).filter(|_| is_active(p) || (waits_for_terminating && terminating)) {
                taken.insert(i);
            }
        }
        taken.missing(n, completions(job).unwrap_or(0))
    }
}

/// With restartPolicy OnFailure it is the containers' restarts that count.
fn restarts_exceed(job: &Job, pods: &[Arc<Pod>], limit: i32) -> bool {
    let policy = spec(job)
        .template
        .spec
        .as_ref()
        .and_then(|s| s.restart_policy.as_deref());
    if policy != Some("OnFailure") {
        return false;
    }
    let restarts: i64 = pods
        .iter()
        .filter(|p| matches!(phase(p), "Running" | "Pending"))
        .flat_map(|p| p.status.iter())
        .flat_map(|s| {
            let own = s.container_statuses.iter().flatten();
            own.chain(s.init_container_statuses.iter().flatten())
        })
        .map(|c| i64::from(c.restart_count))
        .sum();
    if limit == 0 {
        restarts > 0
    } else {
        restarts >= i64::from(limit)
    }
}
