//! What must hold before anything is started; each failure is one line that says how to mend it.

use crate::fail::{Failure, Result};
use std::path::{Path, PathBuf};

/// Free space that a start wants below the data folder, bytes: images, the log's prewritten segments.
const DISK_FREE_MIN_BYTES: u64 = 1 << 30;

/// Programs from Debian's packages, and the package of each.
const TOOLS: [(&str, &str); 6] = [
    ("containerd", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
];
const CNI_DIR: &str = "/usr/lib/cni";
const CNI_PLUGINS: [&str; 3] = ["ptp", "host-local", "loopback"];

/// Where a program of the PATH is.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|d| d.join(program))
        .find(|p| p.is_file())
}

pub fn root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new(
        "keelson must run as root: it starts containerd, mounts volumes, makes cgroups, network namespaces and nftables rules; run it with sudo",
    ))
}

pub fn programs() -> Result<()> {
    let mut missing: Vec<&str> = TOOLS
        .iter()
        .filter(|(p, _)| find(p).is_none())
        .map(|(_, package)| *package)
        .collect();
    if CNI_PLUGINS.iter().any(|p| !Path::new(CNI_DIR).join(p).is_file()) {
        missing.push("containernetworking-plugins");
    }
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "missing from this machine: apt-get install {}",
        missing.join(" ")
    )))
}

/// Kernel features, tried rather than guessed from a version.
pub fn kernel() -> Result<()> {
    let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !filesystems.lines().any(|l| l.ends_with("overlay")) && crate::network::tool("modprobe", &["overlay"]).is_err() {
        return Err(Failure::new(
            "the kernel has no overlayfs (CONFIG_OVERLAY_FS), which containers' file systems need",
        ));
    }
    // `-c` only checks: nothing is changed.
    let table = "table inet keelson-check {\nchain c {\ntype nat hook prerouting priority dstnat;\nct state new counter\n}\n}\n";
    let mut child = std::process::Command::new("nft")
        .args(["-c", "-f", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .map_err(|e| Failure::new(format!("run nft: {e}")))?;
    if let Some(mut input) = child.stdin.take() {
        use std::io::Write;
        input
            .write_all(table.as_bytes())
            .map_err(|e| Failure::new(format!("write to nft: {e}")))?;
    }
    let out = child
        .wait_with_output()
        .map_err(|e| Failure::new(format!("run nft: {e}")))?;
    if out.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&out.stderr);
    let first = text.lines().next().unwrap_or("no reason given");
    Err(Failure::new(format!(
        "the kernel cannot do address translation with nftables (CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT): {first}"
    )))
}

/// Space below `dir` (or its nearest existing parent).
pub fn disk(dir: &Path) -> Result<()> {
    let Some(at) = dir.ancestors().find(|p| p.exists()) else {
        return Ok(());
    };
    let stat =
        rustix::fs::statvfs(at).map_err(|e| Failure::new(format!("ask {} for its free space: {e}", at.display())))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free >= DISK_FREE_MIN_BYTES {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{} has {} MiB free and needs {} MiB: free some space there",
        at.display(),
        free >> 20,
        DISK_FREE_MIN_BYTES >> 20
    )))
}
