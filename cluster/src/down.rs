//! `keelson down`: everything that `up` made is taken back, whether its process lives or was killed.

use crate::fail::{Context, Failure, Result};
use crate::layout::Layout;
use crate::state::State;
use crate::{cgroups, containerd, kubeconfig, network, sandboxes};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the cluster's process may take to end.
const PROCESS_TIMEOUT: Duration = Duration::from_secs(30);
/// Nested mounts are taken off in rounds; more than this many means something holds on.
const UNMOUNT_ROUNDS_MAX: u32 = 16;

pub fn run(layout: &Layout, purge: bool) -> Result<()> {
    crate::preflight::root()?;
    let state = State::load(layout)?;
    if state.is_none() && !layout.data.exists() && !layout.run.exists() {
        return Err(Failure::new(format!("there is no cluster {:?}", layout.name)));
    }
    if let Some(pid) = crate::up::holder(layout)? {
        println!("stopping the control plane and the node agent");
        containerd::end(pid, PROCESS_TIMEOUT)?;
    }
    println!("stopping containers");
    teardown(layout)?;
    if !purge {
        println!(
            "cluster {:?} is down; its data is kept: `keelson up --name {}` brings it back",
            layout.name, layout.name
        );
        return Ok(());
    }
    forget(layout, state.as_ref())?;
    println!("cluster {:?} is gone", layout.name);
    Ok(())
}

/// Removes containers, containerd, mounts, cgroups, links and rules. What is already gone is no failure.
pub fn teardown(layout: &Layout) -> Result<()> {
    let left_over = containerd::running(layout).is_some() || !containerd::shims(layout).is_empty();
    if left_over {
        // Shims can outlive a killed containerd: only a containerd can tell them to end in order.
        containerd::start(layout)?;
        containerd::wait_ready(layout)?;
        if let Err(e) = sandboxes::remove_all(layout) {
            tracing::warn!(error = %e, "remove sandboxes over CRI; killing what is left");
        }
        containerd::remove_all(layout)?;
    }
    containerd::stop(layout)?;
    for pid in cgroups::processes(&layout.cgroup_parent()) {
        containerd::end(pid, Duration::ZERO)?;
    }
    unmount_below(&[&layout.data, &layout.run])?;
    cgroups::remove(&layout.cgroup_parent())?;
    network::remove(layout)?;
    remove_tree(&layout.run)
}

/// Deletes the data and takes the context out of the kubeconfig.
pub fn forget(layout: &Layout, state: Option<&State>) -> Result<()> {
    if let Some(path) = state.and_then(|s| s.kubeconfig.as_deref()) {
        kubeconfig::remove(path, &layout.name)?;
    }
    remove_tree(&layout.data)?;
    // Shared by all clusters: gone with the last one.
    for parent in ["/var/lib/keelson", "/run/keelson"] {
        let _ = fs::remove_dir(parent);
    }
    Ok(())
}

fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Failure::new(format!("remove {}: {e}", path.display()))),
    }
}

/// Mount points below any of `roots`, deepest first. Spaces in paths are escaped in mountinfo as `\040`.
fn mounts_below(roots: &[&PathBuf]) -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context(|| "read the mount table")?;
    let mut found: Vec<PathBuf> = text
        .lines()
        .filter_map(|l| l.split(' ').nth(4))
        .map(|p| PathBuf::from(p.replace("\\040", " ")))
        .filter(|p| roots.iter().any(|r| p.starts_with(r)))
        .collect();
    found.sort_by_key(|p| std::cmp::Reverse(p.components().count()));
    Ok(found)
}

fn unmount_below(roots: &[&PathBuf]) -> Result<()> {
    for _ in 0..UNMOUNT_ROUNDS_MAX {
        let mounts = mounts_below(roots)?;
        if mounts.is_empty() {
            return Ok(());
        }
        for m in &mounts {
            let plain = rustix::mount::unmount(m, rustix::mount::UnmountFlags::empty());
            if plain.is_err() {
                let _ = rustix::mount::unmount(m, rustix::mount::UnmountFlags::DETACH);
            }
        }
    }
    let left = mounts_below(roots)?;
    let names: Vec<String> = left.iter().map(|p| p.display().to_string()).collect();
    Err(Failure::new(format!("still mounted: {}", names.join(", "))))
}
