//! What the kernel says of this process, in the names of Prometheus' Go client.

use super::page::Page;

/// The kernel's clock ticks per second, as it reports them to programs on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Fields of `/proc/self/stat`, counted after the command's name (proc(5) numbers them three higher).
const UTIME: usize = 11;
const STIME: usize = 12;
const START_TICKS: usize = 19;

pub fn write(page: &mut Page) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name is in brackets and may hold anything.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
        .collect();
    let field = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok());
    if let (Some(user), Some(system)) = (field(UTIME), field(STIME)) {
        page.family("process_cpu_seconds_total", "counter");
        page.sample("process_cpu_seconds_total", &[], (user + system) / TICKS_PER_SECOND);
    }
    let limit = |name: &str| {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let line = limits.lines().find_map(|l| l.strip_prefix(name).map(str::to_owned))?;
        let soft = line.split_whitespace().next()?.to_owned();
        // Go's client says "no limit" so.
        if soft == "unlimited" {
            Some(18_446_744_073_709_551_615.0)
        } else {
            soft.parse().ok()
        }
    };
    if let Some(files) = limit("Max open files") {
        page.gauge("process_max_fds", files);
        page.gauge("os_fd_limit", files);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        let open = super::page::float(open.count() as u64);
        page.gauge("process_open_fds", open);
        page.gauge("os_fd_used", open);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    if let Some(resident) = kib("VmRSS:") {
        page.gauge("process_resident_memory_bytes", resident * 1024.0);
    }
    if let Some(reserved) = kib("VmSize:") {
        page.gauge("process_virtual_memory_bytes", reserved * 1024.0);
    }
    if let Some(bytes) = limit("Max address space") {
        page.gauge("process_virtual_memory_max_bytes", bytes);
    }
    if let (Some(ticks), Some(boot)) = (field(START_TICKS), boot_seconds()) {
        page.gauge("process_start_time_seconds", boot + ticks / TICKS_PER_SECOND);
    }
    if let Some((received, sent)) = network_bytes() {
        page.counter("process_network_receive_bytes_total", received);
        page.counter("process_network_transmit_bytes_total", sent);
    }
}

fn boot_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let boot = stat.lines().find_map(|l| l.strip_prefix("btime "))?;
    boot.trim().parse().ok()
}

/// Of the whole network namespace, as the Go client's: received, sent.
fn network_bytes() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/self/net/netstat").ok()?;
    let mut lines = text.lines().filter(|l| l.starts_with("IpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let value = |wanted: &str| {
        let at = names.split_whitespace().position(|n| n == wanted)?;
        values.split_whitespace().nth(at)?.parse().ok()
    };
    Some((value("InOctets")?, value("OutOctets")?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_kernel_tells_all_of_it() {
        let mut page = Page::default();
        write(&mut page);
        let text = page.into_text();
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|l| l.split(' ').next() == Some(name));
            line.unwrap_or_else(|| panic!("{name} in {text}"))
                .split(' ')
                .nth(1)
                .unwrap()
                .parse()
                .unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        assert!((now - value("process_start_time_seconds")).abs() < 86_400.0);
        assert!(value("process_cpu_seconds_total") >= 0.0);
    }
}
