//! DELETE of one object and of collections: preconditions, grace, finalizers, propagation
//! (upstream: apiserver/pkg/registry/rest/delete.go and registry/generic/registry/store.go).

use super::{Ask, Current, RACE_RETRIES_MAX, Registry, put, storage_error};
use crate::admission::Operation;
use crate::kinds;
use crate::storage::Guarded;
use crate::storage::cacher::ListOptions;
use keelson_machinery::meta;
use keelson_machinery::status::{ApiError, FieldError};
use serde_json::{Value, json};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
/// Objects that a collection's deletion reads at a time.
const COLLECTION_PAGE: u64 = 500;

/// `metav1.DeleteOptions`, what is used of it.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub propagation: Option<String>,
    pub orphan_dependents: Option<bool>,
}

impl DeleteOptions {
    pub fn parse(v: &Value) -> Result<Self, ApiError> {
        let text = |v: &Value| v.as_str().map(str::to_owned);
        let o = DeleteOptions {
            grace_period_seconds: v["gracePeriodSeconds"].as_i64(),
            uid: text(&v["preconditions"]["uid"]),
            resource_version: text(&v["preconditions"]["resourceVersion"]),
            propagation: text(&v["propagationPolicy"]),
            orphan_dependents: v["orphanDependents"].as_bool(),
        };
        o.validate()?;
        Ok(o)
    }

    pub fn validate(&self) -> Result<(), ApiError> {
        let mut errors = Vec::new();
        if let Some(p) = &self.propagation {
            if self.orphan_dependents.is_some() {
                errors.push(FieldError::invalid(
                    "propagationPolicy",
                    &p.as_str().into(),
                    "orphanDependents and deletionPropagation cannot be both set",
                ));
            }
            if !matches!(p.as_str(), "Foreground" | "Background" | "Orphan") {
                errors.push(FieldError::not_supported(
                    "propagationPolicy",
                    &p.as_str().into(),
                    &["Background", "Foreground", "Orphan"],
                ));
            }
        }
        if self.grace_period_seconds.is_some_and(|g| g < 0) {
            errors.push(FieldError::invalid(
                "gracePeriodSeconds",
                &self.grace_period_seconds.into(),
                "must be greater than or equal to 0",
            ));
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(ApiError::invalid("", "DeleteOptions", "", &errors))
        }
    }

    fn policy(&self) -> Option<&str> {
        match (&self.propagation, self.orphan_dependents) {
            (Some(p), _) => Some(p),
            (None, Some(true)) => Some("Orphan"),
            (None, Some(false)) => Some("Background"),
            (None, None) => None,
        }
    }
}

/// What a deletion came to.
#[derive(Debug)]
pub enum Deleted {
    /// Gone; the last state.
    Gone(Value),
    /// Marked: finalizers or grace hold it.
    Marked(Value),
}

impl Registry {
    pub async fn delete(&self, ask: &Ask, options: &DeleteOptions) -> Result<Deleted, ApiError> {
        for _ in 0..RACE_RETRIES_MAX {
            let current = self.current(ask).await?.ok_or_else(|| ask.not_found())?;
            check_preconditions(ask, &current, options)?;
            self.admit(ask, Operation::Delete, &Value::Null, Some(&current.value))
                .await?;
            if let Some(done) = self.delete_current(ask, options, current).await? {
                return Ok(done);
            }
            if options.resource_version.is_some() {
                return Err(ask.conflict(super::MODIFIED));
            }
        }
        Err(ask.conflict(super::MODIFIED))
    }

