//! The node's heartbeat: a Lease in `kube-node-lease` (KEP-589).
use crate::Result;
use crate::agent::Agent;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use keelson_client::{Api, Patch, PatchParams};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const NAMESPACE: &str = "kube-node-lease";
const DURATION_SECONDS: i32 = 40;
const RENEW_EVERY: Duration = Duration::from_secs(10);
const RETRY_AFTER: Duration = Duration::from_millis(200);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(7);

/// Renews for ever; the caller aborts the task.
pub async fn keep(agent: Arc<Agent>, node_uid: String) {
    let mut pause = RETRY_AFTER;
    loop {
        let wait = match renew(&agent, &node_uid).await {
            Ok(()) => {
                pause = RETRY_AFTER;
                RENEW_EVERY
            }
            Err(e) => {
                tracing::warn!(error = %e, "renew the node's Lease");
                pause = (pause * 2).min(RETRY_AFTER_MAX);
                pause
            }
        };
        tokio::time::sleep(wait).await;
    }
}

async fn renew(agent: &Agent, node_uid: &str) -> Result<()> {
    let api = Api::<Lease>::namespaced(agent.client.clone(), NAMESPACE);
    let name = &agent.options.node_name;
    let now = MicroTime(Timestamp::now());
    let spec = LeaseSpec {
        holder_identity: Some(name.clone()),
        lease_duration_seconds: Some(DURATION_SECONDS),
        renew_time: Some(now),
        ..Default::default()
    };
    let patch = Patch::Merge(json!({ "spec": spec }));
    match api.patch(name, &PatchParams::default(), &patch).await {
        Ok(_) => return Ok(()),
        Err(e) if e.is_not_found() => {}
        Err(e) => return Err(e.into()),
    }
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(NAMESPACE.to_owned()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: name.clone(),
                uid: node_uid.to_owned(),
                ..Default::default()
            }]),
            ..Default::default()
        },
        spec: Some(spec),
    };
    api.create(&lease).await?;
    Ok(())
}
