//! Compaction without being asked: by age (`periodic`) or by number of revisions, as etcd's two modes do, only on the
//! leader. When to compact is decided by [`Periodic`] and [`ByRevision`], which are told the time.

use crate::AutoCompaction;
use crate::auth::Caller;
use crate::core::Core;
use keelson_proto::etcdserverpb as pb;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Code;

/// Longer periods are kept in steps of this.
const STEP_MAX: Duration = Duration::from_secs(3600);
/// The revision is noted so often in each step.
const NOTES_PER_STEP: u32 = 10;
const BY_REVISION_EVERY: Duration = Duration::from_secs(300);
/// A shorter period than this is waited for like this one.
const PERIOD_MIN: Duration = Duration::from_millis(10);

/// Keeps what is younger than a period.
struct Periodic {
    period: Duration,
    /// Revisions noted, oldest first; the first is a period old when the window is full.
    window: VecDeque<i64>,
    compacted: i64,
    last_success: Duration,
    /// Between two compactions; the first comes after a whole period.
    interval: Duration,
}

impl Periodic {
    fn new(period: Duration, now: Duration) -> Self {
        let period = period.max(PERIOD_MIN);
        Periodic {
            period,
            window: VecDeque::new(),
            compacted: 0,
            last_success: now,
            interval: period,
        }
    }

    fn step(&self) -> Duration {
        self.period.min(STEP_MAX)
    }

    /// How long to wait between two notes.
    fn note_every(&self) -> Duration {
        self.step() / NOTES_PER_STEP
    }

    fn notes_max(&self) -> usize {
        let notes = self.period.as_nanos() / self.note_every().as_nanos().max(1);
        usize::try_from(notes).unwrap_or(usize::MAX).saturating_add(1)
    }

    fn note(&mut self, revision: i64) {
        self.window.push_back(revision);
        if self.window.len() > self.notes_max() {
            self.window.pop_front();
        }
    }

    /// The revision to compact at now, if it is time.
    fn due(&mut self, now: Duration) -> Option<i64> {
        let revision = *self.window.front()?;
        if now.saturating_sub(self.last_success) < self.interval || revision == self.compacted {
            return None;
        }
        self.interval = self.step();
        Some(revision)
    }

    fn succeeded(&mut self, revision: i64, now: Duration) {
        (self.compacted, self.last_success) = (revision, now);
    }
}

/// Keeps the newest revisions.
struct ByRevision {
    keep: i64,
    compacted: i64,
}

impl ByRevision {
    fn due(&self, current: i64) -> Option<i64> {
        let revision = current.saturating_sub(self.keep);
        (revision > 0 && revision != self.compacted).then_some(revision)
    }
}

