//! Between stored bytes and trees: envelope, version, resourceVersion.

use crate::storage::Revision;
use keelson_machinery::resources::{self, Resource};
use keelson_machinery::status::ApiError;
use keelson_machinery::{codec, convert};
use serde_json::Value;

/// Where an object lives: `/registry/<prefix>/[<namespace>/]<name>`.
pub fn key(r: &Resource, namespace: &str, name: &str) -> Vec<u8> {
    let mut k = prefix(r, namespace);
    k.extend_from_slice(name.as_bytes());
    k
}

/// The folder of a kind, or of a namespace in it; with its closing slash.
pub fn prefix(r: &Resource, namespace: &str) -> Vec<u8> {
    let mut k = format!("/registry/{}/", r.storage_prefix).into_bytes();
    if r.namespaced && !namespace.is_empty() {
        k.extend_from_slice(namespace.as_bytes());
        k.push(b'/');
    }
    k
}

/// The row whose version is the one that is stored.
pub fn storage_row(r: &'static Resource) -> &'static Resource {
    let (group, version) = r.storage_version;
    if (group, version) == (r.group, r.version) {
        return r;
    }
    resources::by_resource(group, version, r.plural).unwrap_or(r)
}

/// Whether objects of `r` are stored in its own version, so that their bytes can be served as they are.
pub fn is_native(r: &Resource) -> bool {
    r.storage_version == (r.group, r.version)
}

/// The tree of stored bytes in the version of `r`, with `apiVersion`, `kind` and resourceVersion.
pub fn decode(r: &'static Resource, bytes: &[u8], revision: Revision) -> Result<Value, ApiError> {
    let broken = |why: &dyn std::fmt::Display| {
        ApiError::internal(format!("a stored object of {:?} is damaged: {why}", r.plural))
    };
    let mut value = if bytes.starts_with(&codec::MAGIC) {
        let envelope = codec::unwrap_envelope(bytes).map_err(|e| broken(&e))?;
        let (group, version) = envelope
            .api_version
            .split_once('/')
            .unwrap_or(("", envelope.api_version));
        let id = resources::type_of(group, version, envelope.kind)
            .ok_or_else(|| broken(&format!("unknown kind {} {}", envelope.api_version, envelope.kind)))?;
        let mut value = codec::proto_to_value(id, envelope.raw).map_err(|e| broken(&e))?;
        convert::convert(r.kind, (group, version), (r.group, r.version), &mut value);
        value
    } else {
        serde_json::from_slice(bytes).map_err(|e| broken(&e))?
    };
    set_gvk(r, &mut value);
    if let Some(m) = keelson_machinery::meta::metadata_mut(&mut value) {
        m.insert("resourceVersion".into(), revision.to_string().into());
    }
    Ok(value)
}

/// Bytes to store: upstream's envelope in the storage version, without resourceVersion.
pub fn encode(r: &'static Resource, value: &Value) -> Result<Vec<u8>, ApiError> {
    let row = storage_row(r);
    let mut value = value.clone();
    convert::convert(r.kind, (r.group, r.version), (row.group, row.version), &mut value);
    if let Some(m) = keelson_machinery::meta::metadata_mut(&mut value) {
        m.remove("resourceVersion");
        m.remove("selfLink");
    }
    let mut raw = Vec::new();
    codec::value_to_proto(row.type_id, &value, &mut raw).map_err(|e| ApiError::bad_request(e.to_string()))?;
    let mut out = Vec::with_capacity(raw.len() + 64);
    codec::wrap_envelope(&row.api_version(), row.kind, &raw, &mut out);
    Ok(out)
}

pub fn set_gvk(r: &Resource, value: &mut Value) {
    if let Some(o) = value.as_object_mut() {
        o.insert("apiVersion".into(), r.api_version().into());
        o.insert("kind".into(), r.kind.into());
    }
}
