//! Defaulting of the kinds in use, as upstream's `SetDefaults_*` (pkg/apis/*/v1/defaults.go).
use crate::resources::Resource;
use serde_json::Value;

/// Fills in defaults in place. Idempotent. Includes nested templates (pod templates in workloads).
pub fn apply(_resource: &Resource, _object: &mut Value) {
    todo!()
}
