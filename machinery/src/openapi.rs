//! OpenAPI v3 (one document a group version) and v2, generated from the field table and the resources,
//! with patch keys, list types, defaults and `x-kubernetes-group-version-kind`.

/// The v3 document of one group version (`api/v1`, `apis/apps/v1`), JSON bytes.
pub fn v3(_group: &str, _version: &str) -> Option<Vec<u8>> {
    todo!()
}
/// The v2 document of everything, JSON bytes.
pub fn v2() -> Vec<u8> {
    todo!()
}
/// The v2 document as gnostic's `openapi.v2.Document` protobuf, which kubectl and client-go ask for.
pub fn v2_proto() -> Vec<u8> {
    todo!()
}
