//! Pod cgroups, cgroupfs driver, v1 (each hierarchy) and v2 (upstream: pkg/kubelet/cm).
//!
//! Layout: `<cgroup_parent>/kubepods[/burstable|/besteffort]/pod<uid>`; the runtime makes the containers' below.
use crate::pod::PodExt;
use crate::pod::qos::Qos;
use crate::pod::resources::{self, PodLimits};
use crate::{Error, Result};
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A dead process leaves its cgroup a moment after its parent has reaped it.
const REMOVE_TRIES_MAX: u32 = 50;
const REMOVE_PAUSE: Duration = Duration::from_millis(20);
/// Nested cgroups below a pod's.
const DEPTH_MAX: usize = 16;

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    /// v1 controllers; empty for v2 and for named hierarchies.
    controllers: BTreeSet<String>,
    v2: bool,
}

#[derive(Clone, Debug)]
pub struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    /// Without slashes at its ends; may be empty.
    parent: String,
}

impl Cgroups {
    pub fn detect(parent: &str) -> Result<Self> {
        let text = fs::read_to_string("/proc/self/mountinfo").map_err(Error::io("read /proc/self/mountinfo"))?;
        let hierarchies = parse_mounts(&text);
        if hierarchies.is_empty() {
            return Err(Error::Config("no cgroup hierarchy is mounted".into()));
        }
        if parent.split('/').any(|p| p == "..") {
            return Err(Error::Config(format!("cgroup parent {parent:?} may not contain ..")));
        }
        Ok(Cgroups {
            hierarchies,
            parent: parent.trim_matches('/').to_owned(),
        })
    }

    fn unified(&self) -> bool {
        self.hierarchies.iter().all(|h| h.v2)
    }

    fn kubepods(&self) -> String {
        match self.parent.is_empty() {
            true => "kubepods".to_owned(),
            false => format!("{}/kubepods", self.parent),
        }
    }

    /// Relative to each hierarchy.
    fn pod_path(&self, pod: &Pod) -> String {
        let class = match Qos::of(pod) {
            Qos::Guaranteed => "",
            Qos::Burstable => "/burstable",
            Qos::BestEffort => "/besteffort",
        };
        format!("{}{class}/pod{}", self.kubepods(), pod.uid())
    }

    /// What CRI's `cgroup_parent` wants.
    pub fn runtime_path(&self, pod: &Pod) -> String {
        format!("/{}", self.pod_path(pod))
    }

    /// Makes the node's own cgroups. `cpu_milli` is what pods may use together.
    pub fn ensure_node(&self, cpu_milli: i64, memory_bytes: Option<i64>) -> Result<()> {
        let root = self.kubepods();
        let all = PodLimits {
            cpu_shares: resources::cpu_shares(cpu_milli),
            memory_bytes: memory_bytes.unwrap_or(0),
            ..Default::default()
        };
        self.ensure(&root)?;
        self.apply(&root, &all);
        for class in ["burstable", "besteffort"] {
            let path = format!("{root}/{class}");
            self.ensure(&path)?;
            if class == "besteffort" {
                let least = PodLimits {
                    cpu_shares: resources::cpu_shares(0),
                    ..Default::default()
                };
                self.apply(&path, &least);
            }
        }
        Ok(())
    }

    pub fn ensure_pod(&self, pod: &Pod) -> Result<()> {
        let path = self.pod_path(pod);
        let exists = self.hierarchies.iter().all(|h| h.mount.join(&path).is_dir());
        if exists {
            return Ok(());
        }
        self.ensure(&path)?;
        self.apply(&path, &resources::pod_limits(pod));
        Ok(())
    }

    fn ensure(&self, path: &str) -> Result<()> {
        for h in &self.hierarchies {
            let mut at = h.mount.clone();
            for part in path.split('/') {
                let above = at.clone();
                at.push(part);
                if at.is_dir() {
                    // cpuset of a directory that someone else made may still be empty.
                    h.prepare(&above, &at);
                    continue;
                }
                if h.v2 {
                    enable_controllers(&above);
                }
                match fs::create_dir(&at) {
                    Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                        return Err(Error::io(format!("make cgroup {}", at.display()))(e));
                    }
                    _ => {}
                }
                h.prepare(&above, &at);
            }
            if h.v2 && self.unified() {
                enable_controllers(&at);
            }
        }
        Ok(())
    }

    fn apply(&self, path: &str, limits: &PodLimits) {
        for h in &self.hierarchies {
            let dir = h.mount.join(path);
            for (file, value) in h.settings(limits) {
                let file = dir.join(file);
                // A limit that the kernel lacks or refuses is no reason to run nothing.
                if file.exists()
                    && let Err(e) = fs::write(&file, &value)
                {
                    tracing::warn!(file = %file.display(), value, error = %e, "set cgroup limit");
                }
            }
        }
    }

    /// Uids of pods that have a cgroup here.
    pub fn pods(&self) -> BTreeSet<String> {
        let mut uids = BTreeSet::new();
        for h in &self.hierarchies {
            for class in ["", "/burstable", "/besteffort"] {
                let Ok(entries) = fs::read_dir(h.mount.join(format!("{}{class}", self.kubepods()))) else {
                    continue;
                };
                for entry in entries.flatten() {
                    if let Some(uid) = entry.file_name().to_str().and_then(|n| n.strip_prefix("pod")) {
                        uids.insert(uid.to_owned());
                    }
                }
            }
        }
        uids
    }

    /// Removes the pod's cgroups, whatever class it had. What still holds a process after a second is left and
    /// told.
    pub async fn remove_pod(&self, uid: &str) {
        for h in &self.hierarchies {
            for class in ["", "/burstable", "/besteffort"] {
                let dir = h.mount.join(format!("{}{class}/pod{uid}", self.kubepods()));
                let mut tries = 0;
                while dir.is_dir() && !remove_tree(&dir, 0) {
                    tries += 1;
                    if tries >= REMOVE_TRIES_MAX {
                        tracing::warn!(dir = %dir.display(), "cgroup is still in use");
                        break;
                    }
                    tokio::time::sleep(REMOVE_PAUSE).await;
                }
            }
        }
    }
}

