//! Strategic merge patch on the field table (upstream: apimachinery/pkg/util/strategicpatch).
use crate::{patch::Error, schema::TypeId};
use serde_json::Value;

/// Applies `patch` to `object` of type `id`, with `$patch`, `$deleteFromPrimitiveList/…`,
/// `$setElementOrder/…` and `$retainKeys`.
pub fn apply(_id: TypeId, _object: &mut Value, _patch: &Value) -> Result<(), Error> {
    todo!()
}
