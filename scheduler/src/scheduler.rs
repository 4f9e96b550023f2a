//! The loop: events in, one pod at a time out, bindings beside it.
use crate::cache::Cache;
use crate::framework::profile::Failure;
use crate::framework::types::{node_name, pod_key};
use crate::framework::{ClusterEvent, CycleState, PodInfo, Profile, Snapshot};
use crate::queue::{Queue, QueuedPod};
use crate::report::Reporter;
use k8s_openapi::api::core::v1::{Node, Pod};
use keelson_client::leader::Leadership;
use keelson_client::{Client, Event};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

/// Bindings under way at once; a decision past it waits for one to end.
const BINDINGS_IN_FLIGHT_MAX: usize = 256;

/// Everything that the informers' handlers and the loop share.
pub struct Scheduler {
    profiles: HashMap<String, Arc<Profile>>,
    cache: Mutex<Cache>,
    queue: Mutex<Queue>,
    /// Rung whenever the queue may have something to pop.
    bell: Notify,
    client: Client,
    reporter: Reporter,
    bindings: Arc<Semaphore>,
    leadership: Leadership,
}

fn scheduler_name(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|s| s.scheduler_name.as_deref())
        .filter(|n| !n.is_empty())
        .unwrap_or("default-scheduler")
}

fn is_terminal(pod: &Pod) -> bool {
    matches!(
        pod.status.as_ref().and_then(|s| s.phase.as_deref()),
        Some("Succeeded" | "Failed")
    )
}

impl Scheduler {
    pub fn new(
        profiles: HashMap<String, Arc<Profile>>,
        queue: Queue,
        client: Client,
        reporter: Reporter,
        leadership: Leadership,
    ) -> Self {
        Scheduler {
            profiles,
            cache: Mutex::default(),
            queue: Mutex::new(queue),
            bell: Notify::new(),
            client,
            reporter,
            bindings: Arc::new(Semaphore::new(BINDINGS_IN_FLIGHT_MAX)),
            leadership,
        }
    }

    fn profile_of(&self, pod: &Pod) -> Option<&Arc<Profile>> {
        self.profiles.get(scheduler_name(pod))
    }

    /// Whether any plugin that refused the pod sees a chance in the event.
    fn hint(&self, pod: &PodInfo, refused_by: &BTreeSet<&'static str>, event: &ClusterEvent) -> bool {
        self.profile_of(&pod.pod)
            .is_some_and(|p| p.may_help(refused_by, pod, event))
    }

    fn tell(&self, event: ClusterEvent) {
        let hint = |p: &PodInfo, r: &BTreeSet<&'static str>, e: &ClusterEvent| self.hint(p, r, e);
        self.queue.lock().on_event(event, Instant::now(), &hint);
        self.bell.notify_one();
    }

    pub fn on_node(&self, event: &Event<Node>) {
        match event {
            Event::Added(n) => {
                self.cache.lock().set_node(n.clone());
                self.tell(ClusterEvent::NodeAdded(n.clone()));
            }
            Event::Updated(old, new) => {
                self.cache.lock().set_node(new.clone());
                if node_matters(old, new) {
                    self.tell(ClusterEvent::NodeUpdated {
                        old: old.clone(),
                        new: new.clone(),
                    });
                }
            }
            Event::Deleted(n) => {
                let name = n.metadata.name.as_deref().unwrap_or_default();
                self.cache.lock().remove_node(name);
            }
        }
    }

    pub fn on_pod(&self, event: &Event<Pod>) {
        match event {
            Event::Added(p) => self.pod_is(None, p),
            Event::Updated(old, new) => self.pod_is(Some(old), new),
            Event::Deleted(p) => self.pod_is_gone(p),
        }
    }

    fn pod_is(&self, old: Option<&Arc<Pod>>, pod: &Arc<Pod>) {
        if is_terminal(pod) {
            return self.pod_is_gone(pod);
        }
        if old.is_some_and(|o| o.metadata.uid != pod.metadata.uid) {
            self.pod_is_gone(pod);
        }
        let info = Arc::new(PodInfo::new(pod.clone()));
        if node_name(pod).is_some() {
            self.queue.lock().remove(&info.key);
            self.cache.lock().set_pod(info.clone());
            if let Some(old) = old.filter(|o| node_name(o).is_some()) {
                let old = PodInfo::new(old.clone());
                if old.requests != info.requests || old.pod.metadata.labels != info.pod.metadata.labels {
                    self.tell(ClusterEvent::AssignedPodUpdated {
                        old: Arc::new(old),
                        new: info,
                    });
                }
            }
            return;
        }
        let Some(profile) = self.profile_of(pod) else {
            return;
        };
        if pod.metadata.deletion_timestamp.is_some() {
            return self.queue.lock().remove(&info.key);
        }
        // A pod assumed on a node is on its way there: its updates are not a new wish.
        if self.cache.lock().is_placed(&info.key) {
            return self.queue.lock().refresh_in_flight(info);
        }
        let gated = profile.pre_enqueue(&info).is_err();
        let matters = old.is_none_or(|o| o.spec != pod.spec || o.metadata.labels != pod.metadata.labels);
        let now = Instant::now();
        let mut queue = self.queue.lock();
        match old {
            None => queue.add(info, gated, now),
            Some(_) => queue.update(info, gated, matters, now),
        }
        drop(queue);
        self.bell.notify_one();
    }

