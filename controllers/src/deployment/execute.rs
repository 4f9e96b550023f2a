//! Makes the steps of a plan.
use super::conditions::{self, PROGRESSING};
use super::plan::{Plan, Step, spec};
use super::revision::{REVISION, same_template};
use crate::common::owner::controller_of;
use crate::common::pod_control::namespace_terminating;
use crate::common::status::write_status;
use crate::common::{Context, Error, Outcome, key};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::jiff::Timestamp;
use keelson_client::events::object_ref;
use keelson_client::{Api, DeleteParams, Patch, PatchParams, Store};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn scaled(ctx: &Context, d: &Deployment, name: &str, from: i32, to: i32) {
    let direction = if to > from { "up" } else { "down" };
    ctx.events.event(
        &object_ref(d),
        "Normal",
        "ScalingReplicaSet",
        format!("Scaled {direction} replica set {name} from {from} to {to}"),
    );
}

pub async fn execute(ctx: &Context, sets: &Store<ReplicaSet>, d: &Deployment, plan: Plan) -> Outcome {
    let namespace = d.metadata.namespace.as_deref().unwrap_or_default();
    let api = Api::<ReplicaSet>::namespaced(ctx.client.clone(), namespace);
    let mut versions = plan.versions;
    for step in plan.steps {
        match step {
            Step::Create(rs) => create(ctx, sets, d, &api, *rs).await?,
            Step::Update {
                name,
                annotations,
                min_ready_seconds,
            } => {
                let change = json!({
                    "metadata": {"annotations": annotations},
                    "spec": {"minReadySeconds": min_ready_seconds},
                });
                write(&api, &mut versions, &name, change).await?;
            }
            Step::Scale {
                name,
                from,
                to,
                annotations,
            } => {
                let change = json!({"metadata": {"annotations": annotations}, "spec": {"replicas": to}});
                write(&api, &mut versions, &name, change).await?;
                if from != to {
                    scaled(ctx, d, &name, from, to);
                }
            }
            Step::Delete { name } => match api.delete(&name, &DeleteParams::default()).await {
                Err(e) if !e.is_not_found() => return Err(e.into()),
                _ => {}
            },
        }
    }
    let deployments = Api::<Deployment>::namespaced(ctx.client.clone(), namespace);
    let mut current = d.clone();
    if let Some(revision) = plan.revision {
        let annotations = current.metadata.annotations.get_or_insert_default();
        annotations.insert(REVISION.to_owned(), revision);
        current.metadata.managed_fields = None;
        let name = current.metadata.name.clone().unwrap_or_default();
        current = deployments.replace(&name, &current).await?;
    }
    write_status(&deployments, &current, |d| &mut d.status, plan.status).await?;
    Ok(plan.check_after)
}

/// Patches a set if it is still as it was planned with, and notes its new version for later steps.
async fn write(
    api: &Api<ReplicaSet>,
    versions: &mut BTreeMap<String, String>,
    name: &str,
    mut change: Value,
) -> Result<(), Error> {
    if let Some(meta) = change.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.insert("resourceVersion".into(), json!(versions.get(name)));
    }
    let new = api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await?;
    if let Some(v) = new.metadata.resource_version {
        versions.insert(name.to_owned(), v);
    }
    Ok(())
}

async fn create(
    ctx: &Context,
    sets: &Store<ReplicaSet>,
    d: &Deployment,
    api: &Api<ReplicaSet>,
    mut rs: ReplicaSet,
) -> Result<(), Error> {
    rs.metadata.creation_timestamp = None;
    let name = rs.metadata.name.clone().unwrap_or_default();
    let size = rs.spec.as_ref().and_then(|s| s.replicas).unwrap_or(0);
    match api.create(&rs).await {
        Ok(_) => {
            if size > 0 {
                scaled(ctx, d, &name, 0, size);
            }
            Ok(())
        }
        Err(e) if e.is_already_exists() => {
            let there = match sets.get(&key(&rs.metadata)) {
                Some(there) => (*there).clone(),
                None => api.get(&name).await?,
            };
            let ours = controller_of(&there.metadata).is_some_and(|r| Some(&r.uid) == d.metadata.uid.as_ref());
            let same = there
                .spec
                .as_ref()
                .and_then(|s| s.template.as_ref())
                .is_some_and(|t| same_template(t, &spec(d).template));
            if ours && same {
                return Ok(());
            }
            // Another set has the name: count the collision, which changes the hash at the next attempt.
            let mut status = d.status.clone().unwrap_or_default();
            status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
            update_status(ctx, d, status).await?;
            Err(e.into())
        }
        Err(e) if namespace_terminating(&e) => Err(e.into()),
        Err(e) => {
            let message = format!("Failed to create new replica set {name:?}: {e}");
            if conditions::deadline_s(d).is_some() {
                let mut status = d.status.clone().unwrap_or_default();
                let now = Timestamp::now();
                conditions::set(
                    &mut status,
                    conditions::new(PROGRESSING, "False", "ReplicaSetCreateError", message.clone(), now),
                );
                // The error below is what matters; it brings the reconcile back.
                let _ = update_status(ctx, d, status).await;
            }
            ctx.events
                .event(&object_ref(d), "Warning", "ReplicaSetCreateError", message);
            Err(e.into())
        }
    }
}

async fn update_status(ctx: &Context, d: &Deployment, status: DeploymentStatus) -> Result<(), Error> {
    let namespace = d.metadata.namespace.as_deref().unwrap_or_default();
    let api = Api::<Deployment>::namespaced(ctx.client.clone(), namespace);
    write_status(&api, d, |d| &mut d.status, status).await?;
    Ok(())
}
