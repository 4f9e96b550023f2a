//! The physical part of compaction: in bounded slices, apart from apply, after a crash from the start again.
//!
//! The logical part is one number, set by apply. No answer depends on how far this part has come: below the
//! compacted revision nothing is read, and revisions that are being read are pinned.
//!
//! Compactions are carried out one after the other, and each leaves a hash of the history before it, as in etcd:
//! members compare those. One that was interrupted by a restart leaves none.

use crate::db::Batch;
use crate::hash::CompactionHash;
use crate::meta;
use crate::state_machine::StorageError;
use crate::store::Store;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

/// Keys looked at while the state is locked once: apply waits for that lock.
const SLICE_KEYS_MAX: usize = 32;
/// Versions deleted in one write: apply's own writes queue behind it.
const DELETIONS_MAX: usize = 128;
/// Compactions that may wait to be hashed; those before are carried out together, without a hash.
const DUE_MAX: usize = 16;

/// Where the trimmer is.
#[derive(Default)]
pub struct Progress {
    /// The bound of the pass that is under way.
    bound: i64,
    from: Vec<u8>,
    active: bool,
    /// What the next compaction leaves behind, while it is being hashed.
    hashing: Option<CompactionHash>,
    /// The last one for which that was done.
    hashed: i64,
}

/// Notes a compaction that was applied.
pub fn due(compactions: &mut VecDeque<(i64, i64)>, before: i64, revision: i64) {
    if compactions.len() >= DUE_MAX {
        compactions.pop_front();
    }
    compactions.push_back((before, revision));
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
        if !progress.active && self.hash_slice(&mut progress)? {
            return Ok(Slice::More);
        }
        let mut state = self.state.write();
        if !progress.active {
            let target = state.compactions.front().map_or(state.compacted, |(_, to)| *to);
            // Pins are taken under the same lock, and never below the compacted revision: this bound stays right.
            let bound = self.pins.oldest().map_or(target, |pin| pin.min(target));
            if bound <= self.trimmed.load(Ordering::Acquire) {
                return Ok(Slice::Waiting);
            }
            progress.bound = bound + i64::from(seeded!(CompactionOffByOne) && bound < state.revision);
            progress.from.clear();
            progress.active = true;
        }
        let trimmed = state.index.trim(&progress.from, SLICE_KEYS_MAX, progress.bound);
        // Only an installation changes it, and that waits for `trimming`.
        let db = self.db.load();
        drop(state);
        self.counters.count_trimmed(trimmed.dead.len());
        for dead in trimmed.dead.chunks(DELETIONS_MAX) {
            let mut batch = db.batch()?;
            for (key, version) in dead {
                batch.forget(key, *version);
            }
            db.write(batch)?;
        }
        match trimmed.next {
            Some(next) => {
                progress.from = next;
                Ok(Slice::More)
            }
            None => {
                progress.active = false;
                let mut batch = db.batch()?;
                finish(&mut batch, progress.bound);
                db.write(batch)?;
                self.trimmed.store(progress.bound, Ordering::Release);
                Ok(if self.trim_pending() { Slice::More } else { Slice::Done })
            }
        }
    }

    /// Before anything is deleted: does a slice of hashing what the next compaction finds. False: there is nothing to
    /// hash any more.
    fn hash_slice(&self, progress: &mut Progress) -> Result<bool, StorageError> {
        if let Some(hashing) = &mut progress.hashing {
            if let Some(done) = hashing.step(self)? {
                progress.hashing = None;
                if let Some(hashed) = done {
                    self.keep_hash(hashed);
                }
            }
            return Ok(true);
        }
        let trimmed = self.trimmed.load(Ordering::Acquire);
        let next = {
            let mut state = self.state.write();
            while state.compactions.front().is_some_and(|(_, to)| *to <= trimmed) {
                state.compactions.pop_front();
            }
            state.compactions.front().copied()
        };
        match next {
            // Only when the one before is all done is there everything that has to be hashed.
            Some((before, revision)) if before == trimmed && progress.hashed != revision => {
                progress.hashed = revision;
                progress.hashing = Some(self.compaction_hash(before, revision));
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

fn finish(batch: &mut Batch<'_>, bound: i64) {
    batch.set_meta(meta::TRIMMED, &bound.to_le_bytes());
}