impl Hierarchy {
    /// A v1 cpuset takes no process until cpus and mems are set.
    fn prepare(&self, above: &Path, dir: &Path) {
        if !self.controllers.contains("cpuset") {
            return;
        }
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = fs::read_to_string(dir.join(file)).unwrap_or_default();
            if own.trim().is_empty()
                && let Ok(theirs) = fs::read_to_string(above.join(file))
                && let Err(e) = fs::write(dir.join(file), theirs.trim())
            {
                tracing::warn!(dir = %dir.display(), file, error = %e, "copy from the parent cgroup");
            }
        }
    }

    fn settings(&self, l: &PodLimits) -> Vec<(&'static str, String)> {
        let mut out = Vec::new();
        if self.v2 {
            if l.cpu_shares > 0 {
                out.push(("cpu.weight", weight(l.cpu_shares).to_string()));
            }
            if l.cpu_quota_us > 0 {
                out.push(("cpu.max", format!("{} {}", l.cpu_quota_us, l.cpu_period_us)));
            }
            if l.memory_bytes > 0 {
                out.push(("memory.max", l.memory_bytes.to_string()));
            }
            return out;
        }
        if self.controllers.contains("cpu") {
            if l.cpu_shares > 0 {
                out.push(("cpu.shares", l.cpu_shares.to_string()));
            }
            if l.cpu_quota_us > 0 {
                out.push(("cpu.cfs_period_us", l.cpu_period_us.to_string()));
                out.push(("cpu.cfs_quota_us", l.cpu_quota_us.to_string()));
            }
        }
        if self.controllers.contains("memory") && l.memory_bytes > 0 {
            out.push(("memory.limit_in_bytes", l.memory_bytes.to_string()));
        }
        out
    }
}

/// v1 shares (2 to 262144) as v2 weight (1 to 10000), as runc converts them.
fn weight(shares: i64) -> i64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// v2 gives children only what their parent passes on.
fn enable_controllers(dir: &Path) {
    let have = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    for c in have.split_whitespace() {
        let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{c}"));
    }
}

fn remove_tree(dir: &Path, depth: usize) -> bool {
    if depth < DEPTH_MAX
        && let Ok(entries) = fs::read_dir(dir)
    {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                remove_tree(&entry.path(), depth + 1);
            }
        }
    }
    match fs::remove_dir(dir) {
        Ok(()) => true,
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    }
}

/// The first mount of each hierarchy. On a mixed machine the v2 one carries no controller of ours.
fn parse_mounts(mountinfo: &str) -> Vec<Hierarchy> {
    let mut out: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let mount = left.split(' ').nth(4).unwrap_or_default();
        let mut right = right.split(' ');
        let kind = right.next().unwrap_or_default();
        let options = right.nth(1).unwrap_or_default();
        let h = match kind {
            "cgroup2" => Hierarchy {
                mount: mount.into(),
                controllers: BTreeSet::new(),
                v2: true,
            },
            "cgroup" => Hierarchy {
                mount: mount.into(),
                controllers: options
                    .split(',')
                    .filter(|o| !matches!(*o, "rw" | "ro" | "xattr") && !o.contains('='))
                    .map(str::to_owned)
                    .collect(),
                v2: false,
            },
            _ => continue,
        };
        let duplicate = out.iter().any(|o| {
            o.mount == h.mount
                || (o.v2 == h.v2 && o.controllers == h.controllers && (h.v2 || !h.controllers.is_empty()))
        });
        if !duplicate {
            out.push(h);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_both_versions() {
        let hybrid = "30 29 0:26 / /sys/fs/cgroup/cpu rw,relatime shared:1 - cgroup cgroup rw,cpu\n\
                      31 29 0:27 / /sys/fs/cgroup/systemd rw - cgroup systemd rw,xattr,name=systemd\n\
                      32 29 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                      33 29 0:26 / /elsewhere/cpu rw - cgroup cgroup rw,cpu\n";
        let found = parse_mounts(hybrid);
        assert_eq!(found.len(), 3);
        assert!(found.iter().any(|h| h.controllers.contains("cpu") && !h.v2));
        let pure = "24 1 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert!(parse_mounts(pure).iter().all(|h| h.v2));
    }

    #[test]
    fn weights() {
        assert_eq!(weight(2), 1);
        assert_eq!(weight(1024), 39);
        assert_eq!(weight(262_144), 10_000);
    }
}
