//! Drives the physical part of compaction, a slice at a time, on a thread that leaves others the way.

use crate::core::Core;
use keelson_mvcc::{Slice, StorageError};
use keelson_raft::runtime;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

/// While others write, rests between slices take so many times as long as the slices.
const RESTS: u32 = 19;
/// How long to wait for readers at revisions that the compaction would take.
const READER_WAIT: Duration = Duration::from_millis(100);

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Slices until there is nothing to do now, or `stop`: how many, and what the last one said.
fn pass(core: &Core, stop: &CancellationToken) -> Result<(u64, Slice), StorageError> {
    let (mut slices, mut pace) = (0, runtime::Pace::resting(RESTS));
    loop {
        let (begun, revision) = (Instant::now(), core.store.revision());
        let slice = core.store.trim_slice()?;
        core.metrics.store.compaction_pause_ms.observe(ms(begun));
        slices += 1;
        if slice != Slice::More || stop.is_cancelled() {
            return Ok((slices, slice));
        }
        pace.rest(core.store.revision() == revision);
    }
}

/// Runs whenever a compaction was applied. Ends with `stop`.
pub async fn run(core: Arc<Core>, stop: CancellationToken) {
    loop {
        let mut slices = 0u64;
        let begun = Instant::now();
        while core.store.trim_pending() && !stop.is_cancelled() {
            let (trimmer, stopped) = (core.clone(), stop.clone());
            let pass = runtime::spawn_aside("compaction", move || pass(&trimmer, &stopped));
            match pass.await {
                Ok(Ok((more, Slice::Waiting))) => {
                    slices += more;
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(READER_WAIT) => {}
                    }
                }
                Ok(Ok((more, _))) => slices += more,
                Ok(Err(error)) => {
                    core.fail(format!("compaction: {error}"));
                    return;
                }
                Err(error) => {
                    core.fail(format!("compaction: {error}"));
                    return;
                }
            }
        }
        core.trimmed.send_replace(core.store.trimmed());
        if slices > 0 {
            core.metrics.store.compaction_ms.observe(ms(begun));
            core.metrics.store.compaction_last.set(unix_seconds());
            tracing::info!(
                compact_revision = core.store.trimmed(),
                slices,
                "finished scheduled compaction"
            );
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = core.compacted.notified() => {}
        }
    }
}
