//! Jobs: pods that run to completion, each counted once.
mod indexes;
mod pods;
mod policy;
mod tally;
#[cfg(test)]
mod tests;
mod track;

use crate::common::expectations::Expectations;
use crate::common::owner::{claim_all, controller_of, owner_key};
use crate::common::pod_control::{PodControl, namespace_terminating, slow_start};
use crate::common::pods::is_ready;
use crate::common::status::write_status;
use crate::common::written::Written;
use crate::common::{Context, Error, Outcome, key};
use futures::future::join_all;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use keelson_client::events::object_ref;
use keelson_client::informer::OWNER_INDEX;
use keelson_client::{Api, Event, Patch, PatchParams, Store, WorkQueue};
use keelson_machinery::labels::Selector;
use parking_lot::Mutex;
use pods::has_finalizer;
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tally::{Backoff, Tally, condition, is_finished, is_indexed, is_suspended};

pub use tally::{find, is_finished as job_is_finished};

pub const NAME: &str = "job-controller";
/// The ServiceAccount it acts as, whose role is bootstrapped under this name.
pub const ACCOUNT: &str = "job-controller";
/// Pods created or deleted in one reconcile (upstream `MaxPodCreateDeletePerSync`).
const PODS_PER_SYNC_MAX: usize = 500;
const MANAGED_BY: &str = "kubernetes.io/job-controller";

struct Controller {
    ctx: Context,
    jobs: Store<Job>,
    pods: Store<Pod>,
    queue: WorkQueue<Work>,
    expectations: Expectations,
    control: PodControl,
    /// Pods whose finalizer is gone or going, by Job, until their event says so.
    leaving: Mutex<HashMap<String, HashSet<String>>>,
    backoffs: Mutex<HashMap<String, Backoff>>,
    /// A Job's counters and its pods come by different watches; deciding on an old status would count a pod twice or not at all.
    written: Written,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    Job(String),
    /// A pod whose Job is gone: only its finalizer is left to remove.
    Orphan(String),
}

pub async fn run(ctx: Context) {
    let jobs = ctx.factory.informer::<Job>();
    let pods = ctx.factory.informer::<Pod>();
    let c = Arc::new(Controller {
        jobs: jobs.store(),
        pods: pods.store(),
        queue: WorkQueue::new("job"),
        expectations: Expectations::default(),
        control: PodControl {
            client: ctx.client.clone(),
            events: ctx.events.clone(),
        },
        leaving: Mutex::default(),
        backoffs: Mutex::default(),
        written: Written::default(),
        ctx: ctx.clone(),
    });
    let h = c.clone();
    jobs.on_event(move |e| h.on_job(e));
    jobs.wait_synced().await;
    let h = c.clone();
    pods.on_event(move |e| h.on_pod(e));
    pods.wait_synced().await;
    let queue = c.queue.clone();
    ctx.work(&queue, move |w| {
        let c = c.clone();
        async move {
            match w {
                Work::Job(k) => c.reconcile(&k).await,
                Work::Orphan(k) => c.release_orphan(&k).await,
            }
        }
    })
    .await;
}

impl Controller {
    fn on_job(&self, event: &Event<Job>) {
        let job = event.object();
        self.queue.add(Work::Job(key(&job.metadata)));
        if matches!(event, Event::Deleted(_)) {
            let uid = job.metadata.uid.as_deref().unwrap_or_default();
            for p in self.pods.by_index(OWNER_INDEX, uid) {
                self.queue.add(Work::Orphan(key(&p.metadata)));
            }
        }
    }

    fn on_pod(&self, event: &Event<Pod>) {
        let pod = event.object();
        if let Event::Updated(old, _) = event
            && let Some(k) = owner_key::<Job>(&old.metadata)
            && owner_key::<Job>(&pod.metadata).as_ref() != Some(&k)
        {
            self.observe_left(&k, old);
            self.queue.add(Work::Job(k));
        }
        let Some(k) = owner_key::<Job>(&pod.metadata) else {
            if controller_of(&pod.metadata).is_none() {
                self.enqueue_adopters(pod);
            }
            return;
        };
        match event {
            Event::Added(_) if pod.metadata.deletion_timestamp.is_none() => self.expectations.creation_observed(&k),
            Event::Updated(..) if pod.metadata.deletion_timestamp.is_none() => {}
            _ => self.expectations.deletion_observed(&k, &key(&pod.metadata)),
        }
        if matches!(event, Event::Deleted(_)) || !has_finalizer(pod) {
            self.observe_left(&k, pod);
        } else if !self.jobs.contains(&k) {
            self.queue.add(Work::Orphan(key(&pod.metadata)));
        }
        self.queue.add(Work::Job(k));
    }

