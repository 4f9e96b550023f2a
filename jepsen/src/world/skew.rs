//! Clocks that are wrong: the wall clock of a member of ours goes through a shim, which adds what a file in memory says.

use super::error::{Doing, WorldError};
use nix::libc;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The shim: `jepsen/clock`, built for `LD_PRELOAD`.
const SHIM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libkeelson_jepsen_clock.so"));

/// How the wall clock of a member differs from the true one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skew {
    /// It is ahead by this many milliseconds, or behind.
    pub offset_ms: i64,
    /// From now on it gains this many microseconds a second, or loses.
    pub drift_ppm: i64,
    /// Every second period it is ahead by this many milliseconds more.
    pub strobe_ms: i64,
    pub strobe_period: Duration,
}

/// Writes the shim to where members can load it.
pub(super) fn write_shim(scratch: &Path) -> Result<PathBuf, WorldError> {
    let path = scratch.join("clock.so");
    std::fs::write(&path, SHIM).doing(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// The clock that the shim measures drifts by.
fn monotonic_ns() -> std::io::Result<i64> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes one `struct timespec`, which lives until it returns.
    match unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) } {
        0 => Ok(now.tv_sec * 1_000_000_000 + now.tv_nsec),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// The file that the shim of one member reads.
#[derive(Debug)]
pub(super) struct WallClock {
    path: PathBuf,
    file: File,
}

impl WallClock {
    pub(super) fn make(scratch: &Path, node: usize) -> Result<WallClock, WorldError> {
        let path = scratch.join(format!("clock{node}"));
        let file = File::create(&path).doing(|| format!("make {}", path.display()))?;
        let clock = WallClock { path, file };
        clock.set(Skew::default())?;
        Ok(clock)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The clock is wrong like this from now on.
    pub(super) fn set(&self, skew: Skew) -> Result<(), WorldError> {
        let since_ns = monotonic_ns().doing(|| "read the clock".to_owned())?;
        let period_ns = i64::try_from(skew.strobe_period.as_nanos()).unwrap_or(i64::MAX);
        // The fields of the shim's `Skew`, in order.
        let fields = [
            skew.offset_ms * 1_000_000,
            skew.drift_ppm,
            since_ns,
            skew.strobe_ms * 1_000_000,
            period_ns,
        ];
        let bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_ne_bytes()).collect();
        self.file
            .write_all_at(&bytes, 0)
            .doing(|| format!("write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::Command;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn a_program_sees_the_time_that_the_file_says() {
        let dir = tempfile::tempdir().unwrap();
        let shim = write_shim(dir.path()).unwrap();
        let clock = WallClock::make(dir.path(), 1).unwrap();
        let ahead = || {
            let out = Command::new("date")
                .arg("+%s")
                .env("LD_PRELOAD", &shim)
                .env("KEELSON_CLOCK", clock.path())
                .output()
                .unwrap();
            let text = String::from_utf8(out.stdout).unwrap();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
            text.trim().parse::<i64>().unwrap() - now
        };
        // The bound is for a busy machine.
        assert!((-60..=0).contains(&ahead()));
        let back = Skew {
            offset_ms: -86_400_000,
            ..Skew::default()
        };
        clock.set(back).unwrap();
        assert!((-86_460..=-86_400).contains(&ahead()));
        clock.set(Skew::default()).unwrap();
        assert!((-60..=0).contains(&ahead()));
    }
}
