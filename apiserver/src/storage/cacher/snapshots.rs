//! The content at revisions from which someone reads pages.
use super::state::Objects;
use crate::storage::Revision;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Lists being paged at one time, a kind; the least recently used gives way, and its reader goes to the store.
const SNAPSHOTS_MAX: usize = 16;
/// How long a reader may take for its next page.
pub(super) const UNUSED_MAX: Duration = Duration::from_secs(300);

#[derive(Default)]
pub(super) struct Snapshots(VecDeque<(Revision, Instant, Objects)>);

impl Snapshots {
    pub fn keep(&mut self, revision: Revision, objects: &Objects, now: Instant) {
        if let Some(known) = self.0.iter_mut().find(|(r, _, _)| *r == revision) {
            known.1 = now;
            return;
        }
        if self.0.len() >= SNAPSHOTS_MAX
            && let Some(oldest) = (0..self.0.len()).min_by_key(|i| self.0.get(*i).map(|s| s.1))
        {
            self.0.remove(oldest);
        }
        self.0.push_back((revision, now, objects.clone()));
    }

    pub fn find(&mut self, revision: Revision, now: Instant) -> Option<Objects> {
        let (_, used, objects) = self.0.iter_mut().find(|(r, _, _)| *r == revision)?;
        *used = now;
        Some(objects.clone())
    }

    pub fn trim(&mut self, now: Instant) {
        self.0
            .retain(|(_, used, _)| now.saturating_duration_since(*used) < UNUSED_MAX);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}
