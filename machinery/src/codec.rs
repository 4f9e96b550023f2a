//! JSON and `application/vnd.kubernetes.protobuf`, both ways, from the field table.
//!
//! Reading follows what Go does with the same bytes: a value that is absent is Go's zero value, and
//! what is written of it depends on pointer, `omitempty` and `omitzero` marks. Writing matches gogo's
//! output byte for byte: fields in tag order, values written even when they are zero, pointers only
//! when set, map keys sorted.
//!
//! Stored bytes become JSON text in one pass without a tree in between.
mod encode;
mod envelope;
mod json;
mod list;
mod slim;
pub(crate) mod text;
pub(crate) mod time;
pub(crate) mod wire;

#[cfg(test)]
mod tests;

use crate::schema::TypeId;
use serde_json::Value;

pub(crate) use encode::{go_type, json_type};
pub use envelope::{Envelope, MAGIC, unwrap_envelope, watch_event_proto, wrap_envelope};
pub use list::{ListMeta, enveloped_list_proto, list_json_begin, list_json_end, list_json_next, list_proto};
pub use slim::{SlimMeta, field_at, slim_meta, splice_resource_version};

/// How deep messages may nest, which bounds the stack. Upstream's deepest kinds (CRD schemas aside)
/// need about 12; a CRD's schema nests twice a level.
pub const DEPTH_MAX: usize = 200;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Decode(String),
    #[error("unknown kind {0}")]
    UnknownKind(String),
}

fn too_deep() -> Error {
    Error::Decode(format!("exceeded max depth of {DEPTH_MAX}"))
}

/// A message of type `id` from a JSON tree; unknown fields are ignored (see [`crate::strict`]).
/// `apiVersion` and `kind` at the root are skipped: the envelope carries them.
pub fn value_to_proto(id: TypeId, value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
    encode::root(id, value, out)
}

/// A JSON tree from a message, without `apiVersion` and `kind`.
pub fn proto_to_value(id: TypeId, raw: &[u8]) -> Result<Value, Error> {
    let mut text = Vec::with_capacity(raw.len() * 2);
    // These bytes come from clients: embedded JSON is checked before it is spliced into the text.
    json::write(id, raw, None, None, json::Embedded::Checked, &mut text)?;
    serde_json::from_slice(&text).map_err(|e| Error::Decode(e.to_string()))
}

/// Appends JSON text of a message. At the root `kind` and `apiVersion` are written first when given
/// (as `gvk`: apiVersion, kind), and `metadata.resourceVersion` is replaced by `resource_version` when
/// given. For bytes that this server stored: JSON embedded in them is copied as it is.
pub fn proto_to_json(
    id: TypeId,
    raw: &[u8],
    gvk: Option<(&str, &str)>,
    resource_version: Option<u64>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    json::write(id, raw, gvk, resource_version, json::Embedded::Trusted, out)
}
