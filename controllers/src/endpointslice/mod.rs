//! EndpointSlices: the addresses behind each Service that has a selector.
mod desired;
mod plan;
#[cfg(test)]
mod tests;

use crate::common::expectations::Expectations;
use crate::common::service_pods::{matters, selector, selects};
use crate::common::{Context, Error, Outcome, key};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keelson_client::events::object_ref;
use keelson_client::{Api, DeleteParams, Event, Store, WorkQueue};
use std::sync::Arc;

pub const NAME: &str = "endpointslice-controller";
/// The ServiceAccount it acts as, whose role is bootstrapped under this name.
pub const ACCOUNT: &str = "endpointslice-controller";
/// Value of the label `endpointslice.kubernetes.io/managed-by`.
pub const MANAGED_BY: &str = "endpointslice-controller.k8s.io";
pub const MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
const SERVICE_INDEX: &str = "service";

struct Controller {
    ctx: Context,
    services: Store<Service>,
    pods: Store<Pod>,
    nodes: Store<Node>,
    slices: Store<EndpointSlice>,
    queue: WorkQueue<String>,
    expectations: Expectations,
}

/// The Service that a slice of ours belongs to.
fn service_key(s: &EndpointSlice) -> Option<String> {
    let labels = s.metadata.labels.as_ref()?;
    if labels.get(MANAGED_BY_LABEL).map(String::as_str) != Some(MANAGED_BY) {
        return None;
    }
    Some(format!(
        "{}/{}",
        s.metadata.namespace.as_deref().unwrap_or_default(),
        labels.get(SERVICE_LABEL)?
    ))
}

pub async fn run(ctx: Context) {
    let services = ctx.factory.informer::<Service>();
    let pods = ctx.factory.informer::<Pod>();
    let nodes = ctx.factory.informer::<Node>();
    let slices = ctx.factory.informer::<EndpointSlice>();
    slices
        .store()
        .add_index(SERVICE_INDEX, |s| service_key(s).into_iter().collect());
    let c = Arc::new(Controller {
        services: services.store(),
        pods: pods.store(),
        nodes: nodes.store(),
        slices: slices.store(),
        queue: WorkQueue::new("endpointslice"),
        expectations: Expectations::default(),
        ctx: ctx.clone(),
    });
    let q = c.queue.clone();
    services.on_event(move |e| q.add(key(&e.object().metadata)));
    let h = c.clone();
    pods.on_event(move |e| h.on_pod(e));
    let h = c.clone();
    nodes.on_event(move |e| h.on_node(e));
    let h = c.clone();
    slices.on_event(move |e| h.on_slice(e));
    services.wait_synced().await;
    pods.wait_synced().await;
    nodes.wait_synced().await;
    slices.wait_synced().await;
    let queue = c.queue.clone();
    ctx.work(&queue, move |k| {
        let c = c.clone();
        async move { c.reconcile(&k).await }
    })
    .await;
}

impl Controller {
    fn on_pod(&self, event: &Event<Pod>) {
        let old = match event {
            Event::Updated(old, new) if !matters(old, new) => return,
            Event::Updated(old, _) => Some(old),
            _ => None,
        };
        let pod = event.object();
        for s in self
            .services
            .list_namespace(pod.metadata.namespace.as_deref().unwrap_or_default())
        {
            if selects(&s, pod.metadata.labels.as_ref()) || old.is_some_and(|o| selects(&s, o.metadata.labels.as_ref()))
            {
                self.queue.add(key(&s.metadata));
            }
        }
    }

    /// Endpoints carry the zone of their node.
    fn on_node(&self, event: &Event<Node>) {
        let zone = |n: &Node| n.metadata.labels.as_ref().and_then(|l| l.get(ZONE_LABEL)).cloned();
        let changed = match event {
            Event::Updated(old, new) => zone(old) != zone(new),
            Event::Added(n) | Event::Deleted(n) => zone(n).is_some(),
        };
        if changed {
            for s in self.services.list() {
                self.queue.add(key(&s.metadata));
            }
        }
    }

    fn on_slice(&self, event: &Event<EndpointSlice>) {
        if let Event::Updated(old, new) = event
            && let Some(k) = service_key(old)
            && service_key(new).as_ref() != Some(&k)
        {
            self.queue.add(k);
        }
        let slice = event.object();
        let Some(k) = service_key(slice) else {
            return;
        };
        match event {
            Event::Added(_) => self.expectations.creation_observed(&k),
            Event::Deleted(_) => self.expectations.deletion_observed(&k, &key(&slice.metadata)),
            Event::Updated(..) => {}
        }
        self.queue.add(k);
    }

    async fn reconcile(&self, k: &str) -> Outcome {
        let Some(service) = self.services.get(k) else {
            // The garbage collector takes the slices.
            self.expectations.forget(k);
            return Ok(None);
        };
        if selector(&service).is_none() || service.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        if let Some(wait) = self.expectations.pending(k) {
            return Ok(Some(wait));
        }
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let pods: Vec<_> = self
            .pods
            .list_namespace(namespace)
            .into_iter()
            .filter(|p| selects(&service, p.metadata.labels.as_ref()))
            .collect();
        let zone = |node: &str| self.nodes.get(node)?.metadata.labels.as_ref()?.get(ZONE_LABEL).cloned();
        let wanted = desired::desired(&service, &pods, zone);
        let existing = self.slices.by_index(SERVICE_INDEX, k);
        let plan = plan::plan(&service, wanted, &existing);
        match self.execute(k, namespace, plan).await {
            Ok(()) => Ok(None),
            Err(e) => {
                if !e.is_conflict() {
                    self.ctx.events.event(
                        &object_ref(&*service),
                        "Warning",
                        "FailedToUpdateEndpointSlices",
                        format!("Error updating Endpoint Slices for Service {k}: {e}"),
                    );
                }
                Err(Error::Client(e))
            }
        }
    }

    async fn execute(&self, k: &str, namespace: &str, plan: plan::Plan) -> Result<(), keelson_client::Error> {
        let api = Api::<EndpointSlice>::namespaced(self.ctx.client.clone(), namespace);
        let delete_keys = plan.delete.iter().map(|s| key(&s.metadata));
        if !plan.create.is_empty() || !plan.delete.is_empty() {
            self.expectations.expect(k, plan.create.len(), delete_keys);
        }
        let creations = plan.create.iter().map(|s| async {
            let r = api.create(s).await;
            if r.is_err() {
                self.expectations.creation_observed(k);
            }
            r.map(|_| ())
        });
        let updates = plan.update.iter().map(|s| async {
            api.replace(s.metadata.name.as_deref().unwrap_or_default(), s)
                .await
                .map(|_| ())
        });
        let mut results = join_all(creations).await;
        results.extend(join_all(updates).await);
        // Deletions come last, so that no address is missing in between.
        let deletions = plan.delete.iter().map(|s| async {
            let r = api
                .delete(s.metadata.name.as_deref().unwrap_or_default(), &DeleteParams::default())
                .await;
            if r.is_err() {
                self.expectations.deletion_observed(k, &key(&s.metadata));
            }
            match r {
                Err(e) if e.is_not_found() => Ok(()),
                other => other,
            }
        });
        results.extend(join_all(deletions).await);
        results.into_iter().collect()
    }
}
