//! Deletes finished Jobs `ttlSecondsAfterFinished` after their end (KEP-592).
use crate::common::time::remaining;
use crate::common::{Context, Outcome, key};
use crate::job::{find, job_is_finished};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use keelson_client::{Api, Client, DeleteParams, Event, Propagation, Store, WorkQueue};

pub const NAME: &str = "ttl-after-finished-controller";
/// The ServiceAccount it acts as, whose role is bootstrapped under this name.
pub const ACCOUNT: &str = "ttl-after-finished-controller";

pub async fn run(ctx: Context) {
    let jobs = ctx.factory.informer::<Job>();
    let queue = WorkQueue::<String>::new("ttl-after-finished");
    let q = queue.clone();
    jobs.on_event(move |e| {
        if !matches!(e, Event::Deleted(_)) && end(e.object()).is_some() {
            q.add(key(&e.object().metadata));
        }
    });
    jobs.wait_synced().await;
    let (store, client) = (jobs.store(), ctx.client.clone());
    ctx.work(&queue, move |k| {
        let (store, client) = (store.clone(), client.clone());
        async move { expire(&store, client, &k).await }
    })
    .await;
}

/// When the Job ended and how long it stays after that; `None` for one that is not to be deleted.
fn end(job: &Job) -> Option<(Time, i64)> {
    let ttl = job.spec.as_ref()?.ttl_seconds_after_finished?;
    if job.metadata.deletion_timestamp.is_some() || !job_is_finished(job) {
        return None;
    }
    let status = job.status.as_ref()?;
    let c = find(status, "Complete").or_else(|| find(status, "Failed"))?;
    Some((c.last_transition_time.clone()?, i64::from(ttl)))
}

async fn expire(jobs: &Store<Job>, client: Client, k: &str) -> Outcome {
    let Some(job) = jobs.get(k) else {
        return Ok(None);
    };
    let Some((ended, ttl)) = end(&job) else {
        return Ok(None);
    };
    if let Some(wait) = remaining(&ended, ttl, Timestamp::now()) {
        return Ok(Some(wait));
    }
    let params = DeleteParams {
        propagation: Some(Propagation::Foreground),
        precondition_uid: job.metadata.uid.clone(),
        precondition_resource_version: job.metadata.resource_version.clone(),
        ..DeleteParams::default()
    };
    let api = Api::<Job>::namespaced(client, job.metadata.namespace.as_deref().unwrap_or_default());
    match api
        .delete(job.metadata.name.as_deref().unwrap_or_default(), &params)
        .await
    {
        Err(e) if !e.is_not_found() => Err(e.into()),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn only_finished_jobs_with_a_ttl_expire() {
        let job = |ttl: Option<i32>, done: &str| -> Job {
            serde_json::from_value(json!({"metadata": {"name": "j"},
                "spec": {"ttlSecondsAfterFinished": ttl, "template": {}},
                "status": {"conditions": [{"type": "Complete", "status": done, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}))
            .unwrap()
        };
        assert_eq!(end(&job(Some(5), "True")).unwrap().1, 5);
        assert!(end(&job(None, "True")).is_none());
        assert!(end(&job(Some(5), "False")).is_none());
    }
}
