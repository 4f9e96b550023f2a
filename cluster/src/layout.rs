//! Where a cluster's files live: everything is derived from its name.

use crate::fail::{Context, Result};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Longest cluster name, in bytes: it ends up in link names, which the kernel limits to 15.
pub const NAME_LEN_MAX: usize = 32;
/// The kernel's limit on a link's name, without its terminator.
const LINK_NAME_LEN_MAX: usize = 15;

/// Paths and kernel names of one cluster.
#[derive(Clone, Debug)]
pub struct Layout {
    pub name: String,
    /// What outlives a reboot: store, keys, images, logs.
    pub data: PathBuf,
    /// Sockets, pid files and what a reboot may forget.
    pub run: PathBuf,
}

impl Layout {
    /// Checks the name (a DNS label) and derives the rest.
    pub fn new(name: &str) -> Result<Self> {
        let label = !name.is_empty()
            && name.len() <= NAME_LEN_MAX
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && !name.ends_with('-');
        if !label {
            return Err(crate::fail::Failure::new(format!(
                "--name {name:?}: a cluster's name is a lowercase letter followed by at most {} letters, digits or '-'",
                NAME_LEN_MAX - 1
            )));
        }
        Ok(Layout {
            name: name.to_owned(),
            data: Path::new("/var/lib/keelson").join(name),
            run: Path::new("/run/keelson").join(name),
        })
    }

    /// Every cluster with a data folder on this machine.
    pub fn all() -> Vec<Layout> {
        let Ok(entries) = fs::read_dir("/var/lib/keelson") else {
            return Vec::new();
        };
        let mut found: Vec<Layout> = entries
            .flatten()
            .filter(|e| e.path().join("cluster.json").exists())
            .filter_map(|e| Layout::new(&e.file_name().to_string_lossy()).ok())
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    pub fn state_file(&self) -> PathBuf {
        self.data.join("cluster.json")
    }
    pub fn pki(&self) -> PathBuf {
        self.data.join("pki")
    }
    pub fn store(&self) -> PathBuf {
        self.data.join("store")
    }
    pub fn kubelet(&self) -> PathBuf {
        self.data.join("kubelet")
    }
    pub fn pod_logs(&self) -> PathBuf {
        self.data.join("pod-logs")
    }
    pub fn log_file(&self) -> PathBuf {
        self.data.join("log/keelson.log")
    }
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.data.join("admin.kubeconfig")
    }
    pub fn lock_file(&self) -> PathBuf {
        self.run.join("up.lock")
    }
    pub fn control_socket(&self) -> PathBuf {
        self.run.join("control.sock")
    }
    pub fn containerd_root(&self) -> PathBuf {
        self.data.join("containerd")
    }
    pub fn containerd_state(&self) -> PathBuf {
        self.run.join("containerd")
    }
    pub fn containerd_socket(&self) -> PathBuf {
        self.run.join("containerd.sock")
    }
    pub fn containerd_config(&self) -> PathBuf {
        self.run.join("containerd.toml")
    }
    pub fn containerd_pid(&self) -> PathBuf {
        self.run.join("containerd.pid")
    }
    pub fn cni_conf(&self) -> PathBuf {
        self.run.join("cni")
    }
    /// host-local's reservations: forgotten with the containers, at a reboot.
    pub fn cni_state(&self) -> PathBuf {
        self.run.join("cni-state")
    }
    /// cgroup that all pods of the cluster live under, as `/keelson` or `/keelson-<name>`.
    pub fn cgroup_parent(&self) -> String {
        format!("/{}", self.kernel_name())
    }
    pub fn nft_table(&self) -> String {
        self.kernel_name()
    }
    /// `keelson` for the default cluster, `keelson-<name>` for another.
    fn kernel_name(&self) -> String {
        if self.name == "keelson" {
            "keelson".into()
        } else {
            format!("keelson-{}", self.name)
        }
    }
    /// The cluster's own link; a long name is shortened with a hash so that two never collide.
    pub fn link(&self) -> String {
        let full = if self.name == "keelson" {
            "keelson0".to_owned()
        } else {
            format!("kls-{}", self.name)
        };
        if full.len() <= LINK_NAME_LEN_MAX {
            return full;
        }
        use sha2::Digest;
        format!("kls-{}", &hex::encode(sha2::Sha256::digest(self.name.as_bytes()))[..10])
    }

    /// Makes the folders, readable by root alone.
    pub fn create(&self) -> Result<()> {
        let dirs = [
            PathBuf::from("/var/lib/keelson"),
            PathBuf::from("/run/keelson"),
            self.data.clone(),
            self.run.clone(),
            self.pki(),
            self.data.join("log"),
            self.kubelet(),
            self.pod_logs(),
            self.cni_conf(),
            self.cni_state(),
        ];
        for d in dirs {
            private_dir(&d)?;
        }
        Ok(())
    }
}

/// A folder of mode 0700, made where missing.
pub fn private_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .context(|| format!("create folder {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).context(|| format!("set mode of {}", path.display()))
}

/// Writes a file of mode 0600 whole or not at all: a crash leaves the old one.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let write = || -> std::io::Result<()> {
        let mut f = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)?;
        f.write_all(bytes)?;
        f.sync_all()?;
        fs::rename(&part, path)?;
        if let Some(dir) = path.parent() {
            fs::File::open(dir)?.sync_all()?;
        }
        Ok(())
    };
    write().context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_are_refused_with_the_rule() {
        for bad in ["", "A", "1a", "a/b", "a-", "..", &"x".repeat(33)] {
            let e = Layout::new(bad).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(e.contains("a cluster's name is"), "{bad:?}: {e}");
        }
    }

    #[test]
    fn two_names_share_nothing() {
        let (a, b) = (Layout::new("keelson").ok(), Layout::new("second").ok());
        let (Some(a), Some(b)) = (a, b) else {
            panic!("valid names")
        };
        assert_ne!(a.link(), b.link());
        assert_ne!(a.cgroup_parent(), b.cgroup_parent());
        assert_ne!(a.nft_table(), b.nft_table());
        assert_ne!(a.data, b.data);
        let long = Layout::new("a-very-long-name-of-a-cluster-1")
            .map(|l| l.link())
            .unwrap_or_default();
        assert!(long.len() <= LINK_NAME_LEN_MAX, "{long}");
    }
}
