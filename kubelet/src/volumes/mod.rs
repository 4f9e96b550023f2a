//! A pod's volumes on this node: made before its containers, refreshed while it runs, removed after it.
//!
//! Layout (upstream's): `<root>/pods/<uid>/volumes/kubernetes.io~<kind>/<name>`, subPaths under
//! `<root>/pods/<uid>/volume-subpaths`. Everything here may be called again at any time: what stands is kept.
pub mod atomic;
mod host_path;
pub mod mounts;
pub mod payload;
pub mod token;

use crate::agent::Agent;
use crate::pod::PodExt;
use crate::pod::fields::Facts;
use crate::pod::resources;
use crate::{Error, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, Pod, Volume};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Where each volume is, and when to come again.
#[derive(Clone, Debug, Default)]
pub struct Ready {
    pub paths: BTreeMap<String, PathBuf>,
    pub renew_at: Option<Timestamp>,
}

/// `(<volume>, why)`
pub type Failed = (String, Error);

pub fn pod_dir(root: &Path, uid: &str) -> PathBuf {
    root.join("pods").join(uid)
}

fn volume_dir(root: &Path, uid: &str, kind: &str, name: &str) -> PathBuf {
    pod_dir(root, uid)
        .join("volumes")
        .join(format!("kubernetes.io~{kind}"))
        .join(name)
}

/// Makes or refreshes all volumes of the pod.
pub async fn setup(agent: &Agent, pod: &Pod, facts: &Facts) -> Result<Ready, Failed> {
    let mut ready = Ready::default();
    for volume in pod.spec().volumes.iter().flatten() {
        let path = one(agent, pod, volume, facts, &mut ready.renew_at)
            .await
            .map_err(|e| (volume.name.clone(), e))?;
        ready.paths.insert(volume.name.clone(), path);
    }
    Ok(ready)
}

async fn one(
    agent: &Agent,
    pod: &Pod,
    volume: &Volume,
    facts: &Facts,
    renew_at: &mut Option<Timestamp>,
) -> Result<PathBuf> {
    let root = &agent.options.root_dir;
    let group = fs_group(pod);
    if let Some(source) = &volume.host_path {
        host_path::check(source)?;
        return Ok(PathBuf::from(&source.path));
    }
    if let Some(source) = &volume.empty_dir {
        let dir = volume_dir(root, pod.uid(), "empty-dir", &volume.name);
        empty_dir(&dir, source, pod, group)?;
        return Ok(dir);
    }
    if let Some(got) = payload::gather(agent, pod, volume, facts).await? {
        let (kind, in_memory) = if volume.config_map.is_some() {
            ("configmap", false)
        } else if volume.secret.is_some() {
            ("secret", true)
        } else if volume.downward_api.is_some() {
            ("downward-api", true)
        } else {
            ("projected", true)
        };
        let dir = volume_dir(root, pod.uid(), kind, &volume.name);
        make_dir(&dir, 0o777)?;
        if in_memory {
            mounts::tmpfs(&dir, None, 0o1777)?;
        }
        if let Some(at) = got.renew_at {
            *renew_at = Some(renew_at.map_or(at, |t| t.min(at)));
        }
        // Ends on another thread: a tmpfs is fast, a configMap's disk may not be.
        let target = dir.clone();
        let written = tokio::task::spawn_blocking(move || atomic::write(&target, &got.files, group)).await;
        written.map_err(|e| Error::Config(format!("write volume {}: {e}", volume.name)))??;
        return Ok(dir);
    }
    Err(Error::Config(format!(
        "volume {:?} is of a type that this node does not support",
        volume.name
    )))
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let group = pod.spec().security_context.as_ref()?.fs_group?;
    u32::try_from(group).ok()
}

fn make_dir(dir: &Path, mode: u32) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let what = || format!("make {}", dir.display());
    fs::create_dir_all(dir).map_err(Error::io(what()))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(mode)).map_err(Error::io(what()))
}

fn empty_dir(dir: &Path, source: &EmptyDirVolumeSource, pod: &Pod, group: Option<u32>) -> Result<()> {
    let fresh = !dir.is_dir();
    make_dir(dir, 0o777)?;
    match source.medium.as_deref().unwrap_or_default() {
        "" => {}
        "Memory" => {
            let limit = source.size_limit.as_ref().map(|q| resources::parse(q).value());
            let pods = Some(resources::pod_limits(pod).memory_bytes).filter(|b| *b > 0);
            let size = match (limit.filter(|l| *l > 0), pods) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            mounts::tmpfs(dir, size, 0o777)?;
        }
        other => return Err(Error::Config(format!("emptyDir medium {other:?} is not supported"))),
    }
    if let (true, Some(group)) = (fresh, group) {
        let what = || format!("set the group of {}", dir.display());
        chown(dir, None, Some(group)).map_err(Error::io(what()))?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o2777)).map_err(Error::io(what()))?;
    }
    Ok(())
}

/// What the runtime mounts for a subPath.
pub fn subpath(
    agent: &Agent,
    pod: &Pod,
    c: &Container,
    index: usize,
    volume: &str,
    base: &Path,
    sub: &str,
) -> Result<PathBuf> {
    let target = pod_dir(&agent.options.root_dir, pod.uid())
        .join("volume-subpaths")
        .join(volume)
        .join(&c.name)
        .join(index.to_string());
    mounts::bind_subpath(base, sub, &target)?;
    Ok(target)
}

/// A restarted container sees the subPath as it is now.
pub fn forget_subpaths(root: &Path, uid: &str, container: &str) {
    let dir = pod_dir(root, uid).join("volume-subpaths");
    let Ok(volumes) = fs::read_dir(&dir) else { return };
    for v in volumes.flatten() {
        mounts::unmount_below(&v.path().join(container));
    }
}

/// Unmounts and removes everything of the pod. A hostPath is never below the pod's directory; still, what stays
/// mounted is not entered.
pub fn teardown(root: &Path, uid: &str) -> Result<()> {
    if uid.is_empty() || uid.contains('/') || uid.starts_with('.') {
        return Err(Error::Config(format!("{uid:?} is no pod uid")));
    }
    let dir = pod_dir(root, uid);
    if !dir.exists() {
        return Ok(());
    }
    mounts::unmount_below(&dir);
    if let Some(still) = mounts::below(&dir).first() {
        return Err(Error::Config(format!("{} is still mounted", still.display())));
    }
    match fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(format!("remove {}", dir.display()))(e)),
        _ => Ok(()),
    }
}

/// Uids of pods that have a directory here.
pub fn pods_on_disk(root: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root.join("pods")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .collect()
}
