//! What is particular to a kind: how its objects are prepared, validated and printed. A kind without an
//! entry here gets the default strategy (metadata rules only).
//!
//! A write runs, in order: prepare, admission (mutating), [`begin`] (allocations), [`validate_create`] or
//! [`validate_update`], storage, then `Reservation::commit`.
use keelson_machinery::{
    resources::Resource,
    status::{ApiError, FieldError},
};
use serde_json::Value;

mod access;
pub mod allocator;
mod cluster;
mod config;
mod dispatch;
mod jobs;
pub mod meta;
pub mod names;
mod network;
mod plain;
mod pod;
pub mod printers;
mod service;
pub mod standard;
pub(crate) mod tree;
mod workloads;

pub use dispatch::strategy;
pub use pod::qos_class;

/// Context of a write.
pub struct Context<'a> {
    pub resource: &'static Resource,
    /// Empty, `status`, …
    pub subresource: &'a str,
    pub dry_run: bool,
}

/// Upstream: registry/rest.RESTCreateUpdateStrategy. Trees are already defaulted and pruned.
pub trait Strategy: Send + Sync {
    /// Drops what a creator may not set (status) and sets what the server decides (`metadata.generation`).
    fn prepare_for_create(&self, c: &Context<'_>, object: &mut Value) {
        standard::prepare_for_create(c, object);
    }
    /// Keeps what an updater may not change: status on the main resource, spec and labels on `status`.
    /// Also `metadata.generation` when spec changed.
    fn prepare_for_update(&self, c: &Context<'_>, object: &mut Value, old: &Value) {
        standard::prepare_for_update(c, object, old);
    }
    /// Beyond metadata; see [`validate_create`].
    fn validate(&self, _c: &Context<'_>, _object: &Value) -> Vec<FieldError> {
        Vec::new()
    }
    /// Beyond metadata; see [`validate_update`].
    fn validate_update(&self, c: &Context<'_>, object: &Value, _old: &Value) -> Vec<FieldError> {
        if c.subresource.is_empty() {
            self.validate(c, object)
        } else {
            Vec::new()
        }
    }
    /// Warnings for the client (`Warning: 299`).
    fn warnings(&self, _c: &Context<'_>, _object: &Value) -> Vec<String> {
        Vec::new()
    }
    /// Field selectors beyond metadata.name and metadata.namespace, as JSON paths (`spec.nodeName`).
    fn selectable_fields(&self) -> &'static [&'static str] {
        &[]
    }
    /// Value of a selectable field when it is not simply what the path says (`reportingComponent` for `source`).
    fn selectable_field(&self, object: &Value, path: &str) -> String {
        standard::scalar_at(object, path)
    }
    /// Seconds of grace on delete; `None`: delete at once (everything but Pods).
    fn grace_period_seconds(&self, _object: &Value, _asked: Option<i64>) -> Option<i64> {
        None
    }
    /// What `metadata.name` must look like.
    fn name_rule(&self) -> names::Rule {
        names::Rule::DnsSubdomain
    }
    /// Upstream's AllowUnconditionalUpdate: an update without resourceVersion is allowed.
    fn allow_unconditional_update(&self) -> bool {
        true
    }
    /// Upstream's AllowCreateOnUpdate: a PUT of an absent object creates it.
    fn allow_create_on_update(&self) -> bool {
        false
    }
    /// Whether delete asks by default for orphaning of dependents (none of the served versions does).
    fn default_orphan(&self) -> bool {
        false
    }
}

/// Every rule for a new object: metadata, then the kind's own.
pub fn validate_create(c: &Context<'_>, object: &Value) -> Vec<FieldError> {
    let s = strategy(c.resource);
    let mut errors = meta::validate(c.resource, s.name_rule(), object);
    errors.extend(s.validate(c, object));
    errors
}

/// Every rule for a changed object, the main resource or `status`.
pub fn validate_update(c: &Context<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
    let s = strategy(c.resource);
    let mut errors = meta::validate_update(c.resource, s.name_rule(), object, old);
    errors.extend(s.validate_update(c, object, old));
    errors
}

/// Takes what a write needs from the allocators (cluster IPs, node ports) and writes it into `object`.
/// Dropping the reservation gives everything back; commit it when the object is stored.
pub fn begin(
    allocators: &allocator::Allocators,
    c: &Context<'_>,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<allocator::Reservation, ApiError> {
    if c.resource.group.is_empty() && c.resource.plural == "services" && c.subresource.is_empty() {
        allocators.services.begin(c, object, old)
    } else {
        Ok(allocator::Reservation::none())
    }
}

/// Gives back what a deleted object held.
pub fn after_delete(allocators: &allocator::Allocators, resource: &Resource, object: &Value) {
    if resource.group.is_empty() && resource.plural == "services" {
        allocators.services.release(object);
    }
}

#[cfg(test)]
mod tests;