    fn observe_left(&self, k: &str, pod: &Pod) {
        let mut leaving = self.leaving.lock();
        if let Some(set) = leaving.get_mut(k) {
            set.remove(pod.metadata.uid.as_deref().unwrap_or_default());
            if set.is_empty() {
                leaving.remove(k);
            }
        }
    }

    fn enqueue_adopters(&self, pod: &Pod) {
        for j in self
            .jobs
            .list_namespace(pod.metadata.namespace.as_deref().unwrap_or_default())
        {
            if selector_of(&j).is_some_and(|s| !s.is_empty() && s.matches_map(pod.metadata.labels.as_ref())) {
                self.queue.add(Work::Job(key(&j.metadata)));
            }
        }
    }

    fn forget(&self, k: &str) {
        self.expectations.forget(k);
        self.leaving.lock().remove(k);
        self.backoffs.lock().remove(k);
        self.written.forget(k);
    }

    async fn reconcile(&self, k: &str) -> Outcome {
        let Some(job) = self.jobs.get(k) else {
            self.forget(k);
            return Ok(None);
        };
        if tally::spec(&job).managed_by.as_deref().is_some_and(|m| m != MANAGED_BY) {
            return Ok(None);
        }
        if self.written.is_behind(&job.metadata) {
            // Its event is on the way and brings this back.
            return Ok(None);
        }
        let pods = self.claim(&job).await?;
        if is_finished(&job) {
            self.backoffs.lock().remove(k);
            // Pods that appeared late, and those of Jobs ended by others, must not be held.
            let held: Vec<_> = pods.into_iter().filter(|p| has_finalizer(p)).collect();
            return self.release(k, &held).await.1.map_or(Ok(None), |e| Err(e.into()));
        }
        self.advance(k, &job, pods).await
    }

    async fn claim(&self, job: &Job) -> Result<Vec<Arc<Pod>>, Error> {
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        let Some(selector) = selector_of(job) else {
            return Err(Error::Other(format!("{}: invalid selector", key(&job.metadata))));
        };
        let uid = job.metadata.uid.as_deref().unwrap_or_default();
        let mut candidates = self.pods.by_index(OWNER_INDEX, uid);
        candidates.extend(
            self.pods
                .list_namespace(namespace)
                .into_iter()
                .filter(|p| controller_of(&p.metadata).is_none() && selector.matches_map(p.metadata.labels.as_ref())),
        );
        let owners = Api::<Job>::namespaced(self.ctx.client.clone(), namespace);
        let objects = Api::<Pod>::namespaced(self.ctx.client.clone(), namespace);
        claim_all(job, &selector, candidates, &owners, &objects).await
    }

    async fn advance(&self, k: &str, job: &Job, pods: Vec<Arc<Pod>>) -> Outcome {
        let now = Timestamp::now();
        let waits = self.expectations.pending(k);
        let leaving = self.leaving.lock().get(k).cloned().unwrap_or_default();
        let backoff = self.backoffs.lock().get(k).copied().unwrap_or_default();
        let mut tally = Tally::new(job, &pods, &leaving, backoff);
        let mut status = job.status.clone().unwrap_or_default();
        status.uncounted_terminated_pods.get_or_insert_default();
        if status.start_time.is_none() && !is_suspended(job) {
            status.start_time = Some(crate::common::time::truncate(now));
        }
        let (mut finish, mut again) = tally.verdict(job, &pods, now);
        let mut active = tally.active.len() as i32;
        let mut failure = None;
        if finish.is_some() {
            let (gone, ready, e) = self.delete(k, job, &tally.active, false).await;
            if gone != tally.active.len() || waits.is_some() {
                finish = None;
            }
            active -= gone as i32;
            tally.terminating += gone as i32;
            tally.ready -= ready as i32;
            failure = e;
        } else {
            let managed = waits.is_none() && job.metadata.deletion_timestamp.is_none();
            if managed {
                let (now_active, e, wait) = self.manage(k, job, &mut tally, &pods, now).await;
                active = now_active;
                failure = e;
                again = again.into_iter().chain(wait).min();
            }
            if tally.is_complete(job, active) {
                finish = Some(condition(
                    "SuccessCriteriaMet",
                    "True",
                    "CompletionsReached",
                    "Reached expected number of succeeded pods",
                    now,
                ));
            } else if managed {
                self.suspension(job, &mut status, now);
            }
        }
        status.active = (active != 0).then_some(active);
        status.ready = Some(tally.ready);
        status.terminating = Some(tally.terminating);
        self.track(k, job, status, &pods, &leaving, finish, &tally).await?;
        match failure {
            Some(e) => Err(e.into()),
            None => Ok(again.into_iter().chain(waits).min()),
        }
    }

