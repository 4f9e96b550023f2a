//! Starts on data that is there, one an operation.

use crate::lists::first_read;
use crate::load::Outcome;
use crate::measure::sample;
use crate::target::{Cluster, Usage};
use crate::workload::{Figure, Sample};
use std::io;
use std::time::{Duration, Instant};

/// Throws what files the kernel keeps in memory out of it; only root may.
fn empty_page_cache() -> io::Result<()> {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3")
        .map_err(|e| io::Error::new(e.kind(), format!("left out, the page cache cannot be emptied: {e}")))
}

/// From the start of the processes until a key is read. What the processes used is what a start uses.
pub fn measure(cluster: &mut Cluster, cold: bool, time: Duration) -> io::Result<Sample> {
    if cold {
        // First here, where a refusal leaves the cluster running.
        empty_page_cache()?;
    }
    let mut outcome = Outcome::default();
    let mut used = Usage::default();
    let begin = Instant::now();
    while outcome.calls == 0 || begin.elapsed() < time {
        cluster.stop()?;
        if cold {
            empty_page_cache()?;
        }
        // Nobody runs: only what the disk has taken.
        let before = cluster.usage()?;
        let took = cluster.run()? + first_read(cluster)?;
        let usage = cluster.usage()?.since(before);
        used = Usage {
            cpu_seconds: used.cpu_seconds + usage.cpu_seconds,
            written_bytes: used.written_bytes + usage.written_bytes,
            ..usage
        };
        outcome.calls += 1;
        outcome.elapsed += took;
        outcome.latency.add(took);
    }
    let each = outcome.elapsed.as_secs_f64() * 1e3 / outcome.calls as f64;
    Ok(Sample {
        figures: vec![Figure::cost("a start", "ms", each)],
        ..sample(&outcome, used)
    })
}
