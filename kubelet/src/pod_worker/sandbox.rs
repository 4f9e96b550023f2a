//! The pod's sandbox: its network, its cgroup, its log directory.
use super::Worker;
use crate::agent::Agent;
use crate::cri::{PodView, labels};
use crate::pod::{PodExt, dns, resources, security};
use k8s_openapi::api::core::v1::Pod;
use keelson_proto::cri as pb;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `<namespace>_<name>_<uid>`
pub fn log_dir(root: &Path, namespace: &str, name: &str, uid: &str) -> PathBuf {
    root.join(format!("{namespace}_{name}_{uid}"))
}

pub fn config(agent: &Agent, pod: &Pod, attempt: u32) -> pb::PodSandboxConfig {
    let options = &agent.options;
    let logs = log_dir(&options.pod_logs_dir, pod.namespace(), pod.name(), pod.uid());
    let mut labels: HashMap<String, String> = pod.metadata.labels.iter().flatten().map(owned).collect();
    labels.extend([
        (labels::POD_NAME.to_owned(), pod.name().to_owned()),
        (labels::POD_NAMESPACE.to_owned(), pod.namespace().to_owned()),
        (labels::POD_UID.to_owned(), pod.uid().to_owned()),
    ]);
    let mut annotations: HashMap<String, String> = pod.metadata.annotations.iter().flatten().map(owned).collect();
    let grace = pod.spec().termination_grace_period_seconds.unwrap_or(30);
    annotations.insert(labels::POD_GRACE_PERIOD.to_owned(), grace.to_string());
    let sysctls = pod.spec().security_context.as_ref().and_then(|s| s.sysctls.as_ref());
    let all = resources::pod_limits(pod);
    pb::PodSandboxConfig {
        metadata: Some(pb::PodSandboxMetadata {
            name: pod.name().to_owned(),
            uid: pod.uid().to_owned(),
            namespace: pod.namespace().to_owned(),
            attempt,
        }),
        hostname: dns::sandbox_hostname(pod, &options.cluster_domain),
        log_directory: logs.to_string_lossy().into_owned(),
        dns_config: Some(dns::config(
            pod,
            &agent.resolver(),
            options.cluster_dns,
            &options.cluster_domain,
        )),
        port_mappings: port_mappings(pod),
        labels,
        annotations,
        linux: Some(pb::LinuxPodSandboxConfig {
            cgroup_parent: agent.cgroups.runtime_path(pod),
            security_context: Some(security::sandbox(pod, &options.root_dir)),
            sysctls: sysctls
                .into_iter()
                .flatten()
                .map(|s| (s.name.clone(), s.value.clone()))
                .collect(),
            overhead: None,
            resources: Some(pb::LinuxContainerResources {
                cpu_period: all.cpu_period_us,
                cpu_quota: all.cpu_quota_us,
                cpu_shares: all.cpu_shares,
                memory_limit_in_bytes: all.memory_bytes,
                ..Default::default()
            }),
        }),
    }
}

fn owned((k, v): (&String, &String)) -> (String, String) {
    (k.clone(), v.clone())
}

/// Only ports that want one of the host's: the runtime's portmap plugin programs them.
fn port_mappings(pod: &Pod) -> Vec<pb::PortMapping> {
    if pod.host_network() {
        return Vec::new();
    }
    let sidecars = pod.init_containers().iter().filter(|c| crate::pod::is_sidecar(c));
    let all = pod.spec().containers.iter().chain(sidecars);
    let ports = all.flat_map(|c| c.ports.iter().flatten());
    ports
        .filter_map(|p| {
            let host_port = p.host_port.filter(|h| *h > 0)?;
            Some(pb::PortMapping {
                protocol: match p.protocol.as_deref() {
                    Some("UDP") => pb::Protocol::Udp as i32,
                    Some("SCTP") => pb::Protocol::Sctp as i32,
                    _ => pb::Protocol::Tcp as i32,
                },
                container_port: p.container_port,
                host_port,
                host_ip: p.host_ip.clone().unwrap_or_default(),
            })
        })
        .collect()
}

impl Worker {
    pub(super) async fn make_sandbox(&mut self, pod: &Arc<Pod>, view: &PodView, attempt: u32) -> Result<(), ()> {
        if let Err(e) = self.prepare(pod) {
            let message = format!("Failed to prepare the pod's directories and cgroup: {e}");
            self.agent.warning(pod, None, "FailedCreatePodContainer", message);
            return Err(());
        }
        // Network and address of the old one are given back first.
        for old in &view.sandboxes {
            if let Err(e) = self.agent.cri.stop_sandbox(&old.id).await {
                tracing::warn!(sandbox = old.id, error = %e, "stop the old sandbox");
            }
        }
        if attempt > 0 {
            self.agent.normal(
                pod,
                None,
                "SandboxChanged",
                "Pod sandbox changed, it will be killed and re-created.",
            );
        }
        let config = config(&self.agent, pod, attempt);
        let handler = self.runtime_handler(pod).await.map_err(|message| {
            self.agent.warning(pod, None, "FailedCreatePodSandBox", message);
        })?;
        match self.agent.cri.run_sandbox(config, &handler).await {
            Ok(id) => {
                tracing::debug!(pod = pod.full_name(), sandbox = id, "sandbox runs");
                Ok(())
            }
            Err(e) => {
                let message = format!("Failed to create pod sandbox: {e}");
                self.agent.warning(pod, None, "FailedCreatePodSandBox", message);
                Err(())
            }
        }
    }

    fn prepare(&mut self, pod: &Pod) -> crate::Result<()> {
        if !self.cgroup_ready {
            self.agent.cgroups.ensure_pod(pod)?;
            self.cgroup_ready = true;
        }
        let options = &self.agent.options;
        for dir in [
            crate::volumes::pod_dir(&options.root_dir, pod.uid()),
            log_dir(&options.pod_logs_dir, pod.namespace(), pod.name(), pod.uid()),
        ] {
            std::fs::create_dir_all(&dir).map_err(crate::Error::io(format!("make {}", dir.display())))?;
        }
        Ok(())
    }

    /// From the pod's RuntimeClass.
    async fn runtime_handler(&self, pod: &Pod) -> Result<String, String> {
        use k8s_openapi::api::node::v1::RuntimeClass;
        let Some(name) = pod.spec().runtime_class_name.as_deref().filter(|n| !n.is_empty()) else {
            return Ok(String::new());
        };
        let api = keelson_client::Api::<RuntimeClass>::all(self.agent.client.clone());
        match api.get_opt(name).await {
            Ok(Some(class)) => Ok(class.handler),
            Ok(None) => Err(format!("Failed to create pod sandbox: RuntimeClass {name:?} not found")),
            Err(e) => Err(format!("Failed to create pod sandbox: get RuntimeClass {name:?}: {e}")),
        }
    }
}
