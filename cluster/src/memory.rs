//! Gives memory back that only the start needed.

use crate::fail::{Context, Result};
use std::fs;

/// A mapping of this program's own file.
struct Mapping {
    start: usize,
    end: usize,
    writable: bool,
    /// Bytes that differ from the file: relocated by the loader, say.
    changed_kib: u64,
}

/// Mappings of the executable, from the text of `/proc/self/smaps`.
fn own_mappings(smaps: &str, program: &str) -> Vec<Mapping> {
    let mut found: Vec<Mapping> = Vec::new();
    let mut ours = false;
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        if let Some((start, end)) = first.split_once('-') {
            let address = |t: &str| usize::from_str_radix(t, 16).ok();
            let permissions = words.next().unwrap_or("");
            ours = line.ends_with(program);
            if let (true, Some(start), Some(end)) = (ours, address(start), address(end)) {
                found.push(Mapping {
                    start,
                    end,
                    writable: permissions.contains('w'),
                    changed_kib: 0,
                });
            }
        } else if ours && matches!(first, "Private_Dirty:" | "Anonymous:") {
            let kib = words.next().and_then(|n| n.parse().ok()).unwrap_or(u64::MAX);
            if let Some(m) = found.last_mut() {
                m.changed_kib = m.changed_kib.max(kib);
            }
        }
    }
    found
}

/// Drops the program's pages that are the same in its file: those that are used come back from the page cache at
/// their next use, those of the start stay away.
pub fn release_start_up() -> Result<()> {
    let smaps = fs::read_to_string("/proc/self/smaps").context(|| "read the process's mappings")?;
    let program = fs::read_link("/proc/self/exe").context(|| "find this program's path")?;
    let program = program.to_string_lossy();
    for m in own_mappings(&smaps, &program)
        .iter()
        .filter(|m| !m.writable && m.changed_kib == 0)
    {
        let at = m.start as *mut std::ffi::c_void;
        // SAFETY: the range is a whole read-only mapping of this program's file with no page that differs from it, so
        // that the kernel reads back the same bytes when they are next touched.
        let dropped = unsafe { rustix::mm::madvise(at, m.end - m.start, rustix::mm::Advice::LinuxDontNeed) };
        dropped.context(|| "drop pages of the program")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unchanged_read_only_mappings_of_the_program_are_chosen() {
        let text = "1000-2000 r-xp 0 08:01 1 /bin/k\nPrivate_Dirty: 0 kB\nAnonymous: 0 kB\n\
                    2000-3000 r--p 0 08:01 1 /bin/k\nPrivate_Dirty: 4 kB\nAnonymous: 4 kB\n\
                    3000-4000 rw-p 0 08:01 1 /bin/k\nPrivate_Dirty: 0 kB\n\
                    5000-6000 r-xp 0 08:01 2 /lib/libc.so\nPrivate_Dirty: 0 kB\n";
        let chosen: Vec<usize> = own_mappings(text, "/bin/k")
            .iter()
            .filter(|m| !m.writable && m.changed_kib == 0)
            .map(|m| m.start)
            .collect();
        assert_eq!(chosen, [0x1000]);
    }

    #[test]
    fn the_program_goes_on_after_its_pages_were_dropped() {
        release_start_up().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(own_mappings("", "x").len(), 0);
    }
}
