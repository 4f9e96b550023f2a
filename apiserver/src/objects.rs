//! What the server's own parts (admission, tokens, RBAC, bootstrap) read and write of stored objects.
//!
//! Implemented by the registry over the watch cache and storage. Calls here run as the server itself: they
//! go through strategy and storage, never through authorization or admission.
use keelson_machinery::{resources::Resource, status::ApiError};
use serde_json::Value;
use tokio::sync::mpsc;

/// One step of a watched list.
#[derive(Clone, Debug)]
pub enum Change {
    /// The whole list, at start and after every relist. It replaces what was known.
    Reset(Vec<Value>),
    Put(Value),
    /// The last state of the object.
    Deleted(Value),
}

#[async_trait::async_trait]
pub trait Objects: Send + Sync + 'static {
    /// The object as last committed (a linearizable read, or a cache known to be as fresh).
    async fn get(&self, resource: &'static Resource, namespace: &str, name: &str) -> Result<Option<Value>, ApiError>;
    /// All objects of a namespace; of all namespaces when it is empty.
    async fn list(&self, resource: &'static Resource, namespace: &str) -> Result<Vec<Value>, ApiError>;
    async fn create(&self, resource: &'static Resource, namespace: &str, object: Value) -> Result<Value, ApiError>;
    /// Guarded by `metadata.resourceVersion` when the object carries one.
    async fn update(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        object: Value,
    ) -> Result<Value, ApiError>;
    /// First `Reset`, then changes in order. A cut watch is resumed or relisted by the implementation;
    /// the channel closes only when the server stops. Bounded: a slow reader holds only its own feed.
    async fn watch(&self, resource: &'static Resource) -> Result<mpsc::Receiver<Change>, ApiError>;
}

/// Objects in a map, for tests of what stands on [`Objects`].
#[cfg(test)]
pub mod memory {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use parking_lot::Mutex;
    use std::collections::BTreeMap;

    type Key = (String, String, String, String);

    #[derive(Default)]
    pub struct Memory {
        objects: Mutex<BTreeMap<Key, Value>>,
        watchers: Mutex<Vec<(String, String, mpsc::Sender<Change>)>>,
    }

    fn key(group: &str, plural: &str, namespace: &str, name: &str) -> Key {
        (group.into(), plural.into(), namespace.into(), name.into())
    }

    impl Memory {
        pub fn put(&self, group: &str, plural: &str, object: Value) {
            let of = |k: &str| object["metadata"][k].as_str().unwrap_or_default().to_owned();
            let k = key(group, plural, &of("namespace"), &of("name"));
            self.objects.lock().insert(k, object.clone());
            self.tell(group, plural, Change::Put(object));
        }
        pub fn delete(&self, group: &str, plural: &str, namespace: &str, name: &str) {
            if let Some(o) = self.objects.lock().remove(&key(group, plural, namespace, name)) {
                self.tell(group, plural, Change::Deleted(o));
            }
        }
        pub fn find(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Value> {
            self.objects.lock().get(&key(group, plural, namespace, name)).cloned()
        }
        pub fn count(&self) -> usize {
            self.objects.lock().len()
        }
        fn tell(&self, group: &str, plural: &str, change: Change) {
            for (g, p, w) in self.watchers.lock().iter() {
                if g == group && p == plural {
                    w.try_send(change.clone()).unwrap();
                }
            }
        }
    }

    #[async_trait::async_trait]
    impl Objects for Memory {
        async fn get(&self, r: &'static Resource, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
            Ok(self.find(r.group, r.plural, namespace, name))
        }
        async fn list(&self, r: &'static Resource, namespace: &str) -> Result<Vec<Value>, ApiError> {
            let objects = self.objects.lock();
            Ok(objects
                .iter()
                .filter(|(k, _)| k.0 == r.group && k.1 == r.plural && (namespace.is_empty() || k.2 == namespace))
                .map(|(_, v)| v.clone())
                .collect())
        }
        async fn create(&self, r: &'static Resource, namespace: &str, mut object: Value) -> Result<Value, ApiError> {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            if self.find(r.group, r.plural, namespace, &name).is_some() {
                return Err(ApiError::already_exists(r.group, r.plural, &name));
            }
            if r.namespaced {
                object["metadata"]["namespace"] = namespace.into();
            }
            object["metadata"]["uid"] = uuid::Uuid::new_v4().to_string().into();
            self.put(r.group, r.plural, object.clone());
            Ok(object)
        }
        async fn update(
            &self,
            r: &'static Resource,
            namespace: &str,
            name: &str,
            object: Value,
        ) -> Result<Value, ApiError> {
            if self.find(r.group, r.plural, namespace, name).is_none() {
                return Err(ApiError::not_found(r.group, r.plural, name));
            }
            self.put(r.group, r.plural, object.clone());
            Ok(object)
        }
        async fn watch(&self, r: &'static Resource) -> Result<mpsc::Receiver<Change>, ApiError> {
            let (tx, rx) = mpsc::channel(1000);
            tx.try_send(Change::Reset(self.list(r, "").await?)).unwrap();
            self.watchers.lock().push((r.group.into(), r.plural.into(), tx));
            Ok(rx)
        }
    }
}
