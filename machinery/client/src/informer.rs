//! Informers: a local copy of a list, kept current by a watch, with indexes.
//!
//! Invariant: a handler sees an object only after the store holds it (or no longer holds it, on delete).
use crate::api::Object;
use crate::{Api, Client, ListParams};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What changed; the old object comes with updates and deletes.
#[derive(Clone, Debug)]
pub enum Event<K> {
    Added(Arc<K>),
    Updated(Arc<K>, Arc<K>),
    Deleted(Arc<K>),
}

/// Reads of the local copy. Keys are `namespace/name`, or `name` for cluster-scoped kinds.
pub struct Store<K> {
    _k: std::marker::PhantomData<fn() -> K>,
}
impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        todo!()
    }
}
impl<K: Object> Store<K> {
    pub fn get(&self, _key: &str) -> Option<Arc<K>> {
        todo!()
    }
    pub fn list(&self) -> Vec<Arc<K>> {
        todo!()
    }
    pub fn len(&self) -> usize {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    pub fn list_namespace(&self, _namespace: &str) -> Vec<Arc<K>> {
        todo!()
    }
    /// Objects under `value` in the index `index` (see [`Informer::with_index`]).
    pub fn by_index(&self, _index: &str, _value: &str) -> Vec<Arc<K>> {
        todo!()
    }
}

/// One list-and-watch. Build it, add indexes and handlers, then [`Informer::run`].
pub struct Informer<K> {
    _k: std::marker::PhantomData<fn() -> K>,
}
impl<K: Object> Informer<K> {
    pub fn new(_api: Api<K>, _params: ListParams) -> Self {
        todo!()
    }
    /// Adds an index: `f` gives the values under which an object is found.
    pub fn with_index(self, _name: &'static str, _f: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) -> Self {
        todo!()
    }
    /// Calls `f` for each change, in order, on the informer's task: it must not block (put a key on a queue).
    pub fn on_event(&self, _f: impl Fn(&Event<K>) + Send + Sync + 'static) {
        todo!()
    }
    pub fn store(&self) -> Store<K> {
        todo!()
    }
    /// Spawns the list-and-watch (WatchList first, list as fallback, backoff, relist on 410) until `stop`.
    pub fn run(self, _stop: CancellationToken) -> InformerHandle<K> {
        todo!()
    }
}

/// A running informer; cheap to clone.
pub struct InformerHandle<K> {
    _k: std::marker::PhantomData<fn() -> K>,
}
impl<K> Clone for InformerHandle<K> {
    fn clone(&self) -> Self {
        todo!()
    }
}
impl<K: Object> InformerHandle<K> {
    pub fn store(&self) -> Store<K> {
        todo!()
    }
    pub fn has_synced(&self) -> bool {
        todo!()
    }
    /// Returns when the first full list has been delivered to the store and the handlers.
    pub async fn wait_synced(&self) {
        todo!()
    }
    /// A handler added late is first told of what the store holds, as Added.
    pub fn on_event(&self, _f: impl Fn(&Event<K>) + Send + Sync + 'static) {
        todo!()
    }
}

/// Informers shared by kind: two controllers that watch Pods share one watch and one copy.
#[derive(Clone)]
pub struct InformerFactory {
    pub client: Client,
    pub stop: CancellationToken,
}
impl InformerFactory {
    pub fn new(client: Client, stop: CancellationToken) -> Self {
        InformerFactory { client, stop }
    }
    /// The one informer of kind `K` in all namespaces; started at the first call. It indexes by
    /// `namespace` and by `owner` (uid of the controlling ownerReference).
    pub fn informer<K: Object>(&self) -> InformerHandle<K> {
        todo!()
    }
    /// Returns when every informer handed out so far has synced.
    pub async fn wait_synced(&self) {
        todo!()
    }
}
