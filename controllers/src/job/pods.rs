//! The pods of a Job: how they are made, which of them go, when they ended.
use super::tally::index_of;
use crate::common::pod_control::pod_from_template;
use crate::common::pods::{condition, is_ready, node_name, phase};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Holds a pod until its end is counted (KEP-2307).
pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
pub const INDEX_KEY: &str = "batch.kubernetes.io/job-completion-index";
const INDEX_ENV: &str = "JOB_COMPLETION_INDEX";

pub fn has_finalizer(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER)
}

fn add_index_env(c: &mut Container) {
    let env = c.env.get_or_insert_default();
    if env.iter().all(|e| e.name != INDEX_ENV) {
        env.push(EnvVar {
            name: INDEX_ENV.into(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    field_path: format!("metadata.labels['{INDEX_KEY}']"),
                    ..ObjectFieldSelector::default()
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        });
    }
}

/// The pod for `index`, or for any where the Job is not indexed.
pub fn build(job: &Job, index: Option<i32>) -> Option<Pod> {
    let spec = job.spec.as_ref()?;
    let mut pod = pod_from_template(job, &spec.template);
    let finalizers = pod.metadata.finalizers.get_or_insert_default();
    if finalizers.iter().all(|f| f != FINALIZER) {
        finalizers.push(FINALIZER.into());
    }
    let Some(index) = index else {
        return Some(pod);
    };
    let name = job.metadata.name.as_deref().unwrap_or_default();
    pod.metadata.generate_name = Some(format!("{name}-{index}-"));
    let put = |m: &mut Option<BTreeMap<String, String>>| {
        m.get_or_insert_default().insert(INDEX_KEY.into(), index.to_string());
    };
    put(&mut pod.metadata.labels);
    put(&mut pod.metadata.annotations);
    if let Some(s) = &mut pod.spec {
        s.hostname = Some(format!("{name}-{index}"));
        s.containers.iter_mut().for_each(add_index_env);
        s.init_containers.iter_mut().flatten().for_each(add_index_env);
    }
    Some(pod)
}

/// Least worth keeping first.
fn worth(p: &Pod) -> (bool, u8, bool, std::cmp::Reverse<Timestamp>) {
    let order = match phase(p) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let created = p.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |t| t.0);
    (!node_name(p).is_empty(), order, is_ready(p), std::cmp::Reverse(created))
}

/// Active pods to delete: at least `count`, and of an indexed Job every second pod of an index.
pub fn to_delete(active: &[Arc<Pod>], completions: Option<i32>, count: usize) -> Vec<Arc<Pod>> {
    let mut pods = active.to_vec();
    pods.sort_by_key(|p| worth(p));
    let mut doubles = Vec::new();
    if let Some(completions) = completions {
        let mut seen = HashSet::new();
        // The best of each index stays, so they are visited from the best on.
        for p in pods.iter().rev() {
            let keep = index_of(p).is_some_and(|i| i < completions && seen.insert(i));
            if !keep {
                doubles.push(p.clone());
            }
        }
        pods.retain(|p| !doubles.iter().any(|d| Arc::ptr_eq(d, p)));
    }
    let more = count.saturating_sub(doubles.len());
    doubles.extend(pods.into_iter().take(more));
    doubles
}

/// When a pod ended: by its containers, else by its readiness, else by its deletion.
pub fn finished_at(p: &Pod) -> Timestamp {
    let statuses = p.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
    let ends: Option<Vec<Timestamp>> = statuses
        .map(|c| Some(c.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0))
        .collect();
    if let Some(end) = ends.and_then(|e| e.into_iter().max()) {
        return end;
    }
    if let Some(t) = condition(p, "Ready")
        .filter(|c| c.status == "False")
        .and_then(|c| c.last_transition_time.as_ref())
    {
        return t.0;
    }
    let grace = SignedDuration::from_secs(p.metadata.deletion_grace_period_seconds.unwrap_or(0));
    let deleted = p
        .metadata
        .deletion_timestamp
        .as_ref()
        .and_then(|t| t.0.checked_sub(grace).ok());
    deleted
        .or_else(|| p.metadata.creation_timestamp.as_ref().map(|t| t.0))
        .unwrap_or(Timestamp::UNIX_EPOCH)
}
