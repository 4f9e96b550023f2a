//! Container statuses (upstream: convertToAPIContainerStatuses in pkg/kubelet/kubelet_pods.go).
use super::{Context, whole_seconds};
use crate::agent::Agent;
use crate::cri::view::timestamp;
use crate::cri::{ContainerView, PodView, RunState};
use crate::pod::{PodExt, is_sidecar};
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    Pod, VolumeMountStatus,
};
use std::collections::HashMap;

/// Why a container does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub reason: String,
    pub message: String,
}

/// Termination messages already read, by container id.
pub type Messages = HashMap<String, String>;

const EXIT_CODE_UNKNOWN: i32 = 137;

pub struct Source<'a> {
    pub agent: &'a Agent,
    pub pod: &'a Pod,
    pub view: &'a PodView,
    pub context: &'a Context,
    pub messages: &'a Messages,
    pub old: &'a [ContainerStatus],
    pub waiting_reason: &'static str,
    pub init: bool,
}

/// `containerd://<id>`
pub fn container_id(id: &str) -> String {
    format!("containerd://{id}")
}

impl Source<'_> {
    pub fn status(&self, c: &Container) -> ContainerStatus {
        let old = self.old.iter().find(|s| s.name == c.name);
        let mut status = match self.view.latest(&c.name) {
            Some(view) => self.seen(c, view, old),
            None => self.unseen(c, old),
        };
        self.replace_by_waiting(c, &mut status);
        self.set_health(c, &mut status);
        status.volume_mounts = volume_mounts(c);
        status.resources = c.resources.clone();
        status.allocated_resources = c.resources.as_ref().and_then(|r| r.requests.clone());
        status
    }

    fn seen(&self, c: &Container, view: &ContainerView, old: Option<&ContainerStatus>) -> ContainerStatus {
        let id = container_id(&view.id);
        let state = match view.state {
            RunState::Running => ContainerState {
                running: Some(ContainerStateRunning {
                    started_at: timestamp(view.started_at).map(whole_seconds),
                }),
                ..Default::default()
            },
            RunState::Exited => ended(self.terminated(view, old)),
            // Neither started nor ended.
            RunState::Created => waiting(self.waiting_reason, ""),
            RunState::Unknown if old.is_some_and(|o| o.state.as_ref().is_some_and(|s| s.running.is_some())) => {
                ended(lost("The container could not be located when the pod was terminated"))
            }
            RunState::Unknown => waiting(self.waiting_reason, ""),
        };
        let previous = self.view.previous(&c.name).filter(|p| p.exited());
        let last_state = match previous {
            Some(p) => Some(ended(self.terminated(p, None))),
            None => old.and_then(|o| {
                // The one before was removed; what the API knew of it stands.
                let same = o.container_id.as_deref() == Some(&id);
                if same {
                    o.last_state.clone()
                } else {
                    o.state.clone().filter(|s| s.terminated.is_some())
                }
            }),
        };
        ContainerStatus {
            name: c.name.clone(),
            image: view.image.clone(),
            image_id: view.image_ref.clone(),
            container_id: Some(id),
            restart_count: i32::try_from(view.restart_count).unwrap_or(i32::MAX),
            state: Some(state),
            last_state: Some(last_state.unwrap_or_default()),
            ..Default::default()
        }
    }

    fn terminated(&self, view: &ContainerView, old: Option<&ContainerStatus>) -> ContainerStateTerminated {
        let id = container_id(&view.id);
        let known = old
            .and_then(|o| o.state.as_ref()?.terminated.as_ref())
            .filter(|t| t.container_id.as_deref() == Some(&id))
            .and_then(|t| t.message.clone());
        let read = self.messages.get(&view.id).cloned().filter(|m| !m.is_empty());
        let runtime = Some(view.message.clone()).filter(|m| !m.is_empty());
        let reason = match (view.reason.as_str(), view.exit_code) {
            ("", 0) => "Completed",
            ("", _) => "Error",
            (r, _) => r,
        };
        ContainerStateTerminated {
            container_id: Some(id),
            exit_code: view.exit_code,
            reason: Some(reason.to_owned()),
            message: read.or(known).or(runtime),
            signal: None,
            // Never started: the epoch, as the runtime has it.
            started_at: timestamp(view.started_at.max(1)).map(whole_seconds),
            finished_at: timestamp(view.finished_at.max(1)).map(whole_seconds),
        }
    }

    /// The runtime knows nothing (any more).
    fn unseen(&self, c: &Container, old: Option<&ContainerStatus>) -> ContainerStatus {
        let mut status = ContainerStatus {
            name: c.name.clone(),
            image: c.image.clone().unwrap_or_default(),
            state: Some(waiting(self.waiting_reason, "")),
            last_state: Some(ContainerState::default()),
            ..Default::default()
        };
        let Some(old) = old else { return status };
        let state = old.state.clone().unwrap_or_default();
        if state.terminated.is_some() {
            return old.clone();
        }
        status.restart_count = old.restart_count;
        status.last_state = old.last_state.clone().or(status.last_state);
        let ended_before = status.last_state.as_ref().is_some_and(|l| l.terminated.is_some());
        if state.running.is_some() && !ended_before {
            let text = "The container could not be located when the pod was deleted.  The container used to be Running";
            status.last_state = Some(ended(lost(text)));
            if !self.pod.terminating() {
                status.restart_count = status.restart_count.saturating_add(1);
            }
        }
        status
    }

    /// A container that could not be started (again) waits; how it ended before moves to the last state.
    fn replace_by_waiting(&self, c: &Container, status: &mut ContainerStatus) {
        let Some(w) = self.context.waiting.get(&c.name) else {
            return;
        };
        if self.context.terminal {
            return;
        }
        let state = status.state.take().unwrap_or_default();
        if state.running.is_some() {
            status.state = Some(state);
            return;
        }
        if state.terminated.is_some() {
            status.last_state = Some(state);
        }
        status.state = Some(waiting(&w.reason, &w.message));
    }

    fn set_health(&self, c: &Container, status: &mut ContainerStatus) {
        let running = status.state.as_ref().is_some_and(|s| s.running.is_some());
        let succeeded = status
            .state
            .as_ref()
            .and_then(|s| s.terminated.as_ref())
            .is_some_and(|t| t.exit_code == 0);
        let regular_init = self.init && !is_sidecar(c);
        let id = status
            .container_id
            .as_deref()
            .and_then(|i| i.split_once("://"))
            .map_or("", |(_, id)| id);
        let health = self.agent.probes.get(id);
        let started =
            running && (c.startup_probe.is_none() || health.started == Some(true)) && self.post_started(c, id);
        status.started = Some(if regular_init { running } else { started });
        status.ready = match regular_init {
            true => succeeded,
            false => started && (c.readiness_probe.is_none() || health.ready == Some(true)),
        };
        if regular_init {
            status.started = Some(false);
        }
    }

    /// A container counts as started once its postStart hook has ended.
    fn post_started(&self, c: &Container, id: &str) -> bool {
        let hook = c.lifecycle.as_ref().is_some_and(|l| l.post_start.is_some());
        !hook || self.agent.probes.get(id).started == Some(true)
    }
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: (!reason.is_empty()).then(|| reason.to_owned()),
            message: (!message.is_empty()).then(|| message.to_owned()),
        }),
        ..Default::default()
    }
}

fn ended(t: ContainerStateTerminated) -> ContainerState {
    ContainerState {
        terminated: Some(t),
        ..Default::default()
    }
}

fn lost(message: &str) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: EXIT_CODE_UNKNOWN,
        reason: Some("ContainerStatusUnknown".to_owned()),
        message: Some(message.to_owned()),
        ..Default::default()
    }
}

fn volume_mounts(c: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = c.volume_mounts.as_deref().filter(|m| !m.is_empty())?;
    let each = mounts.iter().map(|m| VolumeMountStatus {
        name: m.name.clone(),
        mount_path: m.mount_path.clone(),
        read_only: m.read_only.filter(|r| *r),
        recursive_read_only: (m.read_only == Some(true)).then(|| "Disabled".to_owned()),
    });
    Some(each.collect())
}
