//! Ends containers: preStop, the stop signal, the kill (upstream: killContainer in kuberuntime_container.go).
use super::{Worker, hooks};
use crate::agent::Agent;
use crate::cri::{ContainerView, PodView, RunState, labels};
use crate::pod::{PodExt, is_sidecar};
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use std::time::{Duration, Instant};

/// However little grace is left after preStop, the process gets this much.
const GRACE_MIN_SECONDS: i64 = 2;

impl Worker {
    /// Runs preStop within `grace` seconds, then stops with what is left of it.
    pub(super) async fn kill_one(&self, pod: &Pod, name: &str, id: &str, message: &str, grace: i64) {
        self.agent.normal(pod, Some(name), "Killing", message);
        let all = pod.spec().containers.iter().chain(pod.init_containers());
        let found = all.into_iter().find(|c| c.name == name);
        let ip = self
            .last_view
            .sandboxes
            .first()
            .and_then(|s| s.ips.first())
            .cloned()
            .unwrap_or_default();
        kill(&self.agent, pod, found, id, &ip, grace).await;
    }

    /// Ends every container: main ones together, then sidecars from the last to the first. `grace` in seconds;
    /// the pod's own without it.
    pub(super) async fn kill_view(&self, pod: &Pod, view: &PodView, grace: Option<i64>) {
        let grace = grace.unwrap_or_else(|| pod.spec().termination_grace_period_seconds.unwrap_or(30));
        let began = Instant::now();
        let left = || grace.saturating_sub(i64::try_from(began.elapsed().as_secs()).unwrap_or(i64::MAX));
        let alive = |c: &&ContainerView| matches!(c.state, RunState::Running | RunState::Unknown);
        let sidecar_names: Vec<&str> = pod
            .init_containers()
            .iter()
            .filter(|c| is_sidecar(c))
            .map(|c| c.name.as_str())
            .collect();
        let is_sidecar = |c: &&ContainerView| sidecar_names.contains(&c.name.as_str());
        let stop = |c: &ContainerView, grace: i64| {
            let (name, id) = (c.name.clone(), c.id.clone());
            async move {
                let message = format!("Stopping container {name}");
                self.kill_one(pod, &name, &id, &message, grace).await;
            }
        };
        let main = view.containers.iter().filter(alive).filter(|c| !is_sidecar(c));
        futures::future::join_all(main.map(|c| stop(c, grace))).await;
        for name in sidecar_names.iter().rev() {
            let these = view.containers.iter().filter(alive).filter(|c| c.name == *name);
            futures::future::join_all(these.map(|c| stop(c, left()))).await;
        }
    }
}

async fn kill(agent: &Agent, pod: &Pod, c: Option<&Container>, id: &str, pod_ip: &str, grace: i64) {
    let began = Instant::now();
    let hook = c.and_then(|c| c.lifecycle.as_ref()?.pre_stop.as_ref());
    if let (Some(c), Some(hook)) = (c, hook)
        && grace > 0
    {
        let bound = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        match tokio::time::timeout(bound, hooks::run(agent, pod, c, id, pod_ip, hook)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => agent.warning(
                pod,
                Some(&c.name),
                "FailedPreStopHook",
                format!("PreStopHook failed: {why}"),
            ),
            Err(_) => tracing::info!(
                pod = pod.full_name(),
                container = c.name,
                "preStop took the whole grace period"
            ),
        }
    }
    let used = i64::try_from(began.elapsed().as_secs()).unwrap_or(i64::MAX);
    let left = grace.saturating_sub(used);
    // Upstream's least grace; a pod deleted with none at all is killed at once.
    let left = if grace <= 0 { 0 } else { left.max(GRACE_MIN_SECONDS) };
    stop(agent, id, left).await;
}

async fn stop(agent: &Agent, id: &str, seconds: i64) {
    let grace = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    match agent.cri.stop_container(id, grace).await {
        Ok(()) => {}
        Err(e) if e.is_cri_not_found() => {}
        Err(e) => tracing::warn!(container = id, error = %e, "stop container"),
    }
}

/// Ends and removes everything of a pod that has no API object: found after a start, or left by a race.
pub async fn kill_orphan(agent: &Agent, uid: &str) -> crate::Result<()> {
    let view = agent.cri.pod_view(uid).await?;
    let pod = skeleton(uid, &view);
    tracing::info!(pod = pod.full_name(), "ending a pod that the API does not know");
    let running = view
        .containers
        .iter()
        .filter(|c| c.running() || c.state == RunState::Unknown);
    let ip = view
        .sandboxes
        .first()
        .and_then(|s| s.ips.first())
        .cloned()
        .unwrap_or_default();
    let kills = running.map(|c| {
        let (pod, ip) = (&pod, &ip);
        async move {
            let (container, grace) = remembered(agent, c).await;
            kill(agent, pod, Some(&container), &c.id, ip, grace).await;
        }
    });
    futures::future::join_all(kills).await;
    for s in &view.sandboxes {
        agent.cri.stop_sandbox(&s.id).await?;
    }
    super::terminate::remove(agent, &view).await?;
    Ok(())
}

fn skeleton(uid: &str, view: &PodView) -> Pod {
    let s = view.sandboxes.first();
    let mut pod = Pod::default();
    pod.metadata.uid = Some(uid.to_owned());
    pod.metadata.name = s.map(|s| s.pod_name.clone());
    pod.metadata.namespace = s.map(|s| s.pod_namespace.clone());
    pod
}

/// The hook and the grace period that the container's annotations keep.
async fn remembered(agent: &Agent, c: &ContainerView) -> (Container, i64) {
    let status = agent.cri.container_status(&c.id).await.unwrap_or_default();
    let get = |key: &str| status.annotations.get(key);
    let hook: Option<LifecycleHandler> = get(labels::PRE_STOP_HANDLER).and_then(|t| serde_json::from_str(t).ok());
    let ports = get(labels::CONTAINER_PORTS).and_then(|t| serde_json::from_str(t).ok());
    let grace = get(labels::POD_GRACE_PERIOD).and_then(|g| g.parse().ok()).unwrap_or(30);
    let container = Container {
        name: c.name.clone(),
        ports,
        lifecycle: hook.map(|h| k8s_openapi::api::core::v1::Lifecycle {
            pre_stop: Some(h),
            ..Default::default()
        }),
        ..Default::default()
    };
    (container, grace)
}
