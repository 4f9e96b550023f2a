//! Starts one container: image, configuration, create, start, postStart.
use super::plan::{Section, Start};
use super::{Worker, create, hooks, sandbox};
use crate::cri::{RunState, SandboxView};
use crate::pod::PodExt;
use crate::probes::results::Kind;
use crate::volumes::{self, Ready};
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use std::sync::Arc;
use std::time::Duration;

/// Between tries of a configuration that cannot be made; a changed object wakes the pod sooner.
const CONFIG_RETRY: Duration = Duration::from_secs(5);
const RUNTIME_RETRY: Duration = Duration::from_secs(10);

impl Worker {
    pub(super) async fn start(&mut self, pod: &Arc<Pod>, start: &Start, sandbox: &SandboxView, ready: &Ready) {
        let c = &start.container;
        let agent = self.agent.clone();
        let sandbox_config = sandbox::config(&agent, pod, sandbox.attempt);
        let image = tokio::select! {
            r = agent.images.ensure(&agent, pod, c, &sandbox_config) => r,
            () = self.interrupted() => return,
        };
        let image = match image {
            Ok(i) => i,
            Err(f) => return self.failed_start(&c.name, f.reason, f.message, f.retry_after),
        };
        if start.after.as_ref().is_some_and(|v| v.exited()) {
            self.count_crash(&c.name);
            volumes::forget_subpaths(&agent.options.root_dir, pod.uid(), &c.name);
        }
        self.remove_unstarted(&c.name).await;
        let attempt = self.next_attempt(c, start.section);
        let facts = agent.facts(pod, &sandbox.ips);
        let target = self.debug_target(pod, c);
        let config = match create::config(&agent, pod, c, target, &image, attempt, ready, &facts).await {
            Ok(config) => config,
            Err(why) => {
                agent.warning(pod, Some(&c.name), "Failed", format!("Error: {why}"));
                return self.failed_start(&c.name, "CreateContainerConfigError", why, CONFIG_RETRY);
            }
        };
        let id = match agent.cri.create_container(&sandbox.id, config, sandbox_config).await {
            Ok(id) => id,
            Err(e) => {
                agent.warning(pod, Some(&c.name), "Failed", format!("Error: {e}"));
                return self.failed_start(&c.name, "CreateContainerError", e.to_string(), RUNTIME_RETRY);
            }
        };
        agent.normal(pod, Some(&c.name), "Created", "Container created");
        if let Err(e) = agent.cri.start_container(&id).await {
            agent.warning(pod, Some(&c.name), "Failed", format!("Error: {e}"));
            return self.failed_start(&c.name, "RunContainerError", e.to_string(), Duration::ZERO);
        }
        agent.normal(pod, Some(&c.name), "Started", "Container started");
        self.context.waiting.remove(&c.name);
        self.holds.remove(&c.name);
        if let Err(why) = self.post_start(pod, c, &id, &facts.pod_ips).await {
            let message = format!("PostStartHook failed: {why}");
            agent.warning(pod, Some(&c.name), "FailedPostStartHook", message.clone());
            let grace = pod.spec().termination_grace_period_seconds.unwrap_or(30);
            self.kill_one(pod, &c.name, &id, "FailedPostStartHook", grace).await;
            return self.failed_start(&c.name, "PostStartHookError", message, Duration::ZERO);
        }
        if c.startup_probe.is_none() {
            agent.probes.set(&id, Kind::Startup, true);
        }
    }

    /// The id of the container that an ephemeral one names as its target.
    fn debug_target(&self, pod: &Pod, c: &Container) -> Option<String> {
        let all = pod.spec().ephemeral_containers.iter().flatten();
        let name = all
            .into_iter()
            .find(|e| e.name == c.name)?
            .target_container_name
            .as_deref()?;
        self.last_view
            .latest(name)
            .filter(|v| v.running())
            .map(|v| v.id.clone())
    }

    async fn post_start(&self, pod: &Pod, c: &Container, id: &str, ips: &[String]) -> Result<(), String> {
        let Some(hook) = c.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else {
            return Ok(());
        };
        let ip = ips.first().map(String::as_str).unwrap_or_default();
        tokio::select! {
            r = hooks::run(&self.agent, pod, c, id, ip, hook) => r,
            () = self.interrupted() => Ok(()),
        }
    }

    /// A container that a crash of ours left created and not started.
    async fn remove_unstarted(&self, name: &str) {
        if let Some(c) = self.last_view.latest(name).filter(|c| c.state == RunState::Created)
            && let Err(e) = self.agent.cri.remove_container(&c.id).await
        {
            tracing::warn!(container = c.id, error = %e, "remove a container that never started");
        }
    }

    /// How often the container was started before, by the runtime's word or else the API's.
    fn next_attempt(&self, c: &Container, section: Section) -> u32 {
        if let Some(v) = self.last_view.latest(&c.name) {
            return match v.state {
                RunState::Created => v.restart_count,
                _ => v.restart_count.saturating_add(1),
            };
        }
        let list = match section {
            Section::Init => &self.last_status.init_container_statuses,
            Section::Main => &self.last_status.container_statuses,
            Section::Ephemeral => return 0,
        };
        let known: Option<&ContainerStatus> = list.iter().flatten().find(|s| s.name == c.name);
        known.and_then(|s| u32::try_from(s.restart_count).ok()).unwrap_or(0)
    }
}
