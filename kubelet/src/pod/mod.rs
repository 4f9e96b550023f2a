//! What a pod's specification means on a node: pure functions over the API's types.
pub mod dns;
pub mod expand;
pub mod fields;
pub mod hosts;
pub mod qos;
pub mod resources;
pub mod security;
pub mod services;

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

static EMPTY_SPEC: LazyLock<PodSpec> = LazyLock::new(PodSpec::default);

/// Short ways into a pod.
pub trait PodExt {
    fn uid(&self) -> &str;
    fn name(&self) -> &str;
    fn namespace(&self) -> &str;
    fn spec(&self) -> &PodSpec;
    fn terminating(&self) -> bool;
    fn phase(&self) -> &str;
    fn host_network(&self) -> bool;
    fn restart_policy(&self) -> RestartPolicy;
    fn init_containers(&self) -> &[Container];
    /// `name_namespace(uid)`, as upstream's logs and events have it.
    fn full_name(&self) -> String;
}

impl PodExt for Pod {
    fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }
    fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }
    fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }
    fn spec(&self) -> &PodSpec {
        self.spec.as_ref().unwrap_or(&EMPTY_SPEC)
    }
    fn terminating(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }
    fn phase(&self) -> &str {
        self.status
            .as_ref()
            .and_then(|s| s.phase.as_deref())
            .unwrap_or("Pending")
    }
    fn host_network(&self) -> bool {
        self.spec().host_network == Some(true)
    }
    fn restart_policy(&self) -> RestartPolicy {
        match self.spec().restart_policy.as_deref() {
            Some("Never") => RestartPolicy::Never,
            Some("OnFailure") => RestartPolicy::OnFailure,
            _ => RestartPolicy::Always,
        }
    }
    fn init_containers(&self) -> &[Container] {
        self.spec().init_containers.as_deref().unwrap_or_default()
    }
    fn full_name(&self) -> String {
        format!("{}_{}({})", self.name(), self.namespace(), self.uid())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

impl RestartPolicy {
    /// Whether a container that ended with `exit_code` is started again.
    pub fn restarts(self, exit_code: i32) -> bool {
        match self {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => exit_code != 0,
            RestartPolicy::Never => false,
        }
    }
}

/// An init container that goes on beside the main ones (KEP-753).
pub fn is_sidecar(c: &Container) -> bool {
    c.restart_policy.as_deref() == Some("Always")
}

/// The rule for one container: its own (sidecars; KEP-5307) before the pod's. Init containers of a pod with
/// restartPolicy Always are retried on failure only.
pub fn container_policy(pod: &Pod, c: &Container, init: bool) -> RestartPolicy {
    let policy = match c.restart_policy.as_deref() {
        Some("Always") => return RestartPolicy::Always,
        Some("OnFailure") => RestartPolicy::OnFailure,
        Some("Never") => RestartPolicy::Never,
        _ => pod.restart_policy(),
    };
    match (init, policy) {
        (true, RestartPolicy::Always) => RestartPolicy::OnFailure,
        (_, p) => p,
    }
}

/// Changes when the running container no longer is what the specification says (upstream: name and image).
pub fn container_hash(c: &Container) -> String {
    let mut h = Sha256::new();
    h.update(c.name.as_bytes());
    h.update([0]);
    h.update(c.image.as_deref().unwrap_or_default().as_bytes());
    hex::encode(h.finalize().get(..8).unwrap_or_default())
}

/// An ephemeral container as the ordinary one it is to the runtime.
pub fn ephemeral_as_container(e: &EphemeralContainer) -> Container {
    Container {
        name: e.name.clone(),
        image: e.image.clone(),
        image_pull_policy: e.image_pull_policy.clone(),
        command: e.command.clone(),
        args: e.args.clone(),
        working_dir: e.working_dir.clone(),
        env: e.env.clone(),
        env_from: e.env_from.clone(),
        security_context: e.security_context.clone(),
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        tty: e.tty,
        termination_message_path: e.termination_message_path.clone(),
        termination_message_policy: e.termination_message_policy.clone(),
        volume_mounts: e.volume_mounts.clone(),
        volume_devices: e.volume_devices.clone(),
        ..Default::default()
    }
}

/// Names of the pods' containers in upstream's event field paths.
pub fn field_path(pod: &Pod, name: &str) -> String {
    let spec = pod.spec();
    let section = if spec.containers.iter().any(|c| c.name == name) {
        "containers"
    } else if pod.init_containers().iter().any(|c| c.name == name) {
        "initContainers"
    } else {
        "ephemeralContainers"
    };
    format!("spec.{section}{{{name}}}")
}
