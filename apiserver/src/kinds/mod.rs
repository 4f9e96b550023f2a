//! What is particular to a kind: how its objects are prepared, validated and printed. A kind without an
//! entry here gets the default strategy (metadata rules only).
use keelson_machinery::{resources::Resource, status::FieldError};
use serde_json::Value;

/// Context of a write.
pub struct Context<'a> {
    pub resource: &'static Resource,
    /// Empty, `status`, …
    pub subresource: &'a str,
    pub dry_run: bool,
}

/// Upstream: registry/rest.RESTCreateUpdateStrategy. Trees are already defaulted and pruned.
pub trait Strategy: Send + Sync {
    /// Drops what a creator may not set (status).
    fn prepare_for_create(&self, _c: &Context<'_>, object: &mut Value) {
        if let Some(o) = object.as_object_mut() {
            o.remove("status");
        }
    }
    /// Keeps what an updater may not change: status on the main resource, spec and labels on `status`.
    /// Also `metadata.generation` when spec changed.
    fn prepare_for_update(&self, c: &Context<'_>, object: &mut Value, old: &Value);
    fn validate(&self, _c: &Context<'_>, _object: &Value) -> Vec<FieldError> {
        Vec::new()
    }
    fn validate_update(&self, _c: &Context<'_>, _object: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }
    /// Warnings for the client (`Warning: 299`).
    fn warnings(&self, _c: &Context<'_>, _object: &Value) -> Vec<String> {
        Vec::new()
    }
    /// Field selectors beyond metadata.name and metadata.namespace, as JSON paths (`spec.nodeName`).
    fn selectable_fields(&self) -> &'static [&'static str] {
        &[]
    }
    /// Seconds of grace on delete; `None`: delete at once (everything but Pods).
    fn grace_period_seconds(&self, _object: &Value, _asked: Option<i64>) -> Option<i64> {
        None
    }
}
