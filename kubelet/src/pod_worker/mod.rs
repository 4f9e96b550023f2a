//! One task owns one pod, from the moment it is bound here until its API object is gone (upstream:
//! pkg/kubelet/pod_workers.go).
//!
//! The loop: look at the runtime, plan, do, look again; when there is nothing to do, report and wait for the next
//! word of the API, the runtime, a probe, an object it refers to, or the clock.
//!
//! Cancellation: a worker dropped at any point leaves the runtime's state as it is; the next one adopts it.
mod adopt;
mod container;
mod create;
mod hooks;
mod kill;
mod mounts;
mod plan;
mod sandbox;
mod sync;
mod terminate;

use crate::agent::Agent;
use crate::cri::PodView;
use crate::pod::PodExt;
use crate::probes::ProbeSet;
use crate::status::{self, Context, Messages, StatusWriter};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

pub use kill::kill_orphan;
pub use sandbox::log_dir;

/// What the API says of the pod.
#[derive(Clone, Debug)]
pub struct Desired {
    pub pod: Arc<Pod>,
    /// The API object is gone.
    pub deleted: bool,
    /// Grows when more than the status changed.
    pub revision: u64,
}

impl Desired {
    pub fn must_stop(&self) -> bool {
        self.deleted || self.pod.terminating()
    }
}

/// The API's side of a worker; cheap to clone.
#[derive(Clone)]
pub struct WorkerHandle {
    desired: watch::Sender<Desired>,
    wake: Arc<Notify>,
}

impl WorkerHandle {
    pub fn spawn(agent: Arc<Agent>, pod: Arc<Pod>, on_end: impl FnOnce() + Send + 'static) -> Self {
        let (desired, receiver) = watch::channel(Desired {
            pod,
            deleted: false,
            revision: 1,
        });
        let wake = Arc::new(Notify::new());
        let handle = WorkerHandle {
            desired,
            wake: wake.clone(),
        };
        let stop = agent.stop.clone();
        tokio::spawn(async move {
            loop {
                let worker = Worker::new(agent.clone(), receiver.clone(), wake.clone());
                let mut task = tokio::spawn(worker.run());
                let ended = tokio::select! {
                    r = &mut task => r,
                    () = stop.cancelled() => {
                        task.abort();
                        return;
                    }
                };
                match ended {
                    Ok(()) => return on_end(),
                    // A defect of ours: the pod is adopted anew, as after a restart of the agent.
                    Err(e) => tracing::error!(error = %e, "a pod's worker has failed: it is started again"),
                }
                tokio::time::sleep(RETRY).await;
            }
        });
        handle
    }
    pub fn update(&self, pod: Arc<Pod>) {
        self.desired.send_modify(|d| {
            if !only_status_changed(&d.pod, &pod) {
                d.revision += 1;
            }
            d.pod = pod;
        });
    }
    pub fn deleted(&self, pod: Arc<Pod>) {
        self.desired.send_modify(|d| {
            d.revision += 1;
            d.deleted = true;
            // The last state tells the grace period.
            d.pod = pod;
        });
    }
    pub fn wake(&self) {
        self.wake.notify_one();
    }
    pub fn pod(&self) -> Arc<Pod> {
        self.desired.borrow().pod.clone()
    }
}

fn only_status_changed(old: &Pod, new: &Pod) -> bool {
    let quiet = |p: &Pod| {
        let mut m = p.metadata.clone();
        m.resource_version = None;
        m.managed_fields = None;
        m
    };
    old.spec == new.spec && quiet(old) == quiet(new)
}

/// When to look again without being told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Something was done: look again at once.
    Again,
    Wait(Option<Instant>),
    /// The pod is gone.
    Done,
}

/// A container's crash loop.
#[derive(Clone, Copy, Debug)]
struct Backoff {
    delay: Duration,
    updated: Instant,
}

struct Worker {
    agent: Arc<Agent>,
    desired: watch::Receiver<Desired>,
    wake: Arc<Notify>,
    writer: StatusWriter,
    probes: ProbeSet,
    context: Context,
    messages: Messages,
    last_status: PodStatus,
    last_view: PodView,
    last_revision: u64,
    /// When the last full look wanted the next one.
    last_until: Option<Instant>,
    /// By container name.
    backoffs: HashMap<String, Backoff>,
    /// Starts that failed are not tried again before then, by container name.
    holds: HashMap<String, Instant>,
    adopted: bool,
    cgroup_ready: bool,
    /// The volumes' last failure, so that it is told once a while only.
    volume_failure: Option<(String, Instant)>,
    sandbox_failures: u32,
    torn_down: bool,
}

