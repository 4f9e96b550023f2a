//! Informers: a local copy of a list, kept current by a watch, with indexes.
//!
//! Invariants: a handler sees an object only after the store holds it (or no longer holds it, on delete);
//! handlers are called one event at a time, in the order of the watch; what disappears between two watches
//! is told as deleted. The bound of the store is what the server holds.
mod backoff;
mod reflector;
mod shared;
mod source;
mod store;

use crate::api::Object;
use crate::{Api, Client, DynamicApi, DynamicObject, ListParams};
use parking_lot::Mutex;
use reflector::Reflector;
use shared::Shared;
pub use source::HasMeta;
use source::Source;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;
pub use store::{Store, key_of, split_key};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The index that every store has: the namespace.
pub const NAMESPACE_INDEX: &str = "namespace";
/// The index that the factory's informers have: the uid of the controlling owner.
pub const OWNER_INDEX: &str = "owner";

/// What changed; the old object comes with updates and deletes.
#[derive(Clone, Debug)]
pub enum Event<K> {
    Added(Arc<K>),
    /// Old, new.
    Updated(Arc<K>, Arc<K>),
    Deleted(Arc<K>),
}

impl<K> Event<K> {
    /// The object as it is now, or was last.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Event::Added(o) | Event::Updated(_, o) | Event::Deleted(o) => o,
        }
    }
}

/// One list-and-watch. Build it, add indexes and handlers, then [`Informer::run`].
pub struct Informer<K> {
    source: Box<dyn Source<K>>,
    params: ListParams,
    shared: Arc<Shared<K>>,
}

impl<K: Object> Informer<K> {
    pub fn new(api: Api<K>, params: ListParams) -> Self {
        Informer::from_source(Box::new(api), params)
    }
}

impl Informer<DynamicObject> {
    /// Of a kind known only at run time.
    pub fn dynamic(api: DynamicApi, params: ListParams) -> Self {
        Informer::from_source(Box::new(api), params)
    }
}

impl<K: HasMeta> Informer<K> {
    fn from_source(source: Box<dyn Source<K>>, params: ListParams) -> Self {
        Informer {
            source,
            params,
            shared: Arc::new(Shared::new()),
        }
    }
    /// Adds an index: `f` gives the values under which an object is found.
    #[must_use]
    pub fn with_index(self, name: &'static str, f: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) -> Self {
        self.shared.store.add_index(name, f);
        self
    }
    /// Changes each object before it is stored: drop what is never read, and memory with it.
    #[must_use]
    pub fn with_transform(self, f: impl Fn(&mut K) + Send + Sync + 'static) -> Self {
        *self.shared.transform.lock() = Some(Arc::new(f));
        self
    }
    /// Calls `f` for each change, in order, on the informer's task: it must not block (put a key on a queue),
    /// nor add handlers itself.
    pub fn on_event(&self, f: impl Fn(&Event<K>) + Send + Sync + 'static) {
        self.shared.add_handler(f);
    }
    pub fn store(&self) -> Store<K> {
        self.shared.store.clone()
    }
    /// Spawns the list-and-watch (WatchList first, list as fallback, backoff, relist on 410) until `stop`.
    pub fn run(self, stop: CancellationToken) -> InformerHandle<K> {
        let handle = InformerHandle {
            shared: self.shared.clone(),
        };
        let reflector = Reflector {
            source: self.source,
            params: self.params,
            shared: self.shared,
            resource_version: String::new(),
            lists_only: false,
        };
        tokio::spawn(async move { stop.run_until_cancelled_owned(reflector.run()).await });
        handle
    }
}

/// A running informer; cheap to clone.
pub struct InformerHandle<K> {
    shared: Arc<Shared<K>>,
}
impl<K> Clone for InformerHandle<K> {
    fn clone(&self) -> Self {
        InformerHandle {
            shared: self.shared.clone(),
        }
    }
}
impl<K: HasMeta> InformerHandle<K> {
    pub fn store(&self) -> Store<K> {
        self.shared.store.clone()
    }
    pub fn has_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }
    /// Returns when the first full list has been delivered to the store and the handlers. Where the
    /// informer may be stopped before, select on the token too.
    pub async fn wait_synced(&self) {
        wait(self.shared.synced.subscribe()).await;
    }
    /// A handler added late is first told of what the store holds, as Added.
    pub fn on_event(&self, f: impl Fn(&Event<K>) + Send + Sync + 'static) {
        self.shared.add_handler(f);
    }
}

async fn wait(mut synced: watch::Receiver<bool>) {
    // The sender lives in the informer; without it there is nothing to wait for.
    let _ = synced.wait_for(|s| *s).await;
}

/// Informers shared by kind: two controllers that watch Pods share one watch and one copy.
#[derive(Clone)]
pub struct InformerFactory {
    pub client: Client,
    pub stop: CancellationToken,
    running: Arc<Mutex<Running>>,
}

#[derive(Default)]
struct Running {
    by_type: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    synced: Vec<watch::Receiver<bool>>,
}

impl InformerFactory {
    pub fn new(client: Client, stop: CancellationToken) -> Self {
        InformerFactory {
            client,
            stop,
            running: Arc::default(),
        }
    }
    /// The one informer of kind `K` in all namespaces; started at the first call. It indexes by
    /// `namespace` and by `owner` (uid of the controlling ownerReference). Further indexes come by
    /// [`Store::add_index`].
    pub fn informer<K: Object>(&self) -> InformerHandle<K> {
        let mut running = self.running.lock();
        let known = running.by_type.get(&TypeId::of::<K>());
        if let Some(h) = known.and_then(|h| h.downcast_ref::<InformerHandle<K>>()) {
            return h.clone();
        }
        let handle = Informer::new(Api::<K>::all(self.client.clone()), ListParams::default())
            .with_index(OWNER_INDEX, |o| controller_uid(o).into_iter().collect())
            .run(self.stop.clone());
        running.synced.push(handle.shared.synced.subscribe());
        running.by_type.insert(TypeId::of::<K>(), Box::new(handle.clone()));
        handle
    }
    /// Returns when every informer handed out so far has synced, or the factory is stopped.
    pub async fn wait_synced(&self) {
        let all = self.running.lock().synced.clone();
        for synced in all {
            self.stop.run_until_cancelled(wait(synced)).await;
        }
    }
}

fn controller_uid<K: HasMeta>(o: &K) -> Option<String> {
    let owners = o.meta().owner_references.as_deref().unwrap_or_default();
    owners
        .iter()
        .find(|r| r.controller == Some(true))
        .map(|r| r.uid.clone())
}

#[cfg(test)]
mod tests;
