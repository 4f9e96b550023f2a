//! Strict decoding: unknown and duplicate fields, with upstream's wording
//! (`unknown field "spec.foo"`, `duplicate field "spec.replicas"`).
use crate::schema::TypeId;
use serde_json::Value;

/// Parses JSON, reporting duplicate keys by full path.
pub fn parse_json(_bytes: &[u8]) -> Result<(Value, Vec<String>), serde_json::Error> {
    todo!()
}
/// Checks `value` against the table: unknown fields are removed from the tree and reported; a value of
/// the wrong JSON type is an error in Go's wording (`json: cannot unmarshal string into Go struct field …`).
pub fn prune_unknown(_id: TypeId, _value: &mut Value) -> Result<Vec<String>, String> {
    todo!()
}
