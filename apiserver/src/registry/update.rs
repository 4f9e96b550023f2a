//! PUT, and the part of PATCH that writes.

use super::create::check_namespace;
use super::{Ask, Current, MODIFIED, RACE_RETRIES_MAX, Registry, put_bytes, stored};
use crate::admission::Operation;
use crate::kinds;
use keelson_machinery::meta;
use keelson_machinery::status::{ApiError, FieldError};
use serde_json::Value;

/// What an update came to.
#[derive(Debug)]
pub struct Updated {
    pub value: Value,
    pub created: bool,
}

impl Registry {
    /// Replaces an object, or one of its subresources.
    pub async fn update(&self, ask: &Ask, object: Value) -> Result<Updated, ApiError> {
        if ask.subresource == "scale" {
            let value = self.update_scale(ask, &object).await?;
            return Ok(Updated { value, created: false });
        }
        check_name(ask, &object)?;
        let wanted = meta::resource_version(&object).to_owned();
        let strategy = kinds::strategy(ask.resource);
        for _ in 0..RACE_RETRIES_MAX {
            let Some(current) = self.current(ask).await? else {
                if strategy.allow_create_on_update() && ask.subresource.is_empty() && wanted.is_empty() {
                    let value = self.create(ask, object).await?;
                    return Ok(Updated { value, created: true });
                }
                return Err(ask.not_found());
            };
            let mut new = object.clone();
            check_namespace(ask, &mut new)?;
            if matches!(wanted.as_str(), "" | "0") {
                if !strategy.allow_unconditional_update() {
                    let e = FieldError {
                        field: "metadata.resourceVersion".into(),
                        reason: "FieldValueInvalid",
                        message: "Invalid value: 0: must be specified for an update".into(),
                    };
                    return Err(ApiError::invalid(
                        ask.resource.group,
                        ask.resource.kind,
                        &ask.name,
                        &[e],
                    ));
                }
            } else if wanted != current.revision.to_string() && !seeded!(ResourceVersionIgnored) {
                return Err(ask.conflict(MODIFIED));
            }
            match self.write(ask, &current, new).await? {
                Some(value) => return Ok(Updated { value, created: false }),
                None if !wanted.is_empty() && wanted != "0" => return Err(ask.conflict(MODIFIED)),
                None => {}
            }
        }
        Err(ask.conflict(MODIFIED))
    }

    /// Writes `new` over `current`: prepared, admitted and validated. `None` when the race was lost.
    pub(super) async fn write(&self, ask: &Ask, current: &Current, mut new: Value) -> Result<Option<Value>, ApiError> {
        let (r, old) = (ask.resource, &current.value);
        // An unconditional update is one of what is there now.
        meta::set(&mut new, "resourceVersion", current.revision.to_string());
        keep_system_fields(ask, &mut new, old)?;
        keelson_machinery::defaults::apply(r, &mut new);
        // Admission first: what it adds must not escape the strategy (upstream: rest.DefaultUpdatedObjectInfo).
        self.mutate(ask, Operation::Update, &mut new, Some(old)).await?;
        keelson_machinery::defaults::apply(r, &mut new);
        prepare(ask, &mut new, old);
        let context = ask.context();
        let reservation = kinds::begin(&self.allocators, &context, &mut new, Some(old))?;
        let errors = kinds::validate_update(&context, &new, old);
        if !errors.is_empty() {
            return Err(ApiError::invalid(r.group, r.kind, &ask.name, &errors));
        }
        self.admit(ask, Operation::Update, &new, Some(old)).await?;
        stored::set_gvk(r, &mut new);
        let bytes = stored::encode(r, &new)?;
        if ask.dry_run {
            return stored::decode(r, &bytes, current.revision).map(Some);
        }
        if is_finished(r, &new, old) {
            return self.remove_finished(ask, current, new).await;
        }
        if bytes == current.bytes {
            return stored::decode(r, &bytes, current.revision).map(Some);
        }
        let written = put_bytes(self, ask, bytes, current.revision).await?;
        if written.is_some() {
            reservation.commit();
        }
        Ok(written)
    }
}

fn check_name(ask: &Ask, object: &Value) -> Result<(), ApiError> {
    match meta::name(object) {
        "" => {
            let e = FieldError::required("metadata.name", "name must be provided");
            Err(ApiError::invalid(
                ask.resource.group,
                ask.resource.kind,
                &ask.name,
                &[e],
            ))
        }
        n if n == ask.name => Ok(()),
        other => Err(ApiError::bad_request(format!(
            "the name of the object ({other}) does not match the name on the URL ({})",
            ask.name
        ))),
    }
}

/// Fields that only the server writes.
fn keep_system_fields(ask: &Ask, new: &mut Value, old: &Value) -> Result<(), ApiError> {
    let (had, has) = (meta::uid(old), meta::uid(new));
    if !has.is_empty() && has != had {
        return Err(ask.conflict(&format!(
            "Precondition failed: UID in precondition: {has}, UID in object meta: {had}"
        )));
    }
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        match old["metadata"].get(field) {
            Some(v) if !v.is_null() => meta::set(new, field, v.clone()),
            _ => {
                meta::unset(new, field);
            }
        }
    }
    meta::unset(new, "selfLink");
    Ok(())
}

/// What the kind's strategy keeps; `finalize` of Namespaces brings its finalizers and nothing else.
fn prepare(ask: &Ask, new: &mut Value, old: &Value) {
    if ask.subresource == "finalize" && ask.resource.plural == "namespaces" {
        let finalizers = new["spec"]["finalizers"].clone();
        let version = new["metadata"]["resourceVersion"].clone();
        *new = old.clone();
        new["spec"]["finalizers"] = if finalizers.is_array() {
            finalizers
        } else {
            serde_json::json!([])
        };
        new["metadata"]["resourceVersion"] = version;
        return;
    }
    kinds::strategy(ask.resource).prepare_for_update(&ask.context(), new, old);
}

/// Whether nothing holds a deleted object any more (upstream: registry.ShouldDeleteDuringUpdate).
pub(super) fn is_finished(r: &keelson_machinery::resources::Resource, new: &Value, old: &Value) -> bool {
    let grace = new["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    let held_by_spec = r.plural == "namespaces" && !new["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty);
    meta::deletion_timestamp(new).is_some()
        && meta::deletion_timestamp(old).is_some()
        && meta::finalizers(new).is_empty()
        && grace == 0
        && !held_by_spec
}
