//! ReplicaSets: as many pods as asked for.
mod status;

use crate::common::expectations::Expectations;
use crate::common::owner::{claim_all, owner_key};
use crate::common::pod_control::{PodControl, namespace_terminating, pod_from_template, slow_start};
use crate::common::pods::{is_active, is_terminal, next_available};
use crate::common::ranking::pods_to_delete;
use crate::common::status::write_status;
use crate::common::{Context, Error, Outcome, key, owner};
use futures::future::join_all;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use keelson_client::informer::OWNER_INDEX;
use keelson_client::{Api, Event, Store, WorkQueue};
use keelson_machinery::labels::Selector;
use std::sync::Arc;

pub const NAME: &str = "replicaset-controller";
/// The ServiceAccount it acts as, whose role is bootstrapped under this name.
pub const ACCOUNT: &str = "replicaset-controller";
/// Pods created or deleted in one reconcile (upstream `BurstReplicas`).
const BURST_PODS_MAX: usize = 500;

struct Controller {
    ctx: Context,
    sets: Store<ReplicaSet>,
    pods: Store<Pod>,
    queue: WorkQueue<String>,
    expectations: Expectations,
    control: PodControl,
}

pub async fn run(ctx: Context) {
    let sets = ctx.factory.informer::<ReplicaSet>();
    let pods = ctx.factory.informer::<Pod>();
    let c = Arc::new(Controller {
        sets: sets.store(),
        pods: pods.store(),
        queue: WorkQueue::new("replicaset"),
        expectations: Expectations::default(),
        control: PodControl {
            client: ctx.client.clone(),
            events: ctx.events.clone(),
        },
        ctx: ctx.clone(),
    });
    let q = c.queue.clone();
    sets.on_event(move |e| q.add(key(&e.object().metadata)));
    let h = c.clone();
    pods.on_event(move |e| h.on_pod(e));
    sets.wait_synced().await;
    pods.wait_synced().await;
    let queue = c.queue.clone();
    ctx.work(&queue, move |k| {
        let c = c.clone();
        async move { c.reconcile(&k).await }
    })
    .await;
}

impl Controller {
    fn on_pod(&self, event: &Event<Pod>) {
        match event {
            Event::Added(p) if p.metadata.deletion_timestamp.is_none() => match owner_key::<ReplicaSet>(&p.metadata) {
                Some(k) => {
                    self.expectations.creation_observed(&k);
                    self.queue.add(k);
                }
                None => self.enqueue_adopters(p),
            },
            Event::Added(p) => self.pod_leaves(p),
            Event::Updated(old, new) => {
                let (was, is) = (
                    owner_key::<ReplicaSet>(&old.metadata),
                    owner_key::<ReplicaSet>(&new.metadata),
                );
                if was != is
                    && let Some(k) = was
                {
                    self.queue.add(k);
                }
                if new.metadata.deletion_timestamp.is_some() {
                    self.pod_leaves(new);
                } else if let Some(k) = is {
                    self.queue.add(k);
                } else if old.metadata.labels != new.metadata.labels || owner::controller_of(&old.metadata).is_some() {
                    self.enqueue_adopters(new);
                }
            }
            Event::Deleted(p) => self.pod_leaves(p),
        }
    }

    fn pod_leaves(&self, pod: &Pod) {
        if let Some(k) = owner_key::<ReplicaSet>(&pod.metadata) {
            self.expectations.deletion_observed(&k, &key(&pod.metadata));
            self.queue.add(k);
        }
    }

    /// An orphan is of interest to every set that selects it.
    fn enqueue_adopters(&self, pod: &Pod) {
        if owner::controller_of(&pod.metadata).is_some() {
            return;
        }
        for rs in self
            .sets
            .list_namespace(pod.metadata.namespace.as_deref().unwrap_or_default())
        {
            if selector_of(&rs).is_some_and(|s| !s.is_empty() && s.matches_map(pod.metadata.labels.as_ref())) {
                self.queue.add(key(&rs.metadata));
            }
        }
    }

