//! JSON patch (RFC 6902, with upstream's limits), JSON merge patch (RFC 7386).
use serde_json::Value;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// 400 in upstream
    #[error("{0}")]
    BadRequest(String),
    /// 422 in upstream (a `test` that fails, a path that is not there)
    #[error("{0}")]
    Unprocessable(String),
}
pub fn json_patch(_object: &mut Value, _patch: &[u8]) -> Result<(), Error> {
    todo!()
}
pub fn merge_patch(_object: &mut Value, _patch: &Value) {
    todo!()
}
