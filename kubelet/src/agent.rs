//! What every part of the agent shares.
use crate::cgroups::Cgroups;
use crate::cri::Cri;
use crate::images::Images;
use crate::node::machine::Machine;
use crate::objects::Objects;
use crate::options::Options;
use crate::pod::dns::Resolver;
use crate::pod::fields::Facts;
use crate::pod::{PodExt, field_path};
use crate::probes::results::ProbeResults;
use crate::volumes::token::Tokens;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use keelson_client::informer::InformerHandle;
use keelson_client::{Client, EventRecorder};
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;

pub struct Agent {
    pub options: Options,
    pub client: Client,
    pub cri: Cri,
    pub recorder: EventRecorder,
    pub objects: Objects,
    pub services: InformerHandle<Service>,
    pub cgroups: Cgroups,
    pub tokens: Tokens,
    pub images: Images,
    pub machine: Machine,
    pub probes: ProbeResults,
    /// Where the HTTPS server was bound.
    pub server_addr: SocketAddr,
    pub stop: CancellationToken,
}

impl Agent {
    /// About a pod, or one of its containers.
    pub fn event(&self, pod: &Pod, container: Option<&str>, kind: &str, reason: &str, message: impl Into<String>) {
        let about = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: Some(pod.name().to_owned()),
            namespace: Some(pod.namespace().to_owned()),
            uid: Some(pod.uid().to_owned()),
            resource_version: pod.metadata.resource_version.clone(),
            field_path: container.map(|c| field_path(pod, c)),
        };
        self.recorder.event(&about, kind, reason, message.into());
    }
    pub fn normal(&self, pod: &Pod, container: Option<&str>, reason: &str, message: impl Into<String>) {
        self.event(pod, container, "Normal", reason, message);
    }
    pub fn warning(&self, pod: &Pod, container: Option<&str>, reason: &str, message: impl Into<String>) {
        self.event(pod, container, "Warning", reason, message);
    }

    /// About this node (upstream names the node as its own uid).
    pub fn node_event(&self, kind: &str, reason: &str, message: impl Into<String>) {
        let about = ObjectReference {
            kind: Some("Node".into()),
            name: Some(self.options.node_name.clone()),
            uid: Some(self.options.node_name.clone()),
            ..Default::default()
        };
        self.recorder.event(&about, kind, reason, message.into());
    }

    /// For the downward API. `ips` are the sandbox's; pods on the host's network have the node's.
    pub fn facts(&self, pod: &Pod, ips: &[String]) -> Facts {
        let host_ip = self.options.node_ip.to_string();
        let allocatable = self.machine.allocatable(&self.options.reserved);
        Facts {
            pod_ips: match pod.host_network() {
                true => vec![host_ip.clone()],
                false => ips.to_vec(),
            },
            host_ip,
            cpu_milli: allocatable.cpu_milli,
            memory_bytes: allocatable.memory_bytes,
            ephemeral_storage_bytes: allocatable.ephemeral_storage_bytes,
        }
    }

    /// The node's own resolver, read anew: it changes with DHCP leases.
    pub fn resolver(&self) -> Resolver {
        let text = std::fs::read_to_string(&self.options.resolv_conf).unwrap_or_default();
        Resolver::parse(&text)
    }
}
