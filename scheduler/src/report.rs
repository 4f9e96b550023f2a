//! What the scheduler tells users: events, and the PodScheduled condition of pods that found no node.
use crate::framework::PodInfo;
use k8s_openapi::api::core::v1::Pod;
use keelson_client::{Api, Client, EventRecorder, Patch, PatchParams};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Condition writes that wait; what does not fit is dropped, and said again at the pod's next attempt.
const CONDITIONS_WAITING_MAX: usize = 1024;

pub struct Reporter {
    events: EventRecorder,
    conditions: mpsc::Sender<(Arc<PodInfo>, Value)>,
}

/// The condition to write, or `None` when the pod says the same already.
fn condition(pod: &Pod, reason: &str, message: &str, now: &str) -> Option<Value> {
    let old = pod
        .status
        .as_ref()
        .and_then(|s| s.conditions.as_ref())
        .into_iter()
        .flatten()
        .find(|c| c.type_ == "PodScheduled");
    let mut since = now.to_owned();
    if let Some(old) = old {
        let same = old.status == "False" && old.reason.as_deref() == Some(reason);
        if same && old.message.as_deref() == Some(message) {
            return None;
        }
        if let Some(t) = old.last_transition_time.as_ref().filter(|_| old.status == "False") {
            since = t.0.to_string();
        }
    }
    Some(json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": reason,
        "message": message,
        "lastProbeTime": null,
        "lastTransitionTime": since,
        "observedGeneration": pod.metadata.generation,
    }))
}

impl Reporter {
    /// Spawns the writer of conditions, which ends with the reporter.
    pub fn new(client: Client, scheduler_name: &str) -> Self {
        let (conditions, waiting) = mpsc::channel(CONDITIONS_WAITING_MAX);
        tokio::spawn(write_conditions(client.clone(), waiting));
        Reporter {
            events: EventRecorder::new(client, scheduler_name, ""),
            conditions,
        }
    }

    pub fn scheduled(&self, pod: &PodInfo, node: &str) {
        self.events.event(
            &keelson_client::events::object_ref(&*pod.pod),
            "Normal",
            "Scheduled",
            format!("Successfully assigned {}/{} to {node}", pod.namespace(), pod.name()),
        );
    }

    pub fn failed(&self, pod: &Arc<PodInfo>, reason: &str, message: String) {
        let now = jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default();
        if let Some(c) = condition(&pod.pod, reason, &message, &now.to_string())
            && self.conditions.try_send((pod.clone(), c)).is_err()
        {
            tracing::warn!(pod = %pod.key, "too many pod conditions wait to be written; dropped one");
        }
        self.events.event(
            &keelson_client::events::object_ref(&*pod.pod),
            "Warning",
            "FailedScheduling",
            message,
        );
    }
}

async fn write_conditions(client: Client, mut waiting: mpsc::Receiver<(Arc<PodInfo>, Value)>) {
    while let Some((pod, condition)) = waiting.recv().await {
        let api = Api::<Pod>::namespaced(client.clone(), pod.namespace());
        // The uid makes the write fail for a pod that only shares the name.
        let patch = Patch::Strategic(json!({
            "metadata": {"uid": pod.uid()},
            "status": {"conditions": [condition]},
        }));
        if let Err(e) = api.patch_status(pod.name(), &PatchParams::default(), &patch).await
            && !e.is_not_found()
            && !e.is_conflict()
        {
            tracing::warn!(pod = %pod.key, error = %e, "write condition PodScheduled");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_condition_is_written_only_when_it_changes() {
        let plain: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}})).unwrap();
        let c = condition(&plain, "Unschedulable", "m", "2026-01-01T00:00:00Z").unwrap();
        assert_eq!(c["lastTransitionTime"], "2026-01-01T00:00:00Z");
        let told: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "status": {"conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "m",
             "lastTransitionTime": "2025-01-01T00:00:00Z"}]}}))
        .unwrap();
        assert!(condition(&told, "Unschedulable", "m", "2026-01-01T00:00:00Z").is_none());
        let c = condition(&told, "Unschedulable", "other", "2026-01-01T00:00:00Z").unwrap();
        assert_eq!(c["lastTransitionTime"], "2025-01-01T00:00:00Z");
    }
}
