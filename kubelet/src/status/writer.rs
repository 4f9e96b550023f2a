//! Writes one pod's status, the newest only, and only when it differs from what the API has.
use super::conditions;
use crate::agent::Agent;
use crate::pod::PodExt;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use keelson_client::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

#[derive(Clone, Default)]
struct Wanted {
    number: u64,
    patch: Value,
}

pub struct StatusWriter {
    wanted: watch::Sender<Wanted>,
    written: watch::Receiver<(u64, Option<String>)>,
    task: JoinHandle<()>,
}

impl Drop for StatusWriter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StatusWriter {
    pub fn new(agent: Arc<Agent>, pod: &Pod) -> Self {
        let (wanted, receiver) = watch::channel(Wanted::default());
        let (done, written) = watch::channel((0, None));
        let api = Api::<Pod>::namespaced(agent.client.clone(), pod.namespace());
        let task = tokio::spawn(write(api, pod.name().to_owned(), receiver, done));
        StatusWriter { wanted, written, task }
    }

    /// Asks for `status`, unless the API has it or it is on its way.
    pub fn set(&self, pod: &Pod, status: &PodStatus) {
        let Some(patch) = patch(pod, status) else { return };
        let current = self.wanted.borrow().clone();
        if current.patch == patch && !self.overwritten(pod, &current) {
            return;
        }
        if current.number == 0 && same(pod, status) {
            return;
        }
        self.wanted.send_modify(|w| {
            w.number += 1;
            w.patch = patch;
        });
    }

    /// Whether someone has changed our part since we wrote it.
    fn overwritten(&self, pod: &Pod, current: &Wanted) -> bool {
        let (number, version) = self.written.borrow().clone();
        if number != current.number {
            return false;
        }
        let as_number = |v: Option<&String>| v.and_then(|v| v.parse::<u64>().ok()).unwrap_or(0);
        let seen = as_number(pod.metadata.resource_version.as_ref());
        if seen <= as_number(version.as_ref()) {
            return false;
        }
        let have = pod.status.as_ref().and_then(|s| patch_of(pod, s));
        have.as_ref() != Some(&current.patch)
    }

    /// Returns when what was asked for last is written, or the pod is gone.
    pub async fn flush(&self) {
        let number = self.wanted.borrow().number;
        let mut written = self.written.clone();
        // The task lives as long as the writer does.
        let _ = written.wait_for(|(n, _)| *n >= number).await;
    }
}

async fn write(
    api: Api<Pod>,
    name: String,
    mut wanted: watch::Receiver<Wanted>,
    done: watch::Sender<(u64, Option<String>)>,
) {
    let mut pause = RETRY_FIRST;
    while wanted.changed().await.is_ok() {
        loop {
            let now = wanted.borrow_and_update().clone();
            let patch = Patch::Strategic(now.patch.clone());
            match api.patch_status(&name, &PatchParams::default(), &patch).await {
                Ok(pod) => {
                    pause = RETRY_FIRST;
                    done.send_replace((now.number, pod.metadata.resource_version));
                    break;
                }
                // The pod is gone, or another one has its name.
                Err(e) if e.is_not_found() || e.is_conflict() => {
                    tracing::debug!(pod = name, error = %e, "the pod is gone: its status is not written");
                    done.send_replace((now.number, None));
                    break;
                }
                Err(e) => {
                    tracing::warn!(pod = name, error = %e, "write the pod's status");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        r = wanted.changed() => if r.is_err() { return },
                    }
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }
}

fn same(pod: &Pod, status: &PodStatus) -> bool {
    let have = pod.status.as_ref().and_then(|s| patch_of(pod, s));
    have.is_some() && have == patch(pod, status)
}

/// An API status reduced to what we would write.
fn patch_of(pod: &Pod, status: &PodStatus) -> Option<Value> {
    let mut status = status.clone();
    for c in status.conditions.iter_mut().flatten() {
        c.last_probe_time = None;
    }
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|c| conditions::OURS.contains(&c.type_.as_str()));
        let place = |kind: &str| conditions::OURS.iter().position(|o| *o == kind);
        conditions.sort_by_key(|c| place(&c.type_));
    }
    patch(pod, &status)
}

/// Everything of the status that is ours. Conditions merge by type, so that others' stay; other lists are replaced
/// whole; what has no value is removed.
fn patch(pod: &Pod, status: &PodStatus) -> Option<Value> {
    let mut typed = serde_json::to_value(status).ok()?;
    // Merged by type, a condition would keep what it no longer says.
    for c in typed
        .get_mut("conditions")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        for key in ["reason", "message"] {
            if c.get(key).is_none() {
                c[key] = Value::Null;
            }
        }
    }
    let take = |key: &str| typed.get(key).cloned().unwrap_or(Value::Null);
    let replaced = |key: &str| {
        let mut list = match take(key) {
            Value::Array(l) => l,
            _ => Vec::new(),
        };
        list.insert(0, json!({"$patch": "replace"}));
        Value::Array(list)
    };
    Some(json!({
        "metadata": {"uid": pod.uid()},
        "status": {
            "phase": take("phase"),
            "conditions": take("conditions"),
            "reason": take("reason"),
            "message": take("message"),
            "hostIP": take("hostIP"),
            "hostIPs": replaced("hostIPs"),
            "podIP": take("podIP"),
            "podIPs": replaced("podIPs"),
            "startTime": take("startTime"),
            "containerStatuses": take("containerStatuses"),
            "initContainerStatuses": take("initContainerStatuses"),
            "ephemeralContainerStatuses": take("ephemeralContainerStatuses"),
            "qosClass": take("qosClass"),
            "observedGeneration": take("observedGeneration"),
        }
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({"apiVersion":"v1","kind":"Pod",
            "metadata":{"name":"a","uid":"u","resourceVersion":"5"},"status":status}))
        .unwrap()
    }

    #[test]
    fn a_patch_removes_what_is_gone() {
        let p = pod(json!({"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}));
        let patch = patch(&p, p.status.as_ref().unwrap()).unwrap();
        assert_eq!(patch["metadata"]["uid"], "u");
        assert_eq!(patch["status"]["reason"], Value::Null);
        assert_eq!(patch["status"]["conditions"][0]["message"], Value::Null);
        assert_eq!(patch["status"]["podIPs"], json!([{"$patch": "replace"}]));
    }

    #[test]
    fn others_conditions_are_not_ours() {
        let ours = json!({"phase":"Running","conditions":[{"type":"Ready","status":"True"}]});
        let both = json!({"phase":"Running","conditions":[
            {"type":"DisruptionTarget","status":"True"},{"type":"Ready","status":"True"}]});
        let status: PodStatus = serde_json::from_value(ours).unwrap();
        assert!(same(&pod(both), &status));
        assert!(!same(&pod(json!({"phase":"Pending"})), &status));
    }
}
