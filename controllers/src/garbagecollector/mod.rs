//! Garbage collection by ownerReferences: an object all of whose owners are gone goes too; owners deleted in
//! the foreground wait for their dependents; owners deleted with orphaning let them go.
//!
//! It watches every deletable kind as metadata only, and keeps of that only what the graph needs.
mod graph;
mod worker;

use crate::common::Context;
use crate::common::discovery::{Kind, built_in, custom};
use graph::{Graph, Identity, Work};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keelson_client::informer::InformerHandle;
use keelson_client::{DynamicApi, DynamicObject, Event, Informer, ListParams, WorkQueue};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use worker::{Collector, Kinds};

pub const NAME: &str = "garbage-collector-controller";
/// The ServiceAccount it acts as, whose role is bootstrapped under this name.
pub const ACCOUNT: &str = "generic-garbage-collector";

/// The informer of custom resource definitions, which this and the namespace controller share.
pub fn definitions(ctx: &Context) -> InformerHandle<CustomResourceDefinition> {
    ctx.factory.informer::<CustomResourceDefinition>()
}

/// Events come and go by the thousand and own nothing (upstream ignores them too).
fn is_ignored(k: &Kind) -> bool {
    k.gvr.resource == "events" && matches!(k.gvr.group.as_str(), "" | "events.k8s.io")
}

/// Drops all that the graph does not need.
fn slim(o: &mut DynamicObject) {
    let m = std::mem::take(&mut o.metadata);
    o.metadata = ObjectMeta {
        name: m.name,
        namespace: m.namespace,
        uid: m.uid,
        resource_version: m.resource_version,
        owner_references: m.owner_references,
        finalizers: m.finalizers,
        deletion_timestamp: m.deletion_timestamp,
        ..ObjectMeta::default()
    };
    o.data = serde_json::Map::new();
    o.api_version = String::new();
    o.kind = String::new();
}

struct Watcher {
    ctx: Context,
    graph: Arc<Mutex<Graph>>,
    queue: WorkQueue<Work>,
    kinds: Kinds,
    custom: Mutex<HashMap<String, (Kind, CancellationToken)>>,
}

impl Watcher {
    fn watch(&self, kind: &Kind, stop: CancellationToken) -> InformerHandle<DynamicObject> {
        let api = DynamicApi::new(self.ctx.client.clone(), kind.gvr.clone(), None).metadata_only();
        let informer = Informer::dynamic(api, ListParams::default()).with_transform(slim);
        let (graph, queue) = (self.graph.clone(), self.queue.clone());
        let (api_version, name): (Arc<str>, Arc<str>) = (kind.api_version().into(), kind.kind.as_str().into());
        let namespaces: Mutex<Arc<str>> = Mutex::new("".into());
        informer.on_event(move |e| {
            let o = e.object();
            let work = match e {
                Event::Deleted(o) => graph.lock().remove(o.metadata.uid.as_deref().unwrap_or_default()),
                _ => {
                    let identity = Identity {
                        api_version: api_version.clone(),
                        kind: name.clone(),
                        namespace: shared(&namespaces, o.metadata.namespace.as_deref().unwrap_or_default()),
                        name: o.metadata.name.as_deref().unwrap_or_default().into(),
                    };
                    let mut g = graph.lock();
                    let mut work = match e {
                        // A new object under an old name: the old one's end was not seen.
                        Event::Updated(old, new) if old.metadata.uid != new.metadata.uid => {
                            g.remove(old.metadata.uid.as_deref().unwrap_or_default())
                        }
                        _ => Vec::new(),
                    };
                    work.extend(g.observe(identity, &o.metadata));
                    work
                }
            };
            for w in work {
                queue.add(w);
            }
        });
        informer.run(stop)
    }

    /// Starts and stops watches as definitions come, change and go.
    fn on_definition(&self, event: &Event<CustomResourceDefinition>) {
        let crd = event.object();
        let name = crd.metadata.name.clone().unwrap_or_default();
        let kind = match event {
            Event::Deleted(_) => None,
            _ => custom(crd),
        };
        let mut running = self.custom.lock();
        let current = running.get(&name).map(|(k, _)| k.clone());
        if current == kind {
            return;
        }
        if let Some((old, stop)) = running.remove(&name) {
            stop.cancel();
            self.kinds.remove(&old);
        }
        if let Some(kind) = kind {
            let stop = self.ctx.factory.stop.child_token();
            self.kinds.add(kind.clone());
            self.watch(&kind, stop.clone());
            running.insert(name, (kind, stop));
        }
    }
}

/// The same text again most of the time: one allocation serves a run of objects.
fn shared(last: &Mutex<Arc<str>>, text: &str) -> Arc<str> {
    let mut last = last.lock();
    if **last != *text {
        *last = text.into();
    }
    last.clone()
}

pub async fn run(ctx: Context) {
    let queue = WorkQueue::<Work>::new("garbagecollector");
    let kinds = Kinds::default();
    let watcher = Arc::new(Watcher {
        graph: Arc::default(),
        queue: queue.clone(),
        kinds: kinds.clone(),
        custom: Mutex::default(),
        ctx: ctx.clone(),
    });
    let mut running = Vec::new();
    for kind in built_in() {
        if !is_ignored(&kind) {
            running.push(watcher.watch(&kind, ctx.factory.stop.clone()));
        }
        kinds.add(kind);
    }
    let crds = definitions(&ctx);
    let w = watcher.clone();
    crds.on_event(move |e| w.on_definition(e));
    // Whoever refers to an owner not yet seen would be asked about one by one.
    for r in running {
        r.wait_synced().await;
    }
    tracing::debug!(objects = watcher.graph.lock().len(), "the graph of owners is complete");
    let collector = Arc::new(Collector::new(&ctx, watcher.graph.clone(), kinds, queue.clone()));
    ctx.work(&queue, move |w| {
        let c = collector.clone();
        async move { c.handle(w).await }
    })
    .await;
}
