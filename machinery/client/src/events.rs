//! Records Kubernetes Events (v1), aggregating repeats into `count` as client-go's recorder does. Never blocks:
//! a bounded queue, drained by a task; what does not fit is dropped and counted.
mod correlate;

use crate::{Api, Client, Patch, PatchParams, Result};
use correlate::{Correlator, Outcome};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use rand::Rng;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// Events that wait to be written.
const QUEUE_EVENTS_MAX: usize = 1000;
/// Tries of one event while the server cannot be reached, and the pause between them (client-go: 12 and 10 s).
const WRITE_TRIES_MAX: u32 = 12;
const RETRY_PAUSE: Duration = Duration::from_secs(10);
/// What etcd and the validation of events accept, in bytes.
const MESSAGE_BYTES_MAX: usize = 1024;

#[derive(Clone)]
pub struct EventRecorder {
    source: Arc<EventSource>,
    queue: mpsc::Sender<Event>,
    dropped: Arc<AtomicU64>,
}

impl EventRecorder {
    /// `component` e.g. `kubelet`, `instance` e.g. the node's name (may be empty). Spawns the writing task,
    /// which ends when the last clone is dropped.
    pub fn new(client: Client, component: &str, instance: &str) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_EVENTS_MAX);
        tokio::spawn(write(client, waiting));
        EventRecorder {
            source: Arc::new(EventSource {
                component: Some(component.to_owned()),
                host: (!instance.is_empty()).then(|| instance.to_owned()),
            }),
            queue,
            dropped: Arc::default(),
        }
    }
    /// `kind` is `Normal` or `Warning`; `reason` CamelCase.
    pub fn event(&self, about: &ObjectReference, kind: &str, reason: &str, mut message: String) {
        if message.len() > MESSAGE_BYTES_MAX {
            let cut = (0..=MESSAGE_BYTES_MAX).rev().find(|&i| message.is_char_boundary(i));
            message.truncate(cut.unwrap_or(0));
        }
        let now = Timestamp::now();
        let event = Event {
            metadata: metadata(about, now),
            involved_object: about.clone(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            count: Some(1),
            type_: Some(kind.to_owned()),
            reporting_component: Some(self.source.component.clone().unwrap_or_default()),
            reporting_instance: Some(self.source.host.clone().unwrap_or_default()),
            source: Some((*self.source).clone()),
            ..Default::default()
        };
        if self.queue.try_send(event).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::debug!(dropped, reason, "an event was dropped: the queue is full");
        }
    }
    /// Events that found the queue full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The name is the object's, and the time in hexadecimal nanoseconds, as client-go names events.
fn metadata(about: &ObjectReference, now: Timestamp) -> ObjectMeta {
    let namespace = about
        .namespace
        .as_deref()
        .filter(|n| !n.is_empty())
        .unwrap_or("default");
    ObjectMeta {
        name: Some(format!(
            "{}.{:x}",
            about.name.as_deref().unwrap_or_default(),
            now.as_nanosecond()
        )),
        namespace: Some(namespace.to_owned()),
        ..Default::default()
    }
}

async fn write(client: Client, mut waiting: mpsc::Receiver<Event>) {
    let mut correlator = Correlator::default();
    while let Some(event) = waiting.recv().await {
        let (event, repeats) = match correlator.correlate(event) {
            Outcome::Drop => continue,
            Outcome::Create(e) => (e, false),
            Outcome::Repeat(e) => (e, true),
        };
        for n in 0..WRITE_TRIES_MAX {
            match send(&client, &event, repeats).await {
                Ok(written) => {
                    correlator.written(&written);
                    break;
                }
                Err(e) if e.is_transport() => {
                    tracing::debug!(error = %e, "event was not written; it will be retried");
                    // The first pause is random, so that many components do not come at once.
                    let factor = if n == 0 {
                        rand::rng().random_range(0.0..1.0)
                    } else {
                        1.0
                    };
                    tokio::time::sleep(RETRY_PAUSE.mul_f64(factor)).await;
                }
                Err(e) => {
                    tracing::debug!(error = %e, reason = event.reason, "the server rejected an event");
                    break;
                }
            }
        }
    }
}

async fn send(client: &Client, event: &Event, repeats: bool) -> Result<Event> {
    let api: Api<Event> = Api::namespaced(client.clone(), event.metadata.namespace.as_deref().unwrap_or("default"));
    if repeats {
        let name = event.metadata.name.as_deref().unwrap_or_default();
        let change = json!({"count": event.count, "lastTimestamp": event.last_timestamp, "message": event.message});
        match api
            .patch(name, &PatchParams::default(), &Patch::Strategic(change))
            .await
        {
            // Events expire: the repeat starts a new one.
            Err(e) if e.is_not_found() => {}
            other => return other,
        }
    }
    let mut fresh = event.clone();
    fresh.metadata.resource_version = None;
    api.create(&fresh).await
}

/// The reference that events and owner fields want, from a typed object.
pub fn object_ref<K: crate::api::Object>(o: &K) -> ObjectReference {
    let m = o.metadata();
    ObjectReference {
        api_version: Some(K::API_VERSION.to_owned()),
        kind: Some(K::KIND.to_owned()),
        name: m.name.clone(),
        namespace: m.namespace.clone(),
        uid: m.uid.clone(),
        resource_version: m.resource_version.clone(),
        field_path: None,
    }
}

/// The controlling owner reference to `o` (upstream: `metav1.NewControllerRef`).
pub fn controller_ref<K: crate::api::Object>(o: &K) -> OwnerReference {
    let m = o.metadata();
    OwnerReference {
        api_version: K::API_VERSION.to_owned(),
        kind: K::KIND.to_owned(),
        name: m.name.clone().unwrap_or_default(),
        uid: m.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fake::Fake;
    use k8s_openapi::api::core::v1::Pod;

    #[tokio::test(start_paused = true)]
    async fn repeats_become_a_count_and_a_lost_event_is_created_again() {
        let fake = Fake::new();
        let recorder = EventRecorder::new(fake.client(), "kubelet", "n1");
        let pod = Pod {
            metadata: ObjectMeta {
                name: Some("p".into()),
                namespace: Some("x".into()),
                uid: Some("u".into()),
                ..Default::default()
            },
            ..Default::default()
        };
        let about = object_ref(&pod);
        recorder.event(&about, "Warning", "BackOff", "again".into());
        let first = fake.next().await;
        assert_eq!(
            (first.method.as_str(), first.path.as_str()),
            ("POST", "/api/v1/namespaces/x/events")
        );
        let body = first.json();
        assert_eq!(body["source"], json!({"component": "kubelet", "host": "n1"}));
        assert_eq!(body["involvedObject"]["kind"], "Pod");
        assert_eq!(body["count"], 1);
        let name = body["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(name.starts_with("p."));
        first.answer(201, body);

        recorder.event(&about, "Warning", "BackOff", "again".into());
        let second = fake.next().await;
        assert_eq!(second.method, "PATCH");
        assert_eq!(second.path, format!("/api/v1/namespaces/x/events/{name}"));
        assert_eq!(second.json()["count"], 2);
        second.status(404, "NotFound");
        let third = fake.next().await;
        assert_eq!(third.method, "POST");
        assert_eq!(third.json()["count"], 2);
        third.fail("connection refused");
        let fourth = fake.next().await;
        assert_eq!(fourth.method, "PATCH", "tried again after a pause");
    }
}
