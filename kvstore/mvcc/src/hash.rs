//! The hash of the history of keys, the same on every member however far a compaction has come, and the same as an
//! etcd has of the same history (server/storage/mvcc/hash.go): CRC-32C over the name of etcd's bucket and each
//! version, in the form in which etcd stores it.
//!
//! What a hash covers is odd, and kept as it is: at or below the compacted revision, not what reads there see but
//! what reads at the hashed revision still see, and no deletions; unless nothing exists at the hashed revision.
//! Members compare hashes only of the same two revisions.

use crate::error::Error;
use crate::history::{History, Rule, Step};
use crate::index::Entry;
use crate::keyrange::{End, KeyRange};
use crate::read::ReadError;
use crate::revision::Version;
use crate::state_machine::StorageError;
use crate::store::Store;
use bytes::Bytes;
use crc::{CRC_32_ISCSI, Crc, Digest, Table};
use std::ops::ControlFlow;

/// Hashes of past compactions that are kept, the newest: etcd's `hashStorageMaxSize`.
pub const COMPACTION_HASHES_MAX: usize = 10;
/// Keys looked at while the state is locked once.
const SLICE_KEYS_MAX: usize = 512;
/// What etcd's bucket of versions is called: it is hashed too.
const BUCKET: &[u8] = b"key";

static CASTAGNOLI: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// A hash, and what it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    pub hash: u32,
    pub revision: i64,
    /// The compaction before it; -1 if there was none.
    pub compacted: i64,
}

/// A hash under way.
pub(crate) struct Hasher(Digest<'static, u32, Table<16>>);

impl Hasher {
    fn new() -> Hasher {
        let mut digest = CASTAGNOLI.digest();
        digest.update(BUCKET);
        Hasher(digest)
    }

    fn add(&mut self, versions: &[(Version, Bytes)]) {
        for (version, record) in versions {
            let (key, len) = version.etcd_key();
            self.0.update(key.get(..len).unwrap_or_default());
            self.0.update(record);
        }
    }
}

/// The hash that a compaction leaves, computed before anything is deleted.
pub(crate) struct CompactionHash {
    hasher: Hasher,
    history: History,
    of: Hashed,
}

impl CompactionHash {
    /// Does one slice of work. The hash when it is there; `None` in it when the state was replaced.
    pub fn step(&mut self, store: &Store) -> Result<Option<Option<Hashed>>, StorageError> {
        match self.history.step(store)? {
            Step::Some(versions) => {
                self.hasher.add(&versions);
                Ok(None)
            }
            Step::Done => Ok(Some(Some(Hashed {
                hash: self.hasher.0.clone().finalize(),
                ..self.of
            }))),
            Step::Replaced => Ok(Some(None)),
        }
    }
}

impl Store {
    /// Hashes every version up to `revision` that counts; 0 means the current one. It reads everything, so it is not
    /// for an async thread. Where a compaction was, the hash that it left answers, also below the compacted revision.
    pub fn hash(&self, revision: i64) -> Result<Hashed, ReadError> {
        if let Some(kept) = self.compaction_hashes().into_iter().find(|h| h.revision == revision) {
            return Ok(kept);
        }
        loop {
            if let Some(hashed) = self.hash_once(revision)? {
                return Ok(hashed);
            }
        }
    }

    /// The hashes that the last compactions left, ascending.
    pub fn compaction_hashes(&self) -> Vec<Hashed> {
        self.hashes.lock().clone()
    }

    pub(crate) fn keep_hash(&self, hashed: Hashed) {
        let mut hashes = self.hashes.lock();
        hashes.push(hashed);
        hashes.sort_by_key(|h| h.revision);
        let surplus = hashes.len().saturating_sub(COMPACTION_HASHES_MAX);
        hashes.drain(..surplus);
    }

    /// `None`: another state was installed meanwhile.
    fn hash_once(&self, revision: i64) -> Result<Option<Hashed>, ReadError> {
        let state = self.state.read();
        if revision > state.revision {
            return Err(Error::FutureRevision.into());
        }
        if revision > 0 && revision < state.compacted {
            return Err(Error::Compacted.into());
        }
        let of = Hashed {
            hash: 0,
            revision: if revision == 0 { state.revision } else { revision },
            compacted: state.compacted,
        };
        // Until the walk is over, nothing that it counts on may go.
        let pin = self.pin(state.compacted.max(0));
        let mut history = History::new(self, &state, rule(of));
        drop(state);
        if !self.any_key(|entry| entry.at(of.revision).is_some_and(|v| !v.tombstone)) {
            history.see_at(of.compacted);
        }
        let hashed = self.hash_all(history);
        drop(pin);
        Ok(hashed?.map(|hash| Hashed { hash, ..of }))
    }

    fn hash_all(&self, mut history: History) -> Result<Option<u32>, StorageError> {
        let mut hasher = Hasher::new();
        loop {
            match history.step(self)? {
                Step::Some(versions) => hasher.add(&versions),
                Step::Done => return Ok(Some(hasher.0.finalize())),
                Step::Replaced => return Ok(None),
            }
        }
    }

    /// Begins the hash of the compaction at `revision` that follows the one at `compacted`, which must be finished:
    /// only the trimmer may ask.
    pub(crate) fn compaction_hash(&self, compacted: i64, revision: i64) -> CompactionHash {
        let of = Hashed {
            hash: 0,
            revision,
            compacted,
        };
        let mut history = History::new(self, &self.state.read(), rule(of));
        // A compaction keeps a deletion at its own revision, so that counts as something kept.
        let kept = |entry: &Entry| {
            let seen = entry.at(revision);
            seen.is_some_and(|v| !v.tombstone || v.rev.main == revision)
        };
        if !self.any_key(kept) {
            history.see_at(compacted);
        }
        CompactionHash {
            hasher: Hasher::new(),
            history,
            of,
        }
    }

    /// Whether there is such an entry in the index.
    fn any_key(&self, mut test: impl FnMut(&Entry) -> bool) -> bool {
        let all = KeyRange {
            start: Bytes::new(),
            end: End::Unbounded,
        };
        let mut from = Vec::new();
        loop {
            let (mut seen, mut found, mut next) = (0, false, None);
            self.state.read().index.walk(&all, &from, |key, entry| {
                if seen == SLICE_KEYS_MAX {
                    next = Some(key.to_vec());
                    return ControlFlow::Break(());
                }
                seen += 1;
                found = test(entry);
                if found {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            match next {
                _ if found => return true,
                Some(next) => from = next,
                None => return false,
            }
        }
    }
}

/// When nothing is kept, `at` is another: etcd then hashes what is still there, which is what the compaction before
/// has left.
fn rule(of: Hashed) -> Rule {
    Rule {
        upto: of.revision,
        compacted: of.compacted,
        at: of.revision,
        tombstones: false,
    }
}
