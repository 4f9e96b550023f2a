//! What a container sees mounted, beside its image.
use crate::agent::Agent;
use crate::pod::fields::Facts;
use crate::pod::{PodExt, expand, hosts};
use crate::volumes::{self, Ready};
use crate::{Error, Result};
use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use keelson_proto::cri as pb;
use rand::Rng;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const HOSTS: &str = "/etc/hosts";
const TERMINATION_LOG: &str = "/dev/termination-log";

pub fn all(
    agent: &Agent,
    pod: &Pod,
    c: &Container,
    env: &BTreeMap<String, String>,
    ready: &Ready,
    facts: &Facts,
) -> Result<Vec<pb::Mount>> {
    let mut out = Vec::new();
    for (i, m) in c.volume_mounts.iter().flatten().enumerate() {
        out.push(volume(agent, pod, c, i, m, env, ready)?);
    }
    let has = |path: &str| {
        c.volume_mounts
            .iter()
            .flatten()
            .any(|m| m.mount_path.trim_end_matches('/') == path)
    };
    if !has(HOSTS) {
        out.push(etc_hosts(agent, pod, facts)?);
    }
    let path = termination_path(c);
    if !has(&path) {
        out.push(termination_log(agent, pod, c, path)?);
    }
    Ok(out)
}

pub fn termination_path(c: &Container) -> String {
    let path = c.termination_message_path.as_deref().filter(|p| !p.is_empty());
    path.unwrap_or(TERMINATION_LOG).to_owned()
}

fn volume(
    agent: &Agent,
    pod: &Pod,
    c: &Container,
    index: usize,
    m: &VolumeMount,
    env: &BTreeMap<String, String>,
    ready: &Ready,
) -> Result<pb::Mount> {
    let base = ready.paths.get(&m.name).ok_or_else(|| {
        Error::Config(format!(
            "cannot find volume {:?} to mount into container {:?}",
            m.name, c.name
        ))
    })?;
    let sub = match (m.sub_path.as_deref(), m.sub_path_expr.as_deref()) {
        (Some(s), _) if !s.is_empty() => s.to_owned(),
        (_, Some(e)) => expand::expand(e, |n| env.get(n).map(String::as_str)),
        _ => String::new(),
    };
    let host_path = match sub.is_empty() {
        true => base.clone(),
        false => volumes::subpath(agent, pod, c, index, &m.name, base, &sub)?,
    };
    let container_path = match m.mount_path.starts_with('/') {
        true => m.mount_path.clone(),
        false => format!("/{}", m.mount_path),
    };
    Ok(pb::Mount {
        container_path,
        host_path: host_path.to_string_lossy().into_owned(),
        readonly: m.read_only == Some(true) || read_only_kind(pod, &m.name),
        propagation: match m.mount_propagation.as_deref() {
            Some("HostToContainer") => pb::MountPropagation::PropagationHostToContainer as i32,
            Some("Bidirectional") => pb::MountPropagation::PropagationBidirectional as i32,
            _ => pb::MountPropagation::PropagationPrivate as i32,
        },
        ..Default::default()
    })
}

/// Volumes whose content is the API's are never written by containers.
fn read_only_kind(pod: &Pod, volume: &str) -> bool {
    let found = pod.spec().volumes.iter().flatten().find(|v| v.name == volume);
    found.is_some_and(|v| {
        v.config_map.is_some() || v.secret.is_some() || v.downward_api.is_some() || v.projected.is_some()
    })
}

fn mount(container_path: &str, host_path: &std::path::Path) -> pb::Mount {
    pb::Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.to_string_lossy().into_owned(),
        ..Default::default()
    }
}

fn etc_hosts(agent: &Agent, pod: &Pod, facts: &Facts) -> Result<pb::Mount> {
    let path = volumes::pod_dir(&agent.options.root_dir, pod.uid()).join("etc-hosts");
    let node = fs::read_to_string(HOSTS).unwrap_or_default();
    let text = hosts::content(pod, &facts.pod_ips, &agent.options.cluster_domain, &node);
    let what = || format!("write {}", path.display());
    fs::write(&path, text).map_err(Error::io(what()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).map_err(Error::io(what()))?;
    Ok(mount(HOSTS, &path))
}

/// A file of its own for each start: an old message is never taken for a new one.
fn termination_log(agent: &Agent, pod: &Pod, c: &Container, container_path: String) -> Result<pb::Mount> {
    let dir = volumes::pod_dir(&agent.options.root_dir, pod.uid())
        .join("containers")
        .join(&c.name);
    fs::create_dir_all(&dir).map_err(Error::io(format!("make {}", dir.display())))?;
    let path = dir.join(format!("{:08x}", rand::rng().random::<u32>()));
    let what = || format!("write {}", path.display());
    fs::write(&path, "").map_err(Error::io(what()))?;
    // Whatever user the container has may write it.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).map_err(Error::io(what()))?;
    Ok(mount(&container_path, &path))
}
