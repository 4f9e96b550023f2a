//! Finds pods, and their containers in the runtime.
use super::answer::Refusal;
use crate::cri::{Cri, labels};
use crate::pod::PodExt;
use crate::pods::Pods;
use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keelson_proto::cri as pb;
use std::collections::BTreeMap;
use std::sync::Arc;

pub fn pod(pods: &Pods, namespace: &str, name: &str, uid: Option<&str>) -> Result<Arc<Pod>, Refusal> {
    let missing = || Refusal::not_found("pod does not exist");
    let pod = pods.find(namespace, name).ok_or_else(missing)?;
    match uid {
        Some(uid) if uid != pod.uid() => Err(Refusal::not_found("pod not found")),
        _ => Ok(pod),
    }
}

/// What the specification says of a container, of whichever sort.
pub struct Declared {
    pub tty: bool,
}

pub fn declared(pod: &Pod, name: &str) -> Option<Declared> {
    let spec = pod.spec();
    let plain = spec.containers.iter().chain(pod.init_containers());
    let plain = plain.filter(|c| c.name == name).map(|c| c.tty);
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    let ephemeral = ephemeral
        .filter(|c: &&EphemeralContainer| c.name == name)
        .map(|c| c.tty);
    let tty = plain.chain(ephemeral).next()?;
    Some(Declared { tty: tty == Some(true) })
}

/// The container of that name that runs.
pub async fn container(cri: &Cri, pod: &Pod, name: &str) -> Result<pb::Container, Refusal> {
    let all = cri.list_containers(Some(pod.uid())).await?;
    let named = |c: &pb::Container| c.labels.get(labels::CONTAINER_NAME).is_some_and(|n| n == name);
    let running = |c: &pb::Container| c.state == pb::ContainerState::ContainerRunning as i32;
    all.into_iter()
        .filter(|c| named(c) && running(c))
        .max_by_key(|c| c.created_at)
        .ok_or_else(|| Refusal::internal(format!("container not found ({name:?})")))
}

/// The sandbox that is ready.
pub async fn sandbox(cri: &Cri, pod: &Pod) -> Result<pb::PodSandbox, Refusal> {
    let all = cri.list_sandboxes(Some(pod.uid())).await?;
    let ready = |s: &pb::PodSandbox| s.state == pb::PodSandboxState::SandboxReady as i32;
    all.into_iter()
        .filter(ready)
        .max_by_key(|s| s.created_at)
        .ok_or_else(|| Refusal::internal(format!("pod not found ({:?})", pod.full_name())))
}

/// What runs by the runtime's word, as pods without more than names.
pub async fn running(cri: &Cri) -> Result<Vec<Arc<Pod>>, Refusal> {
    let (sandboxes, containers) = tokio::try_join!(cri.list_sandboxes(None), cri.list_containers(None))?;
    let mut pods: BTreeMap<String, Pod> = BTreeMap::new();
    let ready = pb::PodSandboxState::SandboxReady as i32;
    for s in sandboxes.into_iter().filter(|s| s.state == ready) {
        let m = s.metadata.unwrap_or_default();
        let metadata = ObjectMeta {
            name: Some(m.name),
            namespace: Some(m.namespace),
            uid: Some(m.uid),
            ..Default::default()
        };
        let pod = Pod {
            metadata,
            spec: Some(PodSpec::default()),
            status: None,
        };
        pods.insert(s.id, pod);
    }
    let live = pb::ContainerState::ContainerRunning as i32;
    for c in containers.into_iter().filter(|c| c.state == live) {
        let Some(spec) = pods.get_mut(&c.pod_sandbox_id).and_then(|p| p.spec.as_mut()) else {
            continue;
        };
        spec.containers.push(Container {
            name: c.metadata.unwrap_or_default().name,
            image: c.image.map(|i| i.image),
            ..Default::default()
        });
    }
    Ok(pods.into_values().map(Arc::new).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn containers_of_every_sort() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "c", "tty": true}],
            "ephemeralContainers": [{"name": "e", "tty": true}]}}))
        .unwrap();
        let tty = |n: &str| declared(&pod, n).map(|d| d.tty);
        assert_eq!(
            (tty("i"), tty("c"), tty("e"), tty("x")),
            (Some(false), Some(true), Some(true), None)
        );
    }
}
