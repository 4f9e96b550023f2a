//! The local copy that an informer keeps, and its indexes.
use super::source::HasMeta;
use ahash::{AHashMap, AHashSet};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

type IndexFn<K> = Arc<dyn Fn(&K) -> Vec<String> + Send + Sync>;

/// The key of an object: `namespace/name`, or `name` for cluster-scoped kinds.
pub fn key_of<K: HasMeta>(o: &K) -> String {
    let m = o.meta();
    let name = m.name.as_deref().unwrap_or_default();
    match m.namespace.as_deref() {
        Some(ns) if !ns.is_empty() => format!("{ns}/{name}"),
        _ => name.to_owned(),
    }
}

/// Splits a key into namespace (empty for cluster-scoped kinds) and name.
pub fn split_key(key: &str) -> (&str, &str) {
    key.split_once('/').unwrap_or(("", key))
}

/// Reads of the local copy. Keys are `namespace/name`, or `name` for cluster-scoped kinds. Cheap to clone;
/// what it returns is shared and must be cloned before it is changed.
pub struct Store<K> {
    pub(super) inner: Arc<RwLock<Inner<K>>>,
}

pub(super) struct Inner<K> {
    /// Ordered, so that a namespace is a range and lists come in a stable order.
    objects: BTreeMap<Arc<str>, Arc<K>>,
    indexes: Vec<Index<K>>,
}

struct Index<K> {
    name: &'static str,
    of: IndexFn<K>,
    keys: AHashMap<String, AHashSet<Arc<str>>>,
}

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Store {
            inner: self.inner.clone(),
        }
    }
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Store {
            inner: Arc::new(RwLock::new(Inner {
                objects: BTreeMap::new(),
                indexes: Vec::new(),
            })),
        }
    }
}

impl<K: HasMeta> Store<K> {
    pub fn get(&self, key: &str) -> Option<Arc<K>> {
        self.inner.read().objects.get(key).cloned()
    }
    pub fn contains(&self, key: &str) -> bool {
        self.inner.read().objects.contains_key(key)
    }
    /// Every object, ordered by key.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.inner.read().objects.values().cloned().collect()
    }
    pub fn keys(&self) -> Vec<Arc<str>> {
        self.inner.read().objects.keys().cloned().collect()
    }
    pub fn len(&self) -> usize {
        self.inner.read().objects.len()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let prefix = format!("{namespace}/");
        let inner = self.inner.read();
        inner
            .objects
            .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
            .take_while(|(k, _)| k.starts_with(&prefix))
            .map(|(_, o)| o.clone())
            .collect()
    }
    /// Objects under `value` in the index `index` (see [`super::Informer::with_index`]), in no order.
    /// An index that does not exist is empty.
    pub fn by_index(&self, index: &str, value: &str) -> Vec<Arc<K>> {
        if index == super::NAMESPACE_INDEX {
            return self.list_namespace(value);
        }
        let inner = self.inner.read();
        let Some(ix) = inner.indexes.iter().find(|i| i.name == index) else {
            tracing::warn!(index, "no such index");
            return Vec::new();
        };
        let keys = ix.keys.get(value).into_iter().flatten();
        keys.filter_map(|k| inner.objects.get(k).cloned()).collect()
    }
    /// The values that exist in an index.
    pub fn index_values(&self, index: &str) -> Vec<String> {
        let inner = self.inner.read();
        let ix = inner.indexes.iter().find(|i| i.name == index);
        ix.map(|i| i.keys.keys().cloned().collect()).unwrap_or_default()
    }
    /// Adds an index over what is here and what comes; a second one of the same name is ignored, so that
    /// users of a shared informer may each ask for it.
    pub fn add_index(&self, name: &'static str, f: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) {
        let mut inner = self.inner.write();
        if inner.indexes.iter().any(|i| i.name == name) {
            return;
        }
        let mut index = Index {
            name,
            of: Arc::new(f),
            keys: AHashMap::new(),
        };
        for (key, o) in &inner.objects {
            index.insert(key, o);
        }
        inner.indexes.push(index);
    }

    /// Puts an object in and returns what was there.
    pub(super) fn put(&self, key: String, o: Arc<K>) -> Option<Arc<K>> {
        let mut inner = self.inner.write();
        let inner = &mut *inner;
        let (key, old) = match inner.objects.get_key_value(key.as_str()) {
            Some((k, old)) => (k.clone(), Some(old.clone())),
            None => (Arc::from(key), None),
        };
        for index in &mut inner.indexes {
            if let Some(old) = &old {
                index.remove(&key, old);
            }
            index.insert(&key, &o);
        }
        inner.objects.insert(key, o);
        old
    }
    pub(super) fn remove(&self, key: &str) -> Option<Arc<K>> {
        let mut inner = self.inner.write();
        let inner = &mut *inner;
        let (key, old) = inner.objects.remove_entry(key)?;
        for index in &mut inner.indexes {
            index.remove(&key, &old);
        }
        Some(old)
    }
}

impl<K> Index<K> {
    fn insert(&mut self, key: &Arc<str>, o: &K) {
        for value in (self.of)(o) {
            self.keys.entry(value).or_default().insert(key.clone());
        }
    }
    fn remove(&mut self, key: &Arc<str>, o: &K) {
        for value in (self.of)(o) {
            if let Some(keys) = self.keys.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(&value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn cm(ns: &str, name: &str, color: &str) -> Arc<ConfigMap> {
        let mut c = ConfigMap::default();
        c.metadata.name = Some(name.into());
        c.metadata.namespace = Some(ns.into());
        c.metadata.labels = Some([("color".to_owned(), color.to_owned())].into());
        Arc::new(c)
    }
    fn names(l: Vec<Arc<ConfigMap>>) -> Vec<String> {
        let mut n: Vec<_> = l.iter().map(|o| key_of(&**o)).collect();
        n.sort();
        n
    }

    #[test]
    fn namespaces_and_indexes_follow_changes() {
        let s: Store<ConfigMap> = Store::default();
        s.put("a/x".into(), cm("a", "x", "red"));
        s.add_index("color", |c: &ConfigMap| {
            c.metadata.labels.iter().flatten().map(|(_, v)| v.clone()).collect()
        });
        s.put("a/y".into(), cm("a", "y", "blue"));
        s.put("ab/z".into(), cm("ab", "z", "red"));
        assert_eq!(names(s.list_namespace("a")), ["a/x", "a/y"]);
        assert_eq!(names(s.by_index("namespace", "ab")), ["ab/z"]);
        assert_eq!(names(s.by_index("color", "red")), ["a/x", "ab/z"]);
        assert!(s.put("a/x".into(), cm("a", "x", "blue")).is_some());
        assert_eq!(names(s.by_index("color", "red")), ["ab/z"]);
        assert_eq!(names(s.by_index("color", "blue")), ["a/x", "a/y"]);
        s.remove("ab/z").unwrap();
        assert_eq!(s.index_values("color"), ["blue"]);
        assert!(s.by_index("nope", "red").is_empty());
        assert_eq!(split_key("a/x"), ("a", "x"));
    }
}
