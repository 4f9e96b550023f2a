//! What the runtime knows of one pod, in our words.
use super::labels;
use jiff::Timestamp;
use keelson_proto::cri as pb;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    Created,
    Running,
    Exited,
    Unknown,
}

/// One container, dead or alive.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerView {
    pub id: String,
    pub sandbox_id: String,
    pub name: String,
    pub state: RunState,
    /// Nanoseconds since the epoch; 0 when it has not happened.
    pub created_at: i64,
    pub started_at: i64,
    pub finished_at: i64,
    pub exit_code: i32,
    pub reason: String,
    pub message: String,
    pub image: String,
    /// Digest or id by which the runtime knows the image.
    pub image_ref: String,
    pub restart_count: u32,
    pub hash: String,
    pub termination_message_path: String,
    pub termination_message_policy: String,
    /// On the host.
    pub termination_message_file: Option<String>,
    pub log_path: String,
}

impl ContainerView {
    pub fn new(s: pb::ContainerStatus, sandbox_id: &str) -> Self {
        let metadata = s.metadata.unwrap_or_default();
        let take = |key: &str| s.annotations.get(key).cloned().unwrap_or_default();
        let path = take(labels::TERMINATION_MESSAGE_PATH);
        let file = s
            .mounts
            .iter()
            .find(|m| !path.is_empty() && m.container_path == path)
            .map(|m| m.host_path.clone());
        ContainerView {
            name: s.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or(metadata.name),
            restart_count: take(labels::RESTART_COUNT).parse().unwrap_or(metadata.attempt),
            hash: take(labels::CONTAINER_HASH),
            termination_message_policy: take(labels::TERMINATION_MESSAGE_POLICY),
            termination_message_path: path,
            termination_message_file: file,
            sandbox_id: sandbox_id.to_owned(),
            state: match s.state {
                0 => RunState::Created,
                1 => RunState::Running,
                2 => RunState::Exited,
                _ => RunState::Unknown,
            },
            id: s.id,
            created_at: s.created_at,
            started_at: s.started_at,
            finished_at: s.finished_at,
            exit_code: s.exit_code,
            reason: s.reason,
            message: s.message,
            image: s.image.unwrap_or_default().image,
            image_ref: if s.image_id.is_empty() { s.image_ref } else { s.image_id },
            log_path: s.log_path,
        }
    }
    pub fn running(&self) -> bool {
        self.state == RunState::Running
    }
    pub fn exited(&self) -> bool {
        self.state == RunState::Exited
    }
}

/// One sandbox, dead or alive.
#[derive(Clone, Debug, PartialEq)]
pub struct SandboxView {
    pub id: String,
    pub ready: bool,
    pub attempt: u32,
    pub created_at: i64,
    pub host_network: bool,
    /// The primary address first.
    pub ips: Vec<String>,
    pub pod_name: String,
    pub pod_namespace: String,
    pub pod_uid: String,
}

impl From<pb::PodSandboxStatus> for SandboxView {
    fn from(s: pb::PodSandboxStatus) -> Self {
        let metadata = s.metadata.unwrap_or_default();
        let network = s.network.unwrap_or_default();
        let mut ips = vec![network.ip];
        ips.extend(network.additional_ips.into_iter().map(|p| p.ip));
        ips.retain(|ip| !ip.is_empty());
        let options = s
            .linux
            .and_then(|l| l.namespaces)
            .and_then(|n| n.options)
            .unwrap_or_default();
        SandboxView {
            id: s.id,
            ready: s.state == pb::PodSandboxState::SandboxReady as i32,
            attempt: metadata.attempt,
            created_at: s.created_at,
            host_network: options.network == pb::NamespaceMode::Node as i32,
            ips,
            pod_name: metadata.name,
            pod_namespace: metadata.namespace,
            pod_uid: metadata.uid,
        }
    }
}

/// Everything the runtime knows of one pod; newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodView {
    pub sandboxes: Vec<SandboxView>,
    pub containers: Vec<ContainerView>,
}

impl PodView {
    pub fn new(mut sandboxes: Vec<SandboxView>, mut containers: Vec<ContainerView>) -> Self {
        sandboxes.sort_by_key(|s| std::cmp::Reverse(s.created_at));
        containers.sort_by_key(|c| std::cmp::Reverse((c.restart_count, c.created_at)));
        PodView { sandboxes, containers }
    }
    /// The newest container of that name.
    pub fn latest(&self, name: &str) -> Option<&ContainerView> {
        self.containers.iter().find(|c| c.name == name)
    }
    /// The one before it.
    pub fn previous(&self, name: &str) -> Option<&ContainerView> {
        self.containers.iter().filter(|c| c.name == name).nth(1)
    }
    pub fn ready_sandbox(&self) -> Option<&SandboxView> {
        self.sandboxes.first().filter(|s| s.ready)
    }
    pub fn any_running(&self) -> bool {
        self.containers.iter().any(ContainerView::running)
    }
}

/// A time of CRI; `None` for zero.
pub fn timestamp(nanos: i64) -> Option<Timestamp> {
    (nanos > 0)
        .then(|| Timestamp::from_nanosecond(i128::from(nanos)).ok())
        .flatten()
}
