//! Keeps logs within their bounds (upstream: pkg/kubelet/logs/container_log_manager.go).
use crate::agent::Agent;
use crate::cri::labels;
use keelson_proto::cri as pb;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const EVERY: Duration = Duration::from_secs(10);

/// Looks at each running container's log once. The runtime is asked only when some file is over its bound, or when this
/// is the `first` look: an agent that died in the middle of a rotation has left a container without a log.
pub async fn all(agent: &Agent, first: bool) -> crate::Result<()> {
    if !first && !any_too_large(&agent.options.pod_logs_dir, agent.options.container_log_bytes_max) {
        return Ok(());
    }
    let containers = agent.cri.list_containers(None).await?;
    let running = pb::ContainerState::ContainerRunning as i32;
    for c in containers.iter().filter(|c| c.state == running) {
        let Some(path) = log_path(agent, c) else { continue };
        let size = match std::fs::metadata(&path) {
            Ok(m) => m.len(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && first => {
                if let Err(e) = agent.cri.reopen_log(&c.id).await {
                    tracing::warn!(path = %path.display(), error = %e, "reopen a log that is missing");
                }
                continue;
            }
            Err(_) => continue,
        };
        if size < agent.options.container_log_bytes_max {
            continue;
        }
        if let Err(e) = rotate(agent, &c.id, &path).await {
            tracing::warn!(path = %path.display(), error = %e, "rotate a log");
        }
    }
    Ok(())
}

fn any_too_large(root: &Path, bytes_max: u64) -> bool {
    let entries = |p: PathBuf| std::fs::read_dir(p).into_iter().flatten().flatten().map(|e| e.path());
    let large = |p: PathBuf| {
        p.extension().is_some_and(|e| e == "log") && std::fs::metadata(&p).is_ok_and(|m| m.len() >= bytes_max)
    };
    entries(root.to_owned()).flat_map(entries).flat_map(entries).any(large)
}

/// From the labels, without a call for each container.
fn log_path(agent: &Agent, c: &pb::Container) -> Option<PathBuf> {
    let get = |key: &str| c.labels.get(key).map(String::as_str);
    let dir = crate::pod_worker::log_dir(
        &agent.options.pod_logs_dir,
        get(labels::POD_NAMESPACE)?,
        get(labels::POD_NAME)?,
        get(labels::POD_UID)?,
    );
    let attempt = c.metadata.as_ref()?.attempt;
    Some(dir.join(get(labels::CONTAINER_NAME)?).join(format!("{attempt}.log")))
}

async fn rotate(agent: &Agent, id: &str, path: &Path) -> crate::Result<()> {
    let io = |what: &str| crate::Error::io(format!("{what} {}", path.display()));
    prune(path, agent.options.container_log_files_max);
    let stamp = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
    let aside = PathBuf::from(format!("{}.{stamp}", path.display()));
    std::fs::rename(path, &aside).map_err(io("move away"))?;
    if let Err(e) = agent.cri.reopen_log(id).await {
        // The runtime goes on writing the old file: it must stay in its place.
        std::fs::rename(&aside, path).map_err(io("move back"))?;
        return Err(e);
    }
    Ok(())
}

/// Makes room for one more: the live file and the one about to be made count too.
fn prune(path: &Path, files_max: u32) {
    let keep = usize::try_from(files_max).unwrap_or(usize::MAX).saturating_sub(2);
    let mut old = rotated(path);
    old.sort();
    let excess = old.len().saturating_sub(keep);
    for p in old.iter().take(excess) {
        if let Err(e) = std::fs::remove_file(p) {
            tracing::warn!(path = %p.display(), error = %e, "remove an old log");
        }
    }
}

fn rotated(path: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Vec::new();
    };
    let prefix = format!("{name}.");
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|e| e.file_name().to_str().is_some_and(|n| n.starts_with(&prefix)))
        .map(|e| e.path())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keeps_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        for i in 1..=6 {
            std::fs::write(dir.path().join(format!("0.log.2024010{i}-000000")), "").unwrap();
        }
        std::fs::write(dir.path().join("1.log.20240101-000000"), "").unwrap();
        prune(&path, 5);
        let mut left: Vec<_> = rotated(&path).iter().map(|p| p.display().to_string()).collect();
        left.sort();
        assert_eq!(left.len(), 3);
        assert!(left[0].ends_with("20240104-000000"));
    }
}
