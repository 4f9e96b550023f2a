//! This machine as a Node: registered, kept Ready, its Lease renewed (upstream: pkg/kubelet/kubelet_node_status.go).
//!
//! Idle cost: a CRI Status call and three small files every ten seconds; a write every five minutes.
mod lease;
pub mod machine;
mod status;

use crate::agent::Agent;
use crate::cri::RuntimeHealth;
use crate::{Error, Result};
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keelson_client::{Api, Patch, PatchParams};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// While the node is not Ready: it should be so within moments of the runtime being so.
const RETRY_FIRST: Duration = Duration::from_millis(25);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// How long the fast retries last.
const RETRY_FAST_FOR: Duration = Duration::from_secs(20);
const CHECK_EVERY: Duration = Duration::from_secs(10);
/// A status that did not change is written this often.
const REPORT_EVERY: Duration = Duration::from_secs(300);

/// Pauses that are short at first.
struct Pauses {
    since: Instant,
}
impl Pauses {
    fn new() -> Self {
        Pauses { since: Instant::now() }
    }
    fn next(&self) -> Duration {
        if self.since.elapsed() < RETRY_FAST_FOR {
            RETRY_FIRST
        } else {
            RETRY_MAX
        }
    }
}

/// Runs until the agent stops. `ready` becomes true when the Node was written as Ready, and false when no longer.
pub async fn run(agent: Arc<Agent>, ready: watch::Sender<bool>) {
    let stop = agent.stop.clone();
    tokio::select! {
        () = stop.cancelled() => {}
        () = keep(agent, ready) => {}
    }
}

