//! The physical part of compaction: in bounded slices, apart from apply, after a crash from the start again.
//!
//! The logical part is one number, set by apply. No answer depends on how far this part has come: below the
//! compacted revision nothing is read, and revisions that are being read are pinned.

use crate::db::Batch;
use crate::meta;
use crate::state_machine::StorageError;
use crate::store::Store;
use std::sync::atomic::Ordering;

/// Keys looked at while the state is locked once.
const SLICE_KEYS_MAX: usize = 512;

/// Where the trimmer is.
#[derive(Default)]
pub struct Progress {
    /// The bound of the pass that is under way.
    bound: i64,
    from: Vec<u8>,
    active: bool,
}

/// What is left after a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// Nothing: the last compaction is finished.
    Done,
    /// More to do now.
    More,
    /// A reader is at a revision below the compaction; try again when it has gone.
    Waiting,
}

impl Store {
    /// Whether a compaction has been applied whose versions are not all gone yet.
    pub fn trim_pending(&self) -> bool {
        self.trimmed.load(Ordering::Acquire) < self.compacted()
    }

    /// Does one slice of work.
    pub fn trim_slice(&self) -> Result<Slice, StorageError> {
        let mut progress = self.trimming.lock();
        if !self.trim_pending() {
            return Ok(Slice::Done);
        }
        let mut state = self.state.write();
        if !progress.active {
            // Pins are taken under the same lock, and never below the compacted revision: this bound stays right.
            let bound = self
                .pins
                .oldest()
                .map_or(state.compacted, |pin| pin.min(state.compacted));
            if bound <= self.trimmed.load(Ordering::Acquire) {
                return Ok(Slice::Waiting);
            }
            *progress = Progress {
                bound,
                from: Vec::new(),
                active: true,
            };
        }
        let trimmed = state.index.trim(&progress.from, SLICE_KEYS_MAX, progress.bound);
        drop(state);
        let mut batch = self.db.batch()?;
        for (key, version) in &trimmed.dead {
            batch.forget(key, *version);
        }
        match trimmed.next {
            Some(next) => {
                progress.from = next;
                self.db.write(batch)?;
                Ok(Slice::More)
            }
            None => {
                progress.active = false;
                finish(&mut batch, progress.bound);
                self.db.write(batch)?;
                self.trimmed.store(progress.bound, Ordering::Release);
                Ok(if self.trim_pending() { Slice::More } else { Slice::Done })
            }
        }
    }
}

fn finish(batch: &mut Batch<'_>, bound: i64) {
    batch.set_meta(meta::TRIMMED, &bound.to_le_bytes());
}