    /// The Suspended condition, and the start time that begins anew with a resume.
    fn suspension(&self, job: &Job, status: &mut JobStatus, now: Timestamp) {
        let about = object_ref(job);
        if is_suspended(job) {
            if track::ensure(
                status,
                condition("Suspended", "True", "JobSuspended", "Job suspended", now),
            ) {
                status.start_time = None;
                self.ctx
                    .events
                    .event(&about, "Normal", "Suspended", "Job suspended".into());
            }
        } else if track::ensure(
            status,
            condition("Suspended", "False", "JobResumed", "Job resumed", now),
        ) {
            status.start_time = Some(crate::common::time::truncate(now));
            self.ctx.events.event(&about, "Normal", "Resumed", "Job resumed".into());
        }
    }

    /// Creates or deletes pods. Returns how many are active then, what failed, and when to look again.
    async fn manage(
        &self,
        k: &str,
        job: &Job,
        tally: &mut Tally,
        pods: &[Arc<Pod>],
        now: Timestamp,
    ) -> (i32, Option<keelson_client::Error>, Option<Duration>) {
        let active = tally.active.len() as i32;
        let wanted = if is_suspended(job) { 0 } else { tally.wanted(job) };
        let limit = tally::completions(job).filter(|_| is_indexed(job));
        let surplus = usize::try_from(active - wanted).unwrap_or(0);
        let mut victims = pods::to_delete(&tally.active, limit, surplus);
        victims.truncate(PODS_PER_SYNC_MAX);
        if !victims.is_empty() {
            let (gone, ready, e) = self.delete(k, job, &victims, true).await;
            tally.terminating += gone as i32;
            tally.ready -= ready as i32;
            return (active - gone as i32, e, None);
        }
        let terminating = if tally::replaces_only_failed(job) {
            tally.terminating
        } else {
            0
        };
        let missing = usize::try_from(wanted - terminating - active).unwrap_or(0);
        if missing == 0 {
            return (active, None, None);
        }
        if let Some(wait) = tally.backoff.remaining(now) {
            return (active, None, Some(wait));
        }
        let missing = missing.min(PODS_PER_SYNC_MAX);
        let indexes: Vec<Option<i32>> = if is_indexed(job) {
            tally
                .pending_indexes(job, pods, missing)
                .into_iter()
                .map(Some)
                .collect()
        } else {
            vec![None; missing]
        };
        let (created, e) = self.create(k, job, &indexes).await;
        (active + created as i32, e, None)
    }

    async fn create(&self, k: &str, job: &Job, indexes: &[Option<i32>]) -> (usize, Option<keelson_client::Error>) {
        self.expectations.expect_creations(k, indexes.len());
        let (done, failure) = slow_start(indexes.len(), |i| {
            let index = indexes.get(i).copied().flatten();
            async move {
                let Some(pod) = pods::build(job, index) else {
                    return Ok(());
                };
                match self.control.create(job, &pod).await {
                    Err(e) if namespace_terminating(&e) => {
                        self.expectations.creation_observed(k);
                        Ok(())
                    }
                    other => other.map(|_| ()),
                }
            }
        })
        .await;
        for _ in done..indexes.len() {
            self.expectations.creation_observed(k);
        }
        (done, failure)
    }

    /// Deletes pods; `uncounted` takes their finalizers too, so that their end does not count. Returns how many
    /// went, how many of those were ready, and what failed.
    async fn delete(
        &self,
        k: &str,
        job: &Job,
        victims: &[Arc<Pod>],
        uncounted: bool,
    ) -> (usize, usize, Option<keelson_client::Error>) {
        if victims.is_empty() {
            return (0, 0, None);
        }
        self.expectations
            .expect_deletions(k, victims.iter().map(|p| key(&p.metadata)));
        let results = join_all(victims.iter().map(|p| async move {
            if uncounted && has_finalizer(p) {
                self.remove_finalizer(p).await?;
            }
            self.control.delete(job, p).await
        }))
        .await;
        let (mut gone, mut ready, mut failure) = (0, 0, None);
        for (p, r) in victims.iter().zip(results) {
            if r.is_err() {
                self.expectations.deletion_observed(k, &key(&p.metadata));
            }
            match r {
                Err(e) if !e.is_not_found() => failure = Some(e),
                _ => {
                    gone += 1;
                    ready += usize::from(is_ready(p));
                }
            }
        }
        (gone, ready, failure)
    }