/// Ends with `stop`.
pub async fn run(core: Arc<Core>, mode: AutoCompaction, stop: CancellationToken) {
    let work = async {
        match mode {
            AutoCompaction::Off => {}
            AutoCompaction::Periodic(period) => periodic(&core, period).await,
            AutoCompaction::Revision(keep) => by_revision(&core, keep).await,
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

async fn periodic(core: &Core, period: Duration) {
    let origin = Instant::now();
    let mut plan = Periodic::new(period, Duration::ZERO);
    loop {
        plan.note(core.store.revision());
        tokio::time::sleep(plan.note_every()).await;
        if !core.log.is_leader() {
            continue;
        }
        let Some(revision) = plan.due(origin.elapsed()) else {
            continue;
        };
        tracing::info!(revision, "compact-period" = ?period, "starting auto periodic compaction");
        let started = Instant::now();
        match compact(core, revision).await {
            Ok(()) => {
                plan.succeeded(revision, origin.elapsed());
                let took = started.elapsed();
                tracing::info!(revision, "compact-period" = ?period, ?took, "completed auto periodic compaction");
            }
            Err(error) => {
                let again = plan.note_every();
                tracing::warn!(
                    revision,
                    "compact-period" = ?period,
                    "retry-interval" = ?again,
                    error,
                    "failed auto periodic compaction"
                );
            }
        }
    }
}

async fn by_revision(core: &Core, keep: i64) {
    let mut plan = ByRevision { keep, compacted: 0 };
    loop {
        tokio::time::sleep(BY_REVISION_EVERY).await;
        if !core.log.is_leader() {
            continue;
        }
        let Some(revision) = plan.due(core.store.revision()) else {
            continue;
        };
        tracing::info!(
            revision,
            "revision-compaction-retention" = keep,
            "starting auto revision compaction"
        );
        let started = Instant::now();
        match compact(core, revision).await {
            Ok(()) => {
                plan.compacted = revision;
                let took = started.elapsed();
                tracing::info!(
                    revision,
                    "revision-compaction-retention" = keep,
                    ?took,
                    "completed auto revision compaction"
                );
            }
            Err(error) => tracing::warn!(
                revision,
                "revision-compaction-retention" = keep,
                "retry-interval" = ?BY_REVISION_EVERY,
                error,
                "failed auto revision compaction"
            ),
        }
    }
}

/// Compacted already is as good as compacted.
async fn compact(core: &Core, revision: i64) -> Result<(), String> {
    let request = pb::CompactionRequest {
        revision,
        physical: false,
    };
    match core.compact(&Caller::Member, request).await {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::OutOfRange && revision <= core.store.compacted() => Ok(()),
        Err(status) => Err(status.message().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Notes revision `n` at the n-th note, and says when, in notes, and at what it compacts.
    fn compactions(period: Duration, notes: i64) -> Vec<(i64, i64)> {
        let mut plan = Periodic::new(period, Duration::ZERO);
        let mut now = Duration::ZERO;
        let mut all = Vec::new();
        for n in 1..=notes {
            plan.note(n);
            now += plan.note_every();
            if let Some(revision) = plan.due(now) {
                plan.succeeded(revision, now);
                all.push((n, revision));
            }
        }
        all
    }

    #[test]
    fn a_short_period_is_kept_and_compacted_once_a_period() {
        // Every ten notes, at the revision of ten notes before.
        assert_eq!(compactions(5 * MINUTE, 31), [(10, 1), (20, 10), (30, 20)]);
    }

    #[test]
    fn a_long_period_is_compacted_hourly_after_the_first_window() {
        let three_hours = 180 * MINUTE;
        assert_eq!(compactions(three_hours, 51), [(30, 1), (40, 10), (50, 20)]);
    }

    #[test]
    fn a_failure_is_tried_again_at_the_next_note() {
        let mut plan = Periodic::new(10 * MINUTE, Duration::ZERO);
        for n in 1..=10 {
            plan.note(n);
        }
        assert_eq!(plan.due(9 * MINUTE), None);
        assert_eq!(plan.due(10 * MINUTE), Some(1));
        plan.note(11);
        assert_eq!(plan.due(11 * MINUTE), Some(1));
        plan.succeeded(1, 11 * MINUTE);
        plan.note(12);
        assert_eq!(plan.due(12 * MINUTE), None);
    }

    #[test]
    fn an_idle_store_is_not_compacted_again() {
        let mut plan = Periodic::new(MINUTE, Duration::ZERO);
        plan.note(7);
        assert_eq!(plan.due(MINUTE), Some(7));
        plan.succeeded(7, MINUTE);
        assert_eq!(plan.due(5 * MINUTE), None);
    }

    #[test]
    fn by_revision_the_newest_are_kept() {
        let mut plan = ByRevision {
            keep: 100,
            compacted: 0,
        };
        assert_eq!(plan.due(100), None);
        assert_eq!(plan.due(150), Some(50));
        plan.compacted = 50;
        assert_eq!(plan.due(150), None);
        assert_eq!(plan.due(151), Some(51));
    }
}
