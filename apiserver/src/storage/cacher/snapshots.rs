//! The content at revisions from which someone reads pages.
use super::state::Objects;
use crate::storage::Revision;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Lists being paged at one time, a kind; the oldest gives way, and its reader goes to the store.
const SNAPSHOTS_MAX: usize = 16;
/// How long pages are read from memory. Not longer than the store keeps a revision, used or not: then the
/// reader is told that its list expired, as it would be by a server without a cache.
const AGE_MAX: Duration = Duration::from_secs(300);

/// Oldest first.
#[derive(Default)]
pub(super) struct Snapshots(VecDeque<(Revision, Instant, Objects)>);

impl Snapshots {
    pub fn keep(&mut self, revision: Revision, objects: &Objects, now: Instant) {
        if self.0.iter().any(|(r, _, _)| *r == revision) {
            return;
        }
        if self.0.len() >= SNAPSHOTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((revision, now, objects.clone()));
    }

    pub fn find(&mut self, revision: Revision, now: Instant) -> Option<Objects> {
        self.trim(now);
        self.0
            .iter()
            .find(|(r, _, _)| *r == revision)
            .map(|(_, _, objects)| objects.clone())
    }

    pub fn trim(&mut self, now: Instant) {
        self.0
            .retain(|(_, made, _)| now.saturating_duration_since(*made) < AGE_MAX);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}