    #[allow(clippy::too_many_arguments)]
    async fn track(
        &self,
        k: &str,
        job: &Job,
        status: JobStatus,
        pods: &[Arc<Pod>],
        leaving: &HashSet<String>,
        finish: Option<JobCondition>,
        tally: &Tally,
    ) -> Result<(), Error> {
        let now = Timestamp::now();
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        let api = Api::<Job>::namespaced(self.ctx.client.clone(), namespace);
        let step = track::step(job, status, pods, leaving, finish, now);
        let mut current = job.clone();
        if let Some(new) = write_status(&api, job, |j| &mut j.status, step.status.clone()).await? {
            self.written.note(&new.metadata);
            current = new;
        }
        self.backoffs.lock().insert(k.to_owned(), tally.backoff);
        let (released, failure) = self.release(k, &step.release).await;
        let mut left = leaving.clone();
        left.extend(released);
        let mut status = step.status.clone();
        track::settle(&mut status, &track::holding(pods, &left));
        let end = step.finish.as_ref().filter(|_| !step.more && failure.is_none());
        let finished = track::finish(&mut status, end, tally.terminating, now);
        if let Some(new) = write_status(&api, &current, |j| &mut j.status, status.clone()).await? {
            self.written.note(&new.metadata);
        }
        if let (true, Some(end)) = (finished, end) {
            self.tell_end(job, &status, end);
        }
        failure.map_or(Ok(()), |e| Err(e.into()))
    }

    fn tell_end(&self, job: &Job, status: &JobStatus, end: &JobCondition) {
        let about = object_ref(job);
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        if end.type_ != "Complete" {
            let reason = text(&end.reason);
            return self.ctx.events.event(&about, "Warning", &reason, text(&end.message));
        }
        if tally::completions(job).is_some_and(|c| status.succeeded.unwrap_or(0) > c) {
            let message = "Too many succeeded pods running after completion count reached";
            self.ctx
                .events
                .event(&about, "Warning", "TooManySucceededPods", message.into());
        }
        self.ctx
            .events
            .event(&about, "Normal", "Completed", "Job completed".into());
    }

    /// Removes the finalizers; returns the uids that are free, and a failure.
    async fn release(&self, k: &str, pods: &[Arc<Pod>]) -> (Vec<String>, Option<keelson_client::Error>) {
        if pods.is_empty() {
            return (Vec::new(), None);
        }
        self.leaving
            .lock()
            .entry(k.to_owned())
            .or_default()
            .extend(pods.iter().filter_map(|p| p.metadata.uid.clone()));
        let results = join_all(pods.iter().map(|p| self.remove_finalizer(p))).await;
        let (mut free, mut failure) = (Vec::new(), None);
        for (p, r) in pods.iter().zip(results) {
            match r {
                Err(e) => {
                    self.observe_left(k, p);
                    failure = Some(e);
                }
                Ok(found) => {
                    if !found {
                        // No event will come for a pod that is not there.
                        self.observe_left(k, p);
                    }
                    free.extend(p.metadata.uid.clone());
                }
            }
        }
        (free, failure)
    }

    /// False when the pod was gone.
    async fn remove_finalizer(&self, pod: &Pod) -> Result<bool, keelson_client::Error> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let patch = json!({"metadata": {
            "uid": pod.metadata.uid,
            "$deleteFromPrimitiveList/finalizers": [pods::FINALIZER],
        }});
        let api = Api::<Pod>::namespaced(self.ctx.client.clone(), namespace);
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Ok(_) => Ok(true),
            // Gone, or (Conflict) another pod of the name.
            Err(e) if e.is_not_found() || e.is_conflict() => Ok(false),
            Err(e) => Err(e),
        }
    }

    async fn release_orphan(&self, k: &str) -> Outcome {
        let Some(pod) = self.pods.get(k).filter(|p| has_finalizer(p)) else {
            return Ok(None);
        };
        let owner = owner_key::<Job>(&pod.metadata).and_then(|k| self.jobs.get(&k));
        let uid = controller_of(&pod.metadata).map(|r| r.uid.as_str());
        if owner.is_some_and(|j| j.metadata.uid.as_deref() == uid) {
            return Ok(None);
        }
        self.remove_finalizer(&pod).await?;
        Ok(None)
    }
}

fn selector_of(j: &Job) -> Option<Selector> {
    Selector::from_structured(j.spec.as_ref()?.selector.as_ref()?).ok()
}
