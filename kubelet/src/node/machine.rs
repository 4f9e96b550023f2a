//! What this machine is and has.
use crate::options::Reserved;
use std::fs;
use std::path::Path;

/// Facts that do not change while the agent runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    pub cpus: i64,
    pub memory_bytes: i64,
    pub swap_bytes: i64,
    pub disk_bytes: i64,
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel_version: String,
    pub os_image: String,
    /// Go's name of the architecture.
    pub arch: &'static str,
}

/// What pods may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocatable {
    pub cpu_milli: i64,
    pub memory_bytes: i64,
    pub ephemeral_storage_bytes: i64,
}

fn line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// A field of /proc/meminfo, in bytes.
pub fn meminfo(text: &str, field: &str) -> i64 {
    text.lines()
        .find_map(|l| l.strip_prefix(field)?.strip_prefix(':'))
        .and_then(|v| v.split_whitespace().next()?.parse::<i64>().ok())
        .map_or(0, |kib| kib * 1024)
}

/// A filesystem, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    pub total: i64,
    /// What is used and what may be: without the blocks that the filesystem keeps back.
    pub usable: i64,
    pub free: i64,
}

impl Disk {
    pub fn of(path: &Path) -> Option<Disk> {
        let s = rustix::fs::statvfs(path).ok()?;
        let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(s.f_frsize)).unwrap_or(i64::MAX);
        let used = s.f_blocks.saturating_sub(s.f_bfree);
        Some(Disk {
            total: bytes(s.f_blocks),
            usable: bytes(used.saturating_add(s.f_bavail)),
            free: bytes(s.f_bavail),
        })
    }
    /// As `df` prints it, rounded up.
    pub fn used_percent(self) -> i64 {
        100 - self.free.saturating_mul(100) / self.usable.max(1)
    }
}

fn os_release(text: &str) -> String {
    text.lines()
        .find_map(|l| l.strip_prefix("PRETTY_NAME="))
        .map_or_else(|| "Linux".to_owned(), |v| v.trim_matches('"').to_owned())
}

impl Machine {
    pub fn detect(root_dir: &Path) -> Self {
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let machine_id = match line("/etc/machine-id") {
            id if id.is_empty() => line("/var/lib/dbus/machine-id"),
            id => id,
        };
        let system_uuid = match line("/sys/class/dmi/id/product_uuid") {
            id if id.is_empty() => machine_id.clone(),
            id => id.to_lowercase(),
        };
        Machine {
            cpus: std::thread::available_parallelism().map_or(1, |n| i64::try_from(n.get()).unwrap_or(1)),
            memory_bytes: meminfo(&memory, "MemTotal"),
            swap_bytes: meminfo(&memory, "SwapTotal"),
            disk_bytes: Disk::of(root_dir).map_or(0, |d| d.total),
            machine_id,
            system_uuid,
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            kernel_version: rustix::system::uname().release().to_string_lossy().into_owned(),
            os_image: os_release(&fs::read_to_string("/etc/os-release").unwrap_or_default()),
            arch: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            },
        }
    }

    pub fn allocatable(&self, reserved: &Reserved) -> Allocatable {
        // Upstream keeps a tenth of the disk for eviction's hard threshold, and 100 MiB of memory.
        const EVICTION_MEMORY: i64 = 100 << 20;
        Allocatable {
            cpu_milli: (self.cpus * 1000 - reserved.cpu_milli).max(0),
            memory_bytes: (self.memory_bytes - reserved.memory_bytes - EVICTION_MEMORY).max(0),
            ephemeral_storage_bytes: (self.disk_bytes - self.disk_bytes / 10 - reserved.ephemeral_storage_bytes).max(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_proc() {
        assert_eq!(meminfo("MemTotal:       16 kB\nMemFree: 3 kB\n", "MemTotal"), 16 << 10);
        assert_eq!(
            os_release("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"),
            "Debian GNU/Linux 12"
        );
    }
}
