//! What a list or watch asks for: a range of keys, labels and fields.
use super::object::{self, Object};
use crate::storage::keys;
use bytes::Bytes;
use keelson_machinery::labels::{FieldSelector, Selector};
use keelson_machinery::resources::Resource;
use keelson_machinery::schema::TypeId;

pub(super) struct Selection {
    resource: &'static Resource,
    id: TypeId,
    /// Keys below; the whole key when `exact`.
    pub prefix: Bytes,
    pub exact: bool,
    labels: Selector,
    /// Terms that the range does not already say.
    fields: FieldSelector,
    /// Whether everything in the namespace is wanted: then counts are known without looking.
    pub everything: bool,
}

impl Selection {
    pub fn new(resource: &'static Resource, namespace: &str, labels: Selector, fields: FieldSelector) -> Selection {
        let everything = labels.is_empty() && fields.is_empty();
        let mut fields = fields;
        let asked = |path: &str| fields.requires(path).map(str::to_owned);
        let namespace = match asked("metadata.namespace") {
            Some(n) if namespace.is_empty() && resource.namespaced => n,
            _ => namespace.to_owned(),
        };
        let name = asked("metadata.name").filter(|_| !resource.namespaced || !namespace.is_empty());
        let (prefix, exact) = match name {
            Some(name) => {
                fields
                    .terms
                    .retain(|(path, equal, value)| !(path == "metadata.name" && *equal && *value == name));
                (keys::object(resource, &namespace, &name), true)
            }
            None => (keys::list_prefix(resource, &namespace), false),
        };
        let id = object::storage_type(resource);
        Selection {
            resource,
            id,
            prefix: prefix.into(),
            exact,
            labels,
            fields,
            everything,
        }
    }

    pub fn matches(&self, o: &Object) -> bool {
        let in_range = if self.exact {
            o.key == self.prefix
        } else {
            o.key.starts_with(&self.prefix)
        };
        in_range
            && self.labels.matches(|k| o.label(k))
            && self
                .fields
                .matches(|path| object::field(self.resource, self.id, o, path))
    }

    /// The node whose pods are wanted, when only one's are: watchers are found by it.
    pub fn node(&self) -> Option<&str> {
        (self.resource.plural == "pods")
            .then(|| self.fields.requires(NODE_NAME))
            .flatten()
    }

    /// The first key after the range.
    pub fn end(&self) -> Bytes {
        if self.exact {
            let mut end = self.prefix.to_vec();
            end.push(0);
            end.into()
        } else {
            keys::prefix_end(&self.prefix).into()
        }
    }
}

const NODE_NAME: &str = "spec.nodeName";

/// The node that a pod runs on; `None` for other kinds.
pub(super) fn node_of(resource: &Resource, id: TypeId, o: &Object) -> Option<String> {
    (resource.plural == "pods").then(|| object::field(resource, id, o, NODE_NAME))
}
