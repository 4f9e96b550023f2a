//! The log's disk with a stopwatch.

use super::instruments::{Counter, Histogram, SECONDS};
use keelson_raft::Disk;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

/// How long the log's writes and syncs took.
pub struct LogTimes {
    pub sync_seconds: Histogram,
    pub write_seconds: Histogram,
    pub written_bytes: Counter,
}

impl LogTimes {
    pub fn new() -> Arc<LogTimes> {
        Arc::new(LogTimes {
            sync_seconds: Histogram::exponential(SECONDS),
            write_seconds: Histogram::exponential(SECONDS),
            written_bytes: Counter::default(),
        })
    }
}

/// The machine's disk, timed.
pub struct TimedDisk {
    pub times: Arc<LogTimes>,
    /// `unsafe-no-fsync`: a sync does nothing.
    pub no_sync: bool,
}

impl Disk for TimedDisk {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let begun = Instant::now();
        let outcome = file.write_all_at(bytes, offset);
        self.times.write_seconds.observe_seconds(begun.elapsed());
        self.times.written_bytes.add(bytes.len() as u64);
        outcome
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        if self.no_sync {
            return Ok(());
        }
        let begun = Instant::now();
        let outcome = file.sync_data();
        self.times.sync_seconds.observe_seconds(begun.elapsed());
        outcome
    }
}