    fn pod_is_gone(&self, pod: &Pod) {
        let key = pod_key(pod);
        self.queue.lock().remove(&key);
        let was = self.cache.lock().remove_pod(&key);
        if let Some(was) = was {
            self.tell(ClusterEvent::AssignedPodRemoved(was));
        }
    }

    /// Decides pods until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut snapshot = Snapshot::default();
        let mut start = 0;
        loop {
            let (next, deadline) = {
                let mut q = self.queue.lock();
                let next = q.pop(Instant::now());
                (next, q.next_deadline())
            };
            if let Some(pod) = next {
                self.schedule_one(pod, &mut snapshot, &mut start).await;
                if stop.is_cancelled() {
                    return;
                }
                continue;
            }
            let timer = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.bell.notified() => {}
                () = timer => {}
            }
        }
    }

    async fn schedule_one(self: &Arc<Self>, pod: QueuedPod, snapshot: &mut Snapshot, start: &mut usize) {
        let Some(profile) = self.profile_of(&pod.info.pod).cloned() else {
            return self.queue.lock().done(&pod);
        };
        let began = Instant::now();
        self.cache.lock().refresh(snapshot);
        let mut state = CycleState::default();
        let decision = profile.decide(&mut state, &pod.info, snapshot, start).and_then(|node| {
            profile
                .reserve(&mut state, &pod.info, &node.name)
                .map(|()| node)
                .map_err(Failure::Error)
        });
        tracing::debug!(pod = %pod.info.key, took_us = began.elapsed().as_micros() as u64, ok = decision.is_ok(), "decided");
        match decision {
            Ok(node) => {
                self.cache.lock().assume(pod.info.clone(), &node.name);
                // Waiting here, and only here, bounds the bindings under way.
                let Ok(permit) = self.bindings.clone().acquire_owned().await else {
                    return;
                };
                let this = self.clone();
                let node = node.name.clone();
                tokio::spawn(async move {
                    // A binding that still waits to be sent when another leads must not be sent.
                    let lost = this.leadership.lost().clone();
                    lost.run_until_cancelled(this.bind(&profile, state, pod, &node)).await;
                    drop(permit);
                });
            }
            Err(failure) => self.refused(pod, failure),
        }
    }

    async fn bind(&self, profile: &Profile, mut state: CycleState, pod: QueuedPod, node: &str) {
        // A process that stood still decided by what was true before: another may have filled the node since.
        let bound = if self.leadership.holds() {
            profile.bind(&self.client, &pod.info, node).await
        } else {
            Err("leadership is lost".to_owned())
        };
        match bound {
            Ok(()) => {
                self.queue.lock().done(&pod);
                self.reporter.scheduled(&pod.info, node);
            }
            Err(e) => {
                profile.unreserve(&mut state, &pod.info, node);
                let forgotten = self.cache.lock().forget(&pod.info.key);
                if let Some(p) = forgotten {
                    self.tell(ClusterEvent::AssignedPodRemoved(p));
                }
                self.refused(
                    pod,
                    Failure::Error(crate::framework::Rejection::new(
                        crate::framework::Code::Error,
                        "DefaultBinder",
                        e,
                    )),
                );
            }
        }
    }

    fn refused(&self, pod: QueuedPod, failure: Failure) {
        let refused_by = match &failure {
            Failure::NoFit(d) => Some(d.plugins.clone()),
            // Refused by nobody in particular: any event wakes it.
            Failure::NoNodes => Some(BTreeSet::new()),
            Failure::Error(_) => None,
        };
        let hint = |p: &PodInfo, r: &BTreeSet<&'static str>, e: &ClusterEvent| self.hint(p, r, e);
        let waits = self.queue.lock().retry(&pod, refused_by, Instant::now(), &hint);
        if waits {
            self.reporter.failed(&pod.info, failure.reason(), failure.message());
            self.bell.notify_one();
        }
    }
}

/// Heartbeats change a node every few minutes and matter to nobody who waits.
fn node_matters(old: &Node, new: &Node) -> bool {
    let allocatable = |n: &Node| n.status.as_ref().and_then(|s| s.allocatable.clone());
    old.spec != new.spec
        || old.metadata.labels != new.metadata.labels
        || old.metadata.annotations != new.metadata.annotations
        || allocatable(old) != allocatable(new)
}