    async fn delete_current(
        &self,
        ask: &Ask,
        options: &DeleteOptions,
        current: Current,
    ) -> Result<Option<Deleted>, ApiError> {
        let strategy = kinds::strategy(ask.resource);
        let grace = strategy
            .grace_period_seconds(&current.value, options.grace_period_seconds)
            .unwrap_or(0)
            .max(0);
        let mut new = current.value.clone();
        let finalizers = wanted_finalizers(strategy.default_orphan(), options, &new);
        let changed = finalizers != meta::finalizers(&new);
        if changed {
            meta::set(&mut new, "finalizers", json!(finalizers));
        }
        let held_by_spec =
            ask.resource.plural == "namespaces" && !new["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        let held = !finalizers.is_empty() || held_by_spec;
        if !held && grace == 0 {
            return Ok(self.remove(ask, &current).await?.map(|_| Deleted::Gone(current.value)));
        }
        let already = meta::deletion_timestamp(&new).is_some();
        let old_grace = new["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        if already && !changed && grace >= old_grace {
            return Ok(Some(Deleted::Marked(current.value)));
        }
        if !already || grace < old_grace {
            mark(&mut new, grace, already, old_grace);
        }
        if ask.resource.plural == "namespaces" {
            new["status"]["phase"] = "Terminating".into();
        }
        if ask.dry_run {
            return Ok(Some(Deleted::Marked(new)));
        }
        Ok(put(self, ask, &new, current.revision).await?.map(Deleted::Marked))
    }

    /// Takes the key away; `None` when the race was lost.
    async fn remove(&self, ask: &Ask, current: &Current) -> Result<Option<()>, ApiError> {
        if ask.dry_run {
            return Ok(Some(()));
        }
        match self
            .storage
            .delete(&ask.key(), current.revision)
            .await
            .map_err(storage_error)?
        {
            Guarded::Done(_) => {
                kinds::after_delete(&self.allocators, ask.resource, &current.value);
                Ok(Some(()))
            }
            Guarded::Conflict { current: None, .. } => Err(ask.not_found()),
            Guarded::Conflict { .. } => Ok(None),
        }
    }

    /// An update took the last finalizer off a deleted object: it goes now. Watchers see its state before.
    pub(super) async fn remove_finished(
        &self,
        ask: &Ask,
        current: &Current,
        last: Value,
    ) -> Result<Option<Value>, ApiError> {
        Ok(self.remove(ask, current).await?.map(|()| last))
    }

    /// Deletes what the selectors choose; returns the last states.
    pub async fn delete_collection(
        &self,
        ask: &Ask,
        options: &DeleteOptions,
        mut list: ListOptions,
    ) -> Result<Vec<Value>, ApiError> {
        list.limit = COLLECTION_PAGE;
        list.resource_version.clear();
        let mut gone = Vec::new();
        loop {
            let page = self.cacher(ask.resource)?.list(&list).await?;
            for o in &page.items {
                let one = Ask {
                    name: o.meta.name.clone(),
                    namespace: o.meta.namespace.clone(),
                    ..ask.clone()
                };
                match self.delete(&one, options).await {
                    Ok(Deleted::Gone(v) | Deleted::Marked(v)) => gone.push(v),
                    Err(e) if e.reason == "NotFound" => {}
                    Err(e) => return Err(e),
                }
            }
            if page.continue_token.is_empty() {
                return Ok(gone);
            }
            list.continue_token = page.continue_token;
        }
    }
}

fn check_preconditions(ask: &Ask, current: &Current, o: &DeleteOptions) -> Result<(), ApiError> {
    let uid = meta::uid(&current.value);
    if let Some(wanted) = o.uid.as_ref().filter(|w| *w != uid) {
        return Err(ask.conflict(&format!(
            "Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}"
        )));
    }
    let version = current.revision.to_string();
    if let Some(wanted) = o.resource_version.as_ref().filter(|w| **w != version) {
        return Err(ask.conflict(&format!(
            "Precondition failed: ResourceVersion in precondition: {wanted}, ResourceVersion in object meta: {version}"
        )));
    }
    Ok(())
}

/// The object's finalizers with those of the propagation policy put on or taken off.
fn wanted_finalizers(default_orphan: bool, o: &DeleteOptions, object: &Value) -> Vec<String> {
    let mut now: Vec<String> = meta::finalizers(object).into_iter().map(str::to_owned).collect();
    let (orphan, foreground) = match o.policy() {
        Some("Orphan") => (true, false),
        Some("Foreground") => (false, true),
        Some(_) => (false, false),
        // No word: what the finalizers already say holds.
        None => (
            now.iter().any(|f| f == ORPHAN) || default_orphan && !now.iter().any(|f| f == FOREGROUND),
            now.iter().any(|f| f == FOREGROUND),
        ),
    };
    for (name, wanted) in [(ORPHAN, orphan), (FOREGROUND, foreground)] {
        let there = now.iter().any(|f| f == name);
        if wanted && !there {
            now.push(name.to_owned());
        } else if !wanted && there {
            now.retain(|f| f != name);
        }
    }
    now
}

fn mark(new: &mut Value, grace: i64, already: bool, old_grace: i64) {
    let now = jiff::Timestamp::now();
    let base = if already {
        // A shorter grace counts from when the deletion began.
        meta::deletion_timestamp(new)
            .and_then(|t| keelson_machinery::time::parse(t).ok())
            .and_then(|t| t.checked_sub(jiff::SignedDuration::from_secs(old_grace)).ok())
            .unwrap_or(now)
    } else {
        now
    };
    let at = base.checked_add(jiff::SignedDuration::from_secs(grace)).unwrap_or(now);
    meta::set(new, "deletionTimestamp", keelson_machinery::time::format(at));
    meta::set(new, "deletionGracePeriodSeconds", grace);
    let generation = meta::generation(new);
    if generation > 0 {
        meta::set(new, "generation", generation + 1);
    }
}