    async fn reconcile(&self, k: &str) -> Outcome {
        let Some(rs) = self.sets.get(k) else {
            self.expectations.forget(k);
            return Ok(None);
        };
        let Some(selector) = selector_of(&rs) else {
            return Err(Error::Other(format!("{k}: invalid selector")));
        };
        let waits = self.expectations.pending(k);
        let namespace = rs.metadata.namespace.as_deref().unwrap_or_default();
        let active = self.claim(&rs, &selector, namespace).await?;
        let mut failure = None;
        if waits.is_none() && rs.metadata.deletion_timestamp.is_none() {
            failure = self.manage(k, &rs, &active).await.err();
        }
        let now = Timestamp::now();
        let new = status::calculate(&rs, &active, failure.as_ref().map(ToString::to_string), now);
        let api = Api::<ReplicaSet>::namespaced(self.ctx.client.clone(), namespace);
        write_status(&api, &*rs, |r| &mut r.status, new).await?;
        if let Some(e) = failure {
            return Err(e.into());
        }
        let min_ready = rs.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0);
        let by_time = (min_ready > 0)
            .then(|| next_available(active.iter().map(|p| &**p), min_ready, now))
            .flatten();
        Ok(by_time.into_iter().chain(waits).min())
    }

    /// The active pods that the set controls, after adoption and release.
    async fn claim(&self, rs: &ReplicaSet, selector: &Selector, namespace: &str) -> Result<Vec<Arc<Pod>>, Error> {
        let uid = rs.metadata.uid.as_deref().unwrap_or_default();
        let mut candidates = self.pods.by_index(OWNER_INDEX, uid);
        candidates.extend(self.pods.list_namespace(namespace).into_iter().filter(|p| {
            owner::controller_of(&p.metadata).is_none() && selector.matches_map(p.metadata.labels.as_ref())
        }));
        candidates.retain(|p| is_active(p));
        let sets = Api::<ReplicaSet>::namespaced(self.ctx.client.clone(), namespace);
        let pods = Api::<Pod>::namespaced(self.ctx.client.clone(), namespace);
        claim_all(rs, selector, candidates, &sets, &pods).await
    }

    async fn manage(&self, k: &str, rs: &ReplicaSet, active: &[Arc<Pod>]) -> Result<(), keelson_client::Error> {
        let want = replicas(rs);
        if active.len() < want {
            let count = (want - active.len()).min(BURST_PODS_MAX);
            let Some(template) = rs.spec.as_ref().and_then(|s| s.template.as_ref()) else {
                return Ok(());
            };
            let pod = pod_from_template(rs, template);
            self.expectations.expect_creations(k, count);
            let (done, failure) = slow_start(count, |_| async {
                match self.control.create(rs, &pod).await {
                    Err(e) if namespace_terminating(&e) => {
                        // No event will come for it; nothing is wrong either.
                        self.expectations.creation_observed(k);
                        Ok(())
                    }
                    other => other.map(|_| ()),
                }
            })
            .await;
            for _ in done..count {
                self.expectations.creation_observed(k);
            }
            return failure.map_or(Ok(()), Err);
        }
        let surplus = (active.len() - want).min(BURST_PODS_MAX);
        if surplus == 0 {
            return Ok(());
        }
        let victims = pods_to_delete(active.to_vec(), &self.related(rs), surplus, Timestamp::now());
        self.expectations
            .expect_deletions(k, victims.iter().map(|p| key(&p.metadata)));
        let results = join_all(victims.iter().map(|p| async move {
            let r = self.control.delete(rs, p).await;
            if r.is_err() {
                self.expectations.deletion_observed(k, &key(&p.metadata));
            }
            r
        }))
        .await;
        results
            .into_iter()
            .filter_map(Result::err)
            .find(|e| !e.is_not_found())
            .map_or(Ok(()), Err)
    }

    /// Active pods of all sets with the same owner, for the ranking of what to delete.
    fn related(&self, rs: &ReplicaSet) -> Vec<Arc<Pod>> {
        let own = || {
            self.pods
                .by_index(OWNER_INDEX, rs.metadata.uid.as_deref().unwrap_or_default())
        };
        let pods: Vec<_> = match owner::controller_of(&rs.metadata) {
            Some(r) => self
                .sets
                .by_index(OWNER_INDEX, &r.uid)
                .iter()
                .flat_map(|s| {
                    self.pods
                        .by_index(OWNER_INDEX, s.metadata.uid.as_deref().unwrap_or_default())
                })
                .collect(),
            None => own(),
        };
        pods.into_iter().filter(|p| !is_terminal(p) && is_active(p)).collect()
    }
}

fn replicas(rs: &ReplicaSet) -> usize {
    let n = rs.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    usize::try_from(n).unwrap_or(0)
}

fn selector_of(rs: &ReplicaSet) -> Option<Selector> {
    Selector::from_structured(&rs.spec.as_ref()?.selector).ok()
}