async fn keep(agent: Arc<Agent>, ready: watch::Sender<bool>) {
    let version = runtime_version(&agent).await;
    let mut node = register_until_done(&agent, &version).await;
    let lease = tokio::spawn(lease::keep(
        agent.clone(),
        node.metadata.uid.clone().unwrap_or_default(),
    ));
    let _end = AbortOnDrop(lease);
    agent.node_event("Normal", "Starting", "Starting kubelet.");
    let mut written: Option<(NodeStatus, Instant)> = None;
    let pauses = Pauses::new();
    loop {
        let health = health(&agent).await;
        let have = node
            .status
            .as_ref()
            .and_then(|s| s.conditions.clone())
            .unwrap_or_default();
        let images = crate::images::for_node_status(&agent.cri).await;
        let now = status::compute(&agent, &version, &health, &have, images);
        let due = match &written {
            None => true,
            Some((old, at)) => at.elapsed() >= REPORT_EVERY || status::differs(old, &now),
        };
        if due {
            match write(&agent, &now).await {
                Ok(answer) => {
                    announce(&agent, &node, &answer);
                    node = answer;
                    written = Some((now, Instant::now()));
                    ready.send_replace(health.ready());
                }
                Err(Error::Api(e)) if e.is_not_found() => {
                    tracing::warn!("the Node is gone: registering it again");
                    node = register_until_done(&agent, &version).await;
                    written = None;
                    continue;
                }
                Err(e) => tracing::warn!(error = %e, "write the node's status"),
            }
        }
        let settled = health.ready() && written.is_some();
        tokio::time::sleep(if settled { CHECK_EVERY } else { pauses.next() }).await;
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);
impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn health(agent: &Agent) -> RuntimeHealth {
    match agent.cri.health().await {
        Ok(h) => h,
        Err(e) => RuntimeHealth {
            message: format!("container runtime is down: {e}"),
            ..Default::default()
        },
    }
}

/// `containerd://1.6.20`; waits for the runtime to answer at all.
async fn runtime_version(agent: &Agent) -> String {
    let pauses = Pauses::new();
    loop {
        match agent.cri.version().await {
            Ok(v) => return format!("{}://{}", v.runtime_name, v.runtime_version),
            Err(e) => tracing::debug!(error = %e, "waiting for the container runtime"),
        }
        tokio::time::sleep(pauses.next()).await;
    }
}

async fn register_until_done(agent: &Agent, version: &str) -> Node {
    let pauses = Pauses::new();
    let mut told = None;
    loop {
        match register(agent, version).await {
            Ok(node) => {
                tracing::info!(node = agent.options.node_name, "registered the node");
                return node;
            }
            Err(e) => {
                let text = e.to_string();
                if told.as_ref() != Some(&text) {
                    tracing::info!(error = text, "waiting to register the node");
                    told = Some(text);
                }
            }
        }
        tokio::time::sleep(pauses.next()).await;
    }
}

/// Labels that every node has, and the user's.
fn labels(agent: &Agent) -> BTreeMap<String, String> {
    let hostname = match agent.options.hostname.as_str() {
        "" => agent.options.node_name.clone(),
        name => name.to_owned(),
    };
    let arch = agent.machine.arch.to_owned();
    let mut labels = agent.options.labels.clone();
    labels.extend([
        ("kubernetes.io/hostname".to_owned(), hostname),
        ("kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("kubernetes.io/arch".to_owned(), arch.clone()),
        ("beta.kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("beta.kubernetes.io/arch".to_owned(), arch),
    ]);
    labels
}

async fn register(agent: &Agent, version: &str) -> Result<Node> {
    let api = Api::<Node>::all(agent.client.clone());
    let options = &agent.options;
    let annotations = BTreeMap::from([(
        "volumes.kubernetes.io/controller-managed-attach-detach".to_owned(),
        "true".to_owned(),
    )]);
    if let Some(node) = api.get_opt(&options.node_name).await? {
        // Someone's own labels and taints stay.
        let has = |k: &String, v: &String| node.metadata.labels.as_ref().and_then(|l| l.get(k)) == Some(v);
        let labels = labels(agent);
        let cidr = node.spec.as_ref().and_then(|s| s.pod_cidr.clone()).unwrap_or_default();
        if labels.iter().all(|(k, v)| has(k, v)) && (!cidr.is_empty() || options.pod_cidr.is_empty()) {
            return Ok(node);
        }
        let mut patch = json!({"metadata": {"labels": labels, "annotations": annotations}});
        if cidr.is_empty() && !options.pod_cidr.is_empty() {
            patch["spec"] = json!({"podCIDR": options.pod_cidr, "podCIDRs": [options.pod_cidr]});
        }
        let params = PatchParams::default();
        return Ok(api.patch(&options.node_name, &params, &Patch::Strategic(patch)).await?);
    }
    let pod_cidr = (!options.pod_cidr.is_empty()).then(|| options.pod_cidr.clone());
    let node = Node {
        metadata: ObjectMeta {
            name: Some(options.node_name.clone()),
            labels: Some(labels(agent)),
            annotations: Some(annotations),
            ..Default::default()
        },
        spec: Some(NodeSpec {
            pod_cidrs: pod_cidr.clone().map(|c| vec![c]),
            pod_cidr,
            ..Default::default()
        }),
        status: Some(status::compute(
            agent,
            version,
            &RuntimeHealth::default(),
            &[],
            Vec::new(),
        )),
    };
    Ok(api.create(&node).await?)
}

async fn write(agent: &Agent, status: &NodeStatus) -> Result<Node> {
    let api = Api::<Node>::all(agent.client.clone());
    let status = serde_json::to_value(status).map_err(|e| Error::Config(format!("encode the node's status: {e}")))?;
    let patch = Patch::Strategic(json!({ "status": status }));
    Ok(api
        .patch_status(&agent.options.node_name, &PatchParams::default(), &patch)
        .await?)
}

fn announce(agent: &Agent, before: &Node, after: &Node) {
    let ready = |n: &Node| {
        let conditions = n.status.as_ref()?.conditions.as_ref()?;
        conditions
            .iter()
            .find(|c| c.type_ == "Ready")
            .map(|c| c.status == "True")
    };
    let name = &agent.options.node_name;
    match (ready(before), ready(after)) {
        (Some(true), Some(false)) => {
            agent.node_event(
                "Normal",
                "NodeNotReady",
                format!("Node {name} status is now: NodeNotReady"),
            );
        }
        (b, Some(true)) if b != Some(true) => {
            agent.node_event("Normal", "NodeReady", format!("Node {name} status is now: NodeReady"));
        }
        _ => {}
    }
}
