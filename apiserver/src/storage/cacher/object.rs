//! Stored bytes and the little of them that selection needs.
use crate::storage::KeyValue;
use crate::storage::Revision;
use bytes::Bytes;
use keelson_machinery::codec::{self, SlimMeta};
use keelson_machinery::resources::{self, Resource};
use keelson_machinery::schema::TypeId;
use parking_lot::Mutex;
use smallvec::SmallVec;

/// An object as it is held: its bytes and a slim header, never a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The `k8s\0` envelope, without resourceVersion.
    pub value: Bytes,
    pub revision: Revision,
    pub key: Bytes,
    pub meta: SlimMeta,
}

impl Object {
    /// Reads the header. JSON, which an upstream server may have stored, becomes an envelope first.
    pub fn load(kv: &KeyValue) -> Result<Object, codec::Error> {
        let value = if kv.value.starts_with(&codec::MAGIC) {
            // A copy of its own: what the store hands out is often a slice of a much larger answer.
            Bytes::copy_from_slice(&kv.value)
        } else {
            from_json(&kv.value)?
        };
        let mut meta = codec::slim_meta(codec::unwrap_envelope(&value)?.raw)?;
        meta.labels.shrink_to_fit();
        Ok(Object {
            value,
            revision: kv.mod_revision,
            key: Bytes::copy_from_slice(&kv.key),
            meta,
        })
    }

    /// The message inside the envelope; empty when there is none, which loading rules out.
    pub fn raw(&self) -> &[u8] {
        codec::unwrap_envelope(&self.value).map(|e| e.raw).unwrap_or_default()
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.meta.labels.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// The same state under another revision (what a Deleted event carries).
    pub(super) fn at(&self, revision: Revision) -> Object {
        Object {
            revision,
            ..self.clone()
        }
    }

    /// Bytes that holding it costs, about.
    pub(super) fn size_bytes(&self) -> usize {
        self.value.len() + self.key.len() + size_of::<Object>()
    }
}

fn from_json(value: &[u8]) -> Result<Bytes, codec::Error> {
    let tree: serde_json::Value =
        serde_json::from_slice(value).map_err(|e| codec::Error::Decode(format!("stored JSON: {e}")))?;
    let text = |k: &str| tree.get(k).and_then(|v| v.as_str()).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let unknown = || codec::Error::UnknownKind(format!("{api_version} {kind}"));
    let id = resources::type_of(group, version, kind).ok_or_else(unknown)?;
    let (mut raw, mut out) = (Vec::new(), Vec::new());
    codec::value_to_proto(id, &tree, &mut raw)?;
    codec::wrap_envelope(api_version, kind, &raw, &mut out);
    Ok(out.into())
}

/// Which type the stored messages of a kind have.
pub(super) fn storage_type(resource: &Resource) -> TypeId {
    let (group, version) = resource.storage_version;
    resources::type_of(group, version, resource.kind).unwrap_or(resource.type_id)
}

/// A field that a selector names, as upstream's `ToSelectableFields` of the kind says it.
pub(super) fn field(resource: &Resource, id: TypeId, object: &Object, path: &str) -> String {
    let read = |path: &str| {
        let path: SmallVec<[&str; 4]> = path.split('.').collect();
        // Damage inside an object that was loaded: it is selected as if the field were not there.
        codec::field_at(id, object.raw(), &path).unwrap_or_default()
    };
    match path {
        "metadata.name" => object.meta.name.clone(),
        "metadata.namespace" => object.meta.namespace.clone(),
        _ if resource.plural != "events" => read(path),
        "source" => Some(read("source.component"))
            .filter(|s| !s.is_empty())
            .unwrap_or_else(|| read("reportingComponent")),
        "reportingController" => read("reportingComponent"),
        _ => match path.strip_prefix("regarding.") {
            Some(rest) => read(&format!("involvedObject.{rest}")),
            None => read(path),
        },
    }
}

/// Encoded forms of one watch event, made by whoever asks first and shared by all watchers.
#[derive(Debug, Default)]
pub struct Encodings(Mutex<SmallVec<[(EncodingKey, Bytes); 2]>>);

/// What distinguishes encoded forms of one event: the served row (its address) and the caller's own mark
/// of the format.
pub type EncodingKey = (usize, u32);

impl Encodings {
    /// `encode` runs under a lock of this event alone, so that it runs once.
    pub fn get_or_encode<E>(&self, key: EncodingKey, encode: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytes, E> {
        let mut forms = self.0.lock();
        if let Some((_, bytes)) = forms.iter().find(|(k, _)| *k == key) {
            return Ok(bytes.clone());
        }
        let bytes = encode()?;
        forms.push((key, bytes.clone()));
        Ok(bytes)
    }
}
