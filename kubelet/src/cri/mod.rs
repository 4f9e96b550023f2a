//! The container runtime over CRI v1: typed calls, and the names under which our objects are found again.
mod calls;
pub mod events;
pub mod labels;
pub mod view;

pub use calls::Cri;
pub use view::{ContainerView, PodView, RunState, SandboxView};

use keelson_proto::cri as pb;

/// Both conditions without which no pod can run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeHealth {
    pub runtime_ready: bool,
    pub network_ready: bool,
    /// Why not, in the runtime's words.
    pub message: String,
}

impl RuntimeHealth {
    pub fn from_conditions(conditions: &[pb::RuntimeCondition]) -> Self {
        let mut health = RuntimeHealth::default();
        let mut why = Vec::new();
        for c in conditions {
            match c.r#type.as_str() {
                "RuntimeReady" => health.runtime_ready = c.status,
                "NetworkReady" => health.network_ready = c.status,
                _ => continue,
            }
            if !c.status {
                why.push(format!(
                    "container runtime {}: {}={} reason:{} message:{}",
                    if c.r#type == "NetworkReady" {
                        "network not ready"
                    } else {
                        "is down"
                    },
                    c.r#type,
                    c.status,
                    c.reason,
                    c.message
                ));
            }
        }
        health.message = why.join(", ");
        health
    }
    pub fn ready(&self) -> bool {
        self.runtime_ready && self.network_ready
    }
}
