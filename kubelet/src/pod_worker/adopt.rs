//! What a new agent takes over from the one before it: containers run on, and what the API last said of their
//! health stands until a probe says otherwise.
use super::Worker;
use crate::cri::PodView;
use crate::pod::PodExt;
use crate::probes::results::Kind;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

impl Worker {
    pub(super) fn adopt(&self, pod: &Pod, view: &PodView) {
        let status = pod.status.as_ref();
        let known: Vec<&ContainerStatus> = status
            .iter()
            .flat_map(|s| [&s.container_statuses, &s.init_container_statuses])
            .flatten()
            .flatten()
            .collect();
        for c in pod.spec().containers.iter().chain(pod.init_containers()) {
            let Some(v) = view.latest(&c.name).filter(|v| v.running()) else {
                continue;
            };
            let told = known
                .iter()
                .find(|s| s.container_id.as_deref().is_some_and(|id| id.ends_with(&v.id)));
            // A postStart hook that the last agent was running is not run twice.
            if c.startup_probe.is_none() || told.is_some_and(|s| s.started == Some(true)) {
                self.agent.probes.set(&v.id, Kind::Startup, true);
            }
            if c.readiness_probe.is_some() && told.is_some_and(|s| s.ready) {
                self.agent.probes.set(&v.id, Kind::Readiness, true);
            }
        }
    }
}
