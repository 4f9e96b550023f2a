//! Drives the physical part of compaction, a slice at a time, between other work.

use crate::core::Core;
use keelson_mvcc::Slice;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long to wait for readers at revisions that the compaction would take.
const READER_WAIT: Duration = Duration::from_millis(100);

/// Runs whenever a compaction was applied. Ends with `stop`.
pub async fn run(core: Arc<Core>, stop: CancellationToken) {
    loop {
        let mut slices = 0u64;
        while core.store.trim_pending() && !stop.is_cancelled() {
            match core.store.trim_slice() {
                Ok(Slice::More) => tokio::task::yield_now().await,
                Ok(Slice::Done) => {}
                Ok(Slice::Waiting) => {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(READER_WAIT) => {}
                    }
                }
                Err(error) => {
                    core.fail(format!("compaction: {error}"));
                    return;
                }
            }
            slices += 1;
        }
        core.trimmed.send_replace(core.store.trimmed());
        if slices > 0 {
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
