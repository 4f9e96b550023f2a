//! The v1 Endpoints object beside each Service, which older clients read.
mod build;

use crate::common::service_pods::{matters, selector, selects};
use crate::common::{Context, Outcome, key};
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use keelson_client::informer::split_key;
use keelson_client::{Api, DeleteParams, Event, Store, WorkQueue};
use std::sync::Arc;
use std::time::Duration;

pub const NAME: &str = "endpoints-controller";
/// The ServiceAccount it acts as, whose role is bootstrapped under this name.
pub const ACCOUNT: &str = "endpoint-controller";
/// Pause before a look at an object that the local copy does not have yet.
const BEHIND_PAUSE: Duration = Duration::from_millis(50);

struct Controller {
    ctx: Context,
    services: Store<Service>,
    pods: Store<Pod>,
    endpoints: Store<Endpoints>,
    queue: WorkQueue<String>,
}

pub async fn run(ctx: Context) {
    let services = ctx.factory.informer::<Service>();
    let pods = ctx.factory.informer::<Pod>();
    let endpoints = ctx.factory.informer::<Endpoints>();
    let c = Arc::new(Controller {
        services: services.store(),
        pods: pods.store(),
        endpoints: endpoints.store(),
        queue: WorkQueue::new("endpoints"),
        ctx: ctx.clone(),
    });
    let q = c.queue.clone();
    services.on_event(move |e| q.add(key(&e.object().metadata)));
    let h = c.clone();
    pods.on_event(move |e| h.on_pod(e));
    let q = c.queue.clone();
    endpoints.on_event(move |e| {
        if !matches!(e, Event::Updated(..)) {
            q.add(key(&e.object().metadata));
        }
    });
    services.wait_synced().await;
    pods.wait_synced().await;
    endpoints.wait_synced().await;
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

    async fn reconcile(&self, k: &str) -> Outcome {
        let (namespace, name) = split_key(k);
        let api = Api::<Endpoints>::namespaced(self.ctx.client.clone(), namespace);
        let current = self.endpoints.get(k);
        let Some(service) = self.services.get(k) else {
            // Only what this controller made: others publish Endpoints without a Service, for elections say.
            if current.is_some_and(|e| build::is_ours(&e)) {
                match api.delete(name, &DeleteParams::default()).await {
                    Err(e) if !e.is_not_found() => return Err(e.into()),
                    _ => {}
                }
            }
            return Ok(None);
        };
        if selector(&service).is_none() || service.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let pods: Vec<_> = self
            .pods
            .list_namespace(namespace)
            .into_iter()
            .filter(|p| selects(&service, p.metadata.labels.as_ref()))
            .collect();
        let wanted = build::endpoints(&service, &pods, current.as_deref());
        match current {
            None => match api.create(&wanted).await {
                Err(e) if e.is_already_exists() => return Ok(Some(BEHIND_PAUSE)),
                Err(e) if e.is_not_found() => return Ok(None),
                other => other.map(|_| ())?,
            },
            Some(c) if build::differ(&c, &wanted) => {
                api.replace(name, &wanted).await?;
            }
            Some(_) => {}
        }
        Ok(None)
    }
}
