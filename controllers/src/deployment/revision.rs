//! Revisions: which ReplicaSet serves the current template, and the numbers in annotations that
//! `kubectl rollout history` and `undo` read.
use super::plan::spec;
use crate::common::{scaled_value, time::now};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;
use std::collections::BTreeMap;

pub const HASH_LABEL: &str = "pod-template-hash";
pub const REVISION: &str = "deployment.kubernetes.io/revision";
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const DEPRECATED_ROLLBACK: &str = "deprecated.deployment.rollback.to";
/// Longest revision history kept in an annotation, in characters.
const HISTORY_CHARS_MAX: usize = 2000;

/// Annotations of the Deployment that its ReplicaSets do not inherit.
fn is_own(key: &str) -> bool {
    matches!(
        key,
        LAST_APPLIED | REVISION | REVISION_HISTORY | DESIRED_REPLICAS | MAX_REPLICAS | DEPRECATED_ROLLBACK
    )
}

pub fn annotation<'a>(rs: &'a ReplicaSet, key: &str) -> Option<&'a str> {
    rs.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

pub fn revision(rs: &ReplicaSet) -> i64 {
    annotation(rs, REVISION).and_then(|r| r.parse().ok()).unwrap_or(0)
}

/// Drops what an encoder may or may not write: nulls and empty lists and maps.
fn strip_empty(v: &mut Value) {
    match v {
        Value::Object(m) => {
            m.values_mut().for_each(strip_empty);
            m.retain(|_, v| !is_empty(v));
        }
        Value::Array(a) => a.iter_mut().for_each(strip_empty),
        _ => {}
    }
}

fn is_empty(v: &Value) -> bool {
    match v {
        Value::Null => true,
        Value::Object(m) => m.is_empty(),
        Value::Array(a) => a.is_empty(),
        _ => false,
    }
}

/// Whether two templates are the same but for the hash label.
pub fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    if a == b {
        return true;
    }
    let plain = |t: &PodTemplateSpec| {
        let mut v = serde_json::to_value(t).unwrap_or(Value::Null);
        if let Some(l) = v.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            l.remove(HASH_LABEL);
        }
        if let Some(m) = v.pointer_mut("/metadata").and_then(Value::as_object_mut) {
            m.remove("creationTimestamp");
        }
        strip_empty(&mut v);
        v
    };
    plain(a) == plain(b)
}

/// The oldest set that serves the Deployment's template.
pub fn find_new(d: &Deployment, sets: &[ReplicaSet]) -> Option<usize> {
    let template = &spec(d).template;
    sets.iter().position(|rs| {
        rs.spec
            .as_ref()
            .and_then(|s| s.template.as_ref())
            .is_some_and(|t| same_template(t, template))
    })
}

pub fn max_surge(d: &Deployment) -> i32 {
    fenceposts(d).0
}

pub fn max_unavailable(d: &Deployment) -> i32 {
    let replicas = spec(d).replicas.unwrap_or(1);
    if super::plan::is_recreate(d) || replicas == 0 {
        return 0;
    }
    fenceposts(d).1.min(replicas)
}

/// maxSurge and maxUnavailable in pods; where both round to nothing, one pod may be unavailable, or nothing would move.
fn fenceposts(d: &Deployment) -> (i32, i32) {
    if super::plan::is_recreate(d) {
        return (0, 0);
    }
    let replicas = spec(d).replicas.unwrap_or(1);
    let rolling = spec(d).strategy.as_ref().and_then(|s| s.rolling_update.as_ref());
    let surge = scaled_value(rolling.and_then(|r| r.max_surge.as_ref()), replicas, true);
    let unavailable = scaled_value(rolling.and_then(|r| r.max_unavailable.as_ref()), replicas, false);
    if surge == 0 && unavailable == 0 {
        (0, 1)
    } else {
        (surge, unavailable)
    }
}

pub fn set_replicas_annotations(annotations: &mut BTreeMap<String, String>, d: &Deployment) -> bool {
    let replicas = spec(d).replicas.unwrap_or(1);
    let mut set = |k: &str, v: i32| annotations.insert(k.to_owned(), v.to_string()) != Some(v.to_string());
    let desired = set(DESIRED_REPLICAS, replicas);
    let max = set(MAX_REPLICAS, replicas + max_surge(d));
    desired || max
}

/// Brings the annotations of the new ReplicaSet up to date: the Deployment's own, and its revision. A set that
/// served before keeps its former revisions as history. Returns whether anything changed.
pub fn update_annotations(d: &Deployment, rs: &mut ReplicaSet, new_revision: i64, exists: bool) -> bool {
    let mut annotations = rs.metadata.annotations.clone().unwrap_or_default();
    for (k, v) in d.metadata.annotations.iter().flatten() {
        if !is_own(k) {
            annotations.insert(k.clone(), v.clone());
        }
    }
    let old = annotations.get(REVISION).cloned();
    let old_revision: i64 = match old.as_deref() {
        None | Some("") => 0,
        // A revision that is no number is somebody's own; leave it.
        Some(text) => text.parse().unwrap_or(i64::MAX),
    };
    if old_revision < new_revision {
        annotations.insert(REVISION.into(), new_revision.to_string());
        if let Some(old) = old {
            let mut history: Vec<&str> = annotations
                .get(REVISION_HISTORY)
                .map(|h| h.split(',').filter(|s| !s.is_empty()).collect())
                .unwrap_or_default();
            history.push(&old);
            while history.len() > 1 && history.iter().map(|h| h.len() + 1).sum::<usize>() > HISTORY_CHARS_MAX + 1 {
                history.remove(0);
            }
            let history = history.join(",");
            annotations.insert(REVISION_HISTORY.into(), history);
        }
    }
    if !exists {
        set_replicas_annotations(&mut annotations, d);
    }
    let changed = rs.metadata.annotations.clone().unwrap_or_default() != annotations;
    rs.metadata.annotations = Some(annotations);
    changed
}

/// The ReplicaSet for the Deployment's template, not yet created.
pub fn build_new(d: &Deployment, new_revision: i64) -> ReplicaSet {
    use crate::common::hash::content_hash;
    use k8s_openapi::api::apps::v1::ReplicaSetSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    let s = spec(d);
    let collisions = d.status.as_ref().and_then(|s| s.collision_count);
    let hash = content_hash(&s.template, collisions);
    let mut template = s.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.into(), hash.clone());
    let labels = labels.clone();
    let mut selector = s.selector.clone();
    selector
        .match_labels
        .get_or_insert_default()
        .insert(HASH_LABEL.into(), hash.clone());
    let mut name = d.metadata.name.clone().unwrap_or_default();
    name.truncate(253usize.saturating_sub(hash.len() + 1));
    let mut rs = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: d.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![keelson_client::events::controller_ref(d)]),
            creation_timestamp: Some(now()),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: s.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    };
    update_annotations(d, &mut rs, new_revision, false);
    rs
}
