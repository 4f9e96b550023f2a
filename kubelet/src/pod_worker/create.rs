//! A container's configuration for the runtime (upstream: generateContainerConfig).
use super::mounts;
use crate::agent::Agent;
use crate::cri::labels;
use crate::images::Present;
use crate::pod::fields::Facts;
use crate::pod::{PodExt, container_hash, expand, resources, security};
use crate::volumes::Ready;
use k8s_openapi::api::core::v1::{Container, Pod};
use keelson_proto::cri as pb;
use std::collections::{BTreeMap, HashMap};

/// `target` is the running container whose processes a debugger sees.
#[expect(clippy::too_many_arguments, reason = "each is one input of one container")]
pub async fn config(
    agent: &Agent,
    pod: &Pod,
    c: &Container,
    target: Option<String>,
    image: &Present,
    attempt: u32,
    ready: &Ready,
    facts: &Facts,
) -> Result<pb::ContainerConfig, String> {
    security::check_non_root(pod, c, image.uid, &image.user)?;
    let env = crate::env::variables(agent, pod, c, facts).await?;
    let mounts = mounts::all(agent, pod, c, &env, ready, facts).map_err(|e| e.to_string())?;
    let get = |n: &str| env.get(n).map(String::as_str);
    let expanded = |list: &Option<Vec<String>>| list.iter().flatten().map(|s| expand::expand(s, get)).collect();
    let log_dir = super::log_dir(&agent.options.pod_logs_dir, pod.namespace(), pod.name(), pod.uid());
    let logs = log_dir.join(&c.name);
    std::fs::create_dir_all(&logs).map_err(|e| format!("make {}: {e}", logs.display()))?;
    let root = &agent.options.root_dir;
    let mut context = security::container(pod, c, image.uid, &image.user, root);
    if let (Some(id), Some(namespaces)) = (target, &mut context.namespace_options) {
        namespaces.pid = pb::NamespaceMode::Target as i32;
        namespaces.target_id = id;
    }
    Ok(pb::ContainerConfig {
        metadata: Some(pb::ContainerMetadata {
            name: c.name.clone(),
            attempt,
        }),
        image: Some(pb::ImageSpec {
            image: image.image_ref.clone(),
            user_specified_image: c.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: expanded(&c.command),
        args: expanded(&c.args),
        working_dir: c.working_dir.clone().unwrap_or_default(),
        envs: pairs(&env),
        mounts,
        devices: Vec::new(),
        labels: container_labels(pod, c),
        annotations: annotations(pod, c, attempt),
        log_path: format!("{}/{attempt}.log", c.name),
        stdin: c.stdin == Some(true),
        stdin_once: c.stdin_once == Some(true),
        tty: c.tty == Some(true),
        linux: Some(pb::LinuxContainerConfig {
            resources: Some(resources::container_resources(pod, c, agent.machine.memory_bytes)),
            security_context: Some(context),
        }),
        ..Default::default()
    })
}

fn pairs(env: &BTreeMap<String, String>) -> Vec<pb::KeyValue> {
    let each = env.iter().map(|(k, v)| pb::KeyValue {
        key: k.clone(),
        value: v.clone(),
    });
    each.collect()
}

fn container_labels(pod: &Pod, c: &Container) -> HashMap<String, String> {
    [
        (labels::POD_NAME, pod.name()),
        (labels::POD_NAMESPACE, pod.namespace()),
        (labels::POD_UID, pod.uid()),
        (labels::CONTAINER_NAME, c.name.as_str()),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .collect()
}

fn annotations(pod: &Pod, c: &Container, attempt: u32) -> HashMap<String, String> {
    let policy = c.termination_message_policy.as_deref().unwrap_or("File");
    let mut out = HashMap::from([
        (labels::CONTAINER_HASH.to_owned(), container_hash(c)),
        (labels::RESTART_COUNT.to_owned(), attempt.to_string()),
        (labels::TERMINATION_MESSAGE_PATH.to_owned(), mounts::termination_path(c)),
        (labels::TERMINATION_MESSAGE_POLICY.to_owned(), policy.to_owned()),
        (
            labels::POD_GRACE_PERIOD.to_owned(),
            pod.spec().termination_grace_period_seconds.unwrap_or(30).to_string(),
        ),
    ]);
    // An agent that finds the container without its pod still runs the hook.
    let hook = c.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref());
    if let Some(text) = hook.and_then(|h| serde_json::to_string(h).ok()) {
        out.insert(labels::PRE_STOP_HANDLER.to_owned(), text);
    }
    if let Some(text) = c.ports.as_ref().and_then(|p| serde_json::to_string(p).ok()) {
        out.insert(labels::CONTAINER_PORTS.to_owned(), text);
    }
    out
}
