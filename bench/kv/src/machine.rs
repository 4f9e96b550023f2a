//! Where and with what it was measured.

use crate::target::Kind;
use serde::Serialize;
use std::fs::{File, read_to_string};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const SYNCS: usize = 200;
const BLOCK_BYTES: usize = 4096;

#[derive(Serialize)]
pub struct Machine {
    pub date: String,
    pub cores: usize,
    pub processor: String,
    pub kernel: String,
    pub memory_bytes: u64,
    /// The median time of an fdatasync of one block, in a file that is there already.
    pub fdatasync_us: f64,
    pub programs: Vec<Program>,
}

#[derive(Serialize)]
pub struct Program {
    pub side: &'static str,
    pub version: String,
}

fn field(path: &str, name: &str) -> String {
    let text = read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with(name)).unwrap_or_default();
    line.split(':').nth(1).unwrap_or_default().trim().to_owned()
}

fn fdatasync_us(dir: &Path) -> io::Result<f64> {
    let mut file: File = tempfile::tempfile_in(dir)?;
    file.write_all(&vec![1; SYNCS * BLOCK_BYTES])?;
    file.sync_all()?;
    let mut times = Vec::new();
    for n in 0..SYNCS {
        file.write_all_at(&[2; BLOCK_BYTES], (n * BLOCK_BYTES) as u64)?;
        let begin = Instant::now();
        file.sync_data()?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    Ok(times.get(SYNCS / 2).map_or(f64::NAN, |t| t.as_secs_f64() * 1e6))
}

fn version(kind: &Kind) -> io::Result<Program> {
    let output = Command::new(&kind.program).arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<_> = text.lines().take(2).map(str::trim).collect();
    Ok(Program {
        side: kind.name,
        version: lines.join(", "),
    })
}

impl Machine {
    pub fn look(kinds: &[Kind], dir: &Path) -> io::Result<Machine> {
        let kib = field("/proc/meminfo", "MemTotal")
            .split(' ')
            .next()
            .map(str::parse::<u64>);
        Ok(Machine {
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            cores: std::thread::available_parallelism()?.get(),
            processor: field("/proc/cpuinfo", "model name"),
            kernel: read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            memory_bytes: kib.and_then(Result::ok).unwrap_or(0) * 1024,
            fdatasync_us: fdatasync_us(dir)?,
            programs: kinds.iter().map(version).collect::<io::Result<_>>()?,
        })
    }

    pub fn lines(&self) -> String {
        let programs: Vec<_> = self
            .programs
            .iter()
            .map(|p| format!("{}: {}", p.side, p.version))
            .collect();
        format!(
            "{}; {} cores, {}; Linux {}; {} GiB; fdatasync {:.0} us\n{}",
            self.date,
            self.cores,
            self.processor,
            self.kernel,
            self.memory_bytes >> 30,
            self.fdatasync_us,
            programs.join("; ")
        )
    }
}
