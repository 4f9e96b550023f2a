//! A checksum of what the store holds up to a revision: the same on every member, however far a compaction has come.

use crate::error::Error;
use crate::read::ReadError;
use crate::revision::{Rev, Version};
use crate::state_machine::StorageError;
use crate::store::{Store, decode_record};
use bytes::Bytes;

/// A hash, and what it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    pub hash: u32,
    pub revision: i64,
    pub compacted: i64,
}

impl Store {
    /// Hashes every version up to `revision` that no compaction has hidden; 0 means the current one. It reads
    /// everything, so it is not for an async thread.
    pub fn hash(&self, revision: i64) -> Result<Hashed, ReadError> {
        let (current, compacted) = {
            let state = self.state.read();
            if revision > state.revision {
                return Err(Error::FutureRevision.into());
            }
            if revision > 0 && revision < state.compacted {
                return Err(Error::Compacted.into());
            }
            // Until the scan has its view, nothing that it counts on may go.
            self.pins.add(state.compacted.max(0));
            (state.revision, state.compacted)
        };
        let revision = if revision == 0 { current } else { revision };
        let hashed = self.hash_up_to(revision, compacted);
        self.pins.remove(compacted.max(0));
        Ok(Hashed {
            hash: hashed?,
            revision,
            compacted,
        })
    }

    fn hash_up_to(&self, revision: i64, compacted: i64) -> Result<u32, StorageError> {
        let mut hasher = crc32fast::Hasher::new();
        self.db.scan_data(Rev::default(), |version, record| {
            if version.rev.main > revision {
                return Ok(false);
            }
            if version.rev.main > compacted || self.survives(version, record, compacted)? {
                hasher.update(&version.data_key());
                hasher.update(record);
            }
            Ok(true)
        })?;
        Ok(hasher.finalize())
    }

    /// Whether a version at or below the compaction is what reads at the compacted revision see.
    fn survives(&self, version: Version, record: &[u8], compacted: i64) -> Result<bool, StorageError> {
        if version.tombstone && version.rev.main < compacted {
            return Ok(false);
        }
        let key = decode_record(Bytes::copy_from_slice(record))?.key;
        Ok(self.state.read().index.get(&key).and_then(|entry| entry.at(compacted)) == Some(version))
    }
}
