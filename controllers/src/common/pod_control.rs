//! Creates and deletes pods for an owner, and says so in its events.
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keelson_client::api::Object;
use keelson_client::events::{controller_ref, object_ref};
use keelson_client::{Api, Client, DeleteParams, Error, EventRecorder};
use std::future::Future;

/// Longest prefix of a generated name (253 less the five random characters).
const NAME_PREFIX_BYTES_MAX: usize = 248;
/// Size of the first batch of creations; each success doubles it.
const BATCH_INITIAL: usize = 1;

/// The pod that a template describes, owned by `owner`, without a name.
pub fn pod_from_template<O: Object>(owner: &O, template: &PodTemplateSpec) -> Pod {
    let meta = owner.metadata();
    let from = template.metadata.clone().unwrap_or_default();
    let mut prefix = meta.name.clone().unwrap_or_default();
    prefix.truncate(NAME_PREFIX_BYTES_MAX - 1);
    prefix.push('-');
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(prefix),
            namespace: meta.namespace.clone(),
            labels: from.labels,
            annotations: from.annotations,
            finalizers: from.finalizers,
            owner_references: Some(vec![controller_ref(owner)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Whether the server refused because the namespace is going away, which no retry mends.
pub fn namespace_terminating(e: &Error) -> bool {
    match e {
        Error::Api(s) => s
            .details
            .iter()
            .flat_map(|d| d.causes.iter().flatten())
            .any(|c| c.reason.as_deref() == Some("NamespaceTerminating")),
        _ => false,
    }
}

#[derive(Clone)]
pub struct PodControl {
    pub client: Client,
    pub events: EventRecorder,
}

impl PodControl {
    fn api(&self, namespace: Option<&str>) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace.unwrap_or_default())
    }

    pub async fn create<O: Object>(&self, owner: &O, pod: &Pod) -> Result<Pod, Error> {
        match self.api(pod.metadata.namespace.as_deref()).create(pod).await {
            Ok(p) => {
                let name = p.metadata.name.as_deref().unwrap_or_default();
                let about = object_ref(owner);
                self.events
                    .event(&about, "Normal", "SuccessfulCreate", format!("Created pod: {name}"));
                Ok(p)
            }
            Err(e) => {
                if !namespace_terminating(&e) {
                    let about = object_ref(owner);
                    self.events
                        .event(&about, "Warning", "FailedCreate", format!("Error creating: {e}"));
                }
                Err(e)
            }
        }
    }

    /// A pod that is gone already counts as an error, [`Error::is_not_found`], so that callers can correct
    /// what they expect.
    pub async fn delete<O: Object>(&self, owner: &O, pod: &Pod) -> Result<(), Error> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let params = DeleteParams {
            precondition_uid: pod.metadata.uid.clone(),
            ..DeleteParams::default()
        };
        let about = object_ref(owner);
        match self.api(pod.metadata.namespace.as_deref()).delete(name, &params).await {
            Ok(()) => {
                self.events
                    .event(&about, "Normal", "SuccessfulDelete", format!("Deleted pod: {name}"));
                Ok(())
            }
            Err(e) => {
                if !e.is_not_found() {
                    self.events
                        .event(&about, "Warning", "FailedDelete", format!("Error deleting: {e}"));
                }
                Err(e)
            }
        }
    }
}

/// Calls `f` `count` times in batches of 1, 2, 4, …, and stops after the first batch with a failure, so that a
/// refusal that would meet all of them is not asked for a thousand times. Returns how many succeeded.
pub async fn slow_start<F, Fut>(count: usize, f: F) -> (usize, Option<Error>)
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    let (mut done, mut batch) = (0, BATCH_INITIAL.min(count));
    let mut next = 0;
    while batch > 0 {
        let results = join_all((next..next + batch).map(&f)).await;
        next += batch;
        let mut failed = None;
        for r in results {
            match r {
                Ok(()) => done += 1,
                Err(e) => failed = Some(e),
            }
        }
        if failed.is_some() {
            return (done, failed);
        }
        batch = (2 * batch).min(count - next);
    }
    (done, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[tokio::test]
    async fn batches_double_and_stop_at_a_failure() {
        let calls = Mutex::new(Vec::new());
        let (done, failed) = slow_start(20, |i| {
            calls.lock().push(i);
            async move {
                if i == 5 {
                    Err(Error::Config("no".into()))
                } else {
                    Ok(())
                }
            }
        })
        .await;
        assert!(failed.is_some());
        assert_eq!((done, calls.lock().len()), (6, 7));
        let (done, failed) = slow_start(20, |_| async { Ok(()) }).await;
        assert!(failed.is_none());
        assert_eq!(done, 20);
    }
}
