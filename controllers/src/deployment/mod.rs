//! Deployments: one ReplicaSet a pod template, scaled against each other.
//!
//! [`plan`] is pure: it takes the Deployment, its ReplicaSets and the time, and gives back steps and a status.
mod conditions;
mod execute;
mod plan;
mod revision;
mod scale;
#[cfg(test)]
mod tests;

use crate::common::owner::{claim_all, controller_of, owner_key};
use crate::common::pods::is_terminal;
use crate::common::{Context, Error, Outcome, key};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use keelson_client::events::object_ref;
use keelson_client::informer::OWNER_INDEX;
use keelson_client::{Api, Event, Store, WorkQueue};
use keelson_machinery::labels::Selector;
use std::sync::Arc;

pub const NAME: &str = "deployment-controller";
/// The ServiceAccount it acts as, whose role is bootstrapped under this name.
pub const ACCOUNT: &str = "deployment-controller";

struct Controller {
    ctx: Context,
    deployments: Store<Deployment>,
    sets: Store<ReplicaSet>,
    pods: Store<Pod>,
    queue: WorkQueue<String>,
}

pub async fn run(ctx: Context) {
    let deployments = ctx.factory.informer::<Deployment>();
    let sets = ctx.factory.informer::<ReplicaSet>();
    let pods = ctx.factory.informer::<Pod>();
    let c = Arc::new(Controller {
        deployments: deployments.store(),
        sets: sets.store(),
        pods: pods.store(),
        queue: WorkQueue::new("deployment"),
        ctx: ctx.clone(),
    });
    let q = c.queue.clone();
    deployments.on_event(move |e| q.add(key(&e.object().metadata)));
    let h = c.clone();
    sets.on_event(move |e| h.on_set(e));
    let h = c.clone();
    pods.on_event(move |e| h.on_pod(e));
    deployments.wait_synced().await;
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
    fn on_set(&self, event: &Event<ReplicaSet>) {
        if let Event::Updated(old, new) = event
            && let Some(k) = owner_key::<Deployment>(&old.metadata)
            && owner_key::<Deployment>(&new.metadata).as_ref() != Some(&k)
        {
            self.queue.add(k);
        }
        let rs = event.object();
        if let Some(k) = owner_key::<Deployment>(&rs.metadata) {
            return self.queue.add(k);
        }
        if controller_of(&rs.metadata).is_some() {
            return;
        }
        for d in self
            .deployments
            .list_namespace(rs.metadata.namespace.as_deref().unwrap_or_default())
        {
            if selector_of(&d).is_some_and(|s| !s.is_empty() && s.matches_map(rs.metadata.labels.as_ref())) {
                self.queue.add(key(&d.metadata));
            }
        }
    }

    /// Recreate waits for the last old pod to go; nothing else here needs to know of pods.
    fn on_pod(&self, event: &Event<Pod>) {
        let gone = match event {
            Event::Deleted(_) => true,
            Event::Updated(old, new) => !is_terminal(old) && is_terminal(new),
            Event::Added(_) => false,
        };
        let pod = event.object();
        if !gone {
            return;
        }
        let Some(rs) = owner_key::<ReplicaSet>(&pod.metadata).and_then(|k| self.sets.get(&k)) else {
            return;
        };
        let Some(k) = owner_key::<Deployment>(&rs.metadata) else {
            return;
        };
        if self.deployments.get(&k).is_some_and(|d| plan::is_recreate(&d)) {
            self.queue.add(k);
        }
    }

    async fn reconcile(&self, k: &str) -> Outcome {
        let Some(d) = self.deployments.get(k) else {
            return Ok(None);
        };
        let Some(selector) = selector_of(&d) else {
            return Err(Error::Other(format!("{k}: invalid selector")));
        };
        if selector.is_empty() {
            self.ctx.events.event(
                &object_ref(&*d),
                "Warning",
                "SelectingAll",
                "This deployment is selecting all pods. A non-empty selector is required.".into(),
            );
            return Ok(None);
        }
        let namespace = d.metadata.namespace.as_deref().unwrap_or_default();
        let sets = self.claim(&d, &selector, namespace).await?;
        let plan = plan::plan(&d, &sets, Timestamp::now(), |rs| self.has_running_pods(rs));
        execute::execute(&self.ctx, &self.sets, &d, plan).await
    }

    async fn claim(&self, d: &Deployment, selector: &Selector, ns: &str) -> Result<Vec<Arc<ReplicaSet>>, Error> {
        let mut candidates = self
            .sets
            .by_index(OWNER_INDEX, d.metadata.uid.as_deref().unwrap_or_default());
        candidates.extend(
            self.sets.list_namespace(ns).into_iter().filter(|rs| {
                controller_of(&rs.metadata).is_none() && selector.matches_map(rs.metadata.labels.as_ref())
            }),
        );
        let owners = Api::<Deployment>::namespaced(self.ctx.client.clone(), ns);
        let objects = Api::<ReplicaSet>::namespaced(self.ctx.client.clone(), ns);
        claim_all(d, selector, candidates, &owners, &objects).await
    }

    fn has_running_pods(&self, rs: &ReplicaSet) -> bool {
        self.pods
            .by_index(OWNER_INDEX, rs.metadata.uid.as_deref().unwrap_or_default())
            .iter()
            .any(|p| !is_terminal(p))
    }
}

fn selector_of(d: &Deployment) -> Option<Selector> {
    Selector::from_structured(&d.spec.as_ref()?.selector).ok()
}