/// A runtime or API that fails is asked again after this.
const RETRY: Duration = Duration::from_secs(1);

impl Worker {
    fn new(agent: Arc<Agent>, desired: watch::Receiver<Desired>, wake: Arc<Notify>) -> Self {
        let pod = desired.borrow().pod.clone();
        let writer = StatusWriter::new(agent.clone(), &pod);
        let last_status = pod.status.clone().unwrap_or_default();
        let started_at = last_status.start_time.as_ref().map_or_else(Timestamp::now, |t| t.0);
        Worker {
            agent,
            desired,
            wake,
            writer,
            probes: ProbeSet::default(),
            context: Context {
                started_at: Some(started_at),
                ..Default::default()
            },
            messages: Messages::new(),
            last_status,
            last_view: PodView::default(),
            last_revision: 0,
            last_until: None,
            backoffs: HashMap::new(),
            holds: HashMap::new(),
            adopted: false,
            cgroup_ready: false,
            volume_failure: None,
            sandbox_failures: 0,
            torn_down: false,
        }
    }

    async fn run(mut self) {
        let uid = self.desired.borrow().pod.uid().to_owned();
        let mut woken = true;
        loop {
            let desired = self.desired.borrow_and_update().clone();
            let only_status = !woken && desired.revision == self.last_revision;
            self.last_revision = desired.revision;
            let next = if only_status {
                // A condition of someone else's may be a readiness gate.
                let view = self.last_view.clone();
                self.report(&desired.pod, &view);
                Next::Wait(self.last_until)
            } else {
                self.step(&desired).await
            };
            let until = match next {
                Next::Again => {
                    woken = true;
                    continue;
                }
                Next::Done => break,
                Next::Wait(until) => until,
            };
            self.last_until = until;
            woken = self.wait(until).await;
        }
        self.agent.objects.set(&uid, &std::collections::BTreeSet::new());
        self.agent.tokens.forget(&uid);
        tracing::debug!(uid, "the pod is gone");
    }

    /// Returns whether more than a word of the API ended the wait.
    async fn wait(&mut self, until: Option<Instant>) -> bool {
        let timer = async {
            match until {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.desired.changed() => {
                if changed.is_err() {
                    // The manager is gone: so is the agent.
                    std::future::pending::<()>().await;
                }
                false
            }
            () = self.wake.notified() => true,
            () = timer => true,
        }
    }

    async fn step(&mut self, desired: &Desired) -> Next {
        let pod = &desired.pod;
        self.check_deadline(pod);
        if desired.must_stop() || self.context.failure.is_some() || matches!(pod.phase(), "Succeeded" | "Failed") {
            return self.terminate(desired).await;
        }
        self.sync(pod).await
    }

    /// activeDeadlineSeconds ends the pod, however well it does.
    fn check_deadline(&mut self, pod: &Pod) {
        if self.context.failure.is_none() && self.deadline(pod).is_some_and(|d| d <= Timestamp::now()) {
            let message = "Pod was active on the node longer than the specified deadline";
            self.agent.normal(pod, None, "DeadlineExceeded", message);
            self.context.failure = Some(("DeadlineExceeded".to_owned(), message.to_owned()));
        }
    }

    fn deadline(&self, pod: &Pod) -> Option<Timestamp> {
        let seconds = pod.spec().active_deadline_seconds?;
        self.context
            .started_at?
            .checked_add(jiff::SignedDuration::from_secs(seconds))
            .ok()
    }

    /// Computes the status and has it written.
    fn report(&mut self, pod: &Pod, view: &PodView) {
        self.read_messages(view);
        let status = status::compute(&self.agent, pod, view, &self.context, &self.messages, &self.last_status);
        self.writer.set(pod, &status);
        self.last_status = status;
        self.last_view = view.clone();
    }

    fn read_messages(&mut self, view: &PodView) {
        for c in view.containers.iter().filter(|c| c.exited()) {
            if !self.messages.contains_key(&c.id) {
                self.messages.insert(c.id.clone(), crate::logs::termination_message(c));
            }
        }
        self.messages
            .retain(|id, _| view.containers.iter().any(|c| &c.id == id));
    }

    /// Resolves when the pod is to stop: what may take long is given up then.
    fn interrupted(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut desired = self.desired.clone();
        async move {
            if desired.wait_for(Desired::must_stop).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// The earlier of two moments that may not be.
fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A moment of the wall clock as one to wait for.
fn instant_of(t: Timestamp) -> Instant {
    let left = t.duration_since(Timestamp::now());
    Instant::now() + Duration::try_from(left).unwrap_or(Duration::ZERO)
}
