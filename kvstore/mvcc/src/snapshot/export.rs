//! The sender's side.

use super::CHUNK_BYTES_MAX;
use super::chunk::{Parts, Position, Row};
use crate::db::{Cf, Db};
use crate::meta;
use crate::state_machine::{AppliedState, SnapshotChunk, SnapshotReader, StorageError};
use crate::store::Store;
use bytes::Bytes;

/// A copy of a store that stands still. Its files go when it is dropped.
pub(crate) struct Export {
    db: Db,
    state: AppliedState,
}

impl Store {
    /// Freezes the state as it is now. It flushes, so it is not for an async thread.
    pub(crate) fn export(&self) -> Result<Export, StorageError> {
        let db = self.db.load_full().frozen()?;
        let state = match db.meta(meta::APPLIED)? {
            None => AppliedState::default(),
            Some(value) => {
                meta::decode_applied(&value).ok_or_else(|| StorageError("the applied index is damaged".to_owned()))?
            }
        };
        Ok(Export { db, state })
    }
}

impl Export {
    /// Visits every row of a column family from a key on; `Ok(false)` ends it.
    fn rows_after(
        &self,
        position: &Position,
        mut visit: impl FnMut(Row) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        for cf in Cf::ALL {
            let mut passed = None;
            if let Some((last, key)) = &position.row {
                if cf < *last {
                    continue;
                }
                passed = (cf == *last).then(|| key.clone());
            }
            let mut stopped = false;
            self.db.scan(cf, passed.as_deref().unwrap_or_default(), |key, value| {
                if passed.as_deref() == Some(key) {
                    return Ok(true);
                }
                let row = Row {
                    cf,
                    key: Bytes::copy_from_slice(key),
                    value: Bytes::copy_from_slice(value),
                };
                stopped = !visit(row)?;
                Ok(!stopped)
            })?;
            if stopped {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl SnapshotReader for Export {
    fn state(&self) -> &AppliedState {
        &self.state
    }

    fn chunk(&mut self, after: &[u8], bytes_max: usize) -> Result<SnapshotChunk, StorageError> {
        let bytes_max = bytes_max.min(CHUNK_BYTES_MAX);
        let begins = Position::decode(after)?;
        let mut ends = begins.clone();
        let mut rows = Vec::new();
        let (mut bytes, mut last) = (0, true);
        self.rows_after(&begins, |row| {
            bytes += row.bytes();
            if !rows.is_empty() && bytes > bytes_max {
                last = false;
                return Ok(false);
            }
            ends.pass(&row)?;
            rows.push(row);
            Ok(true)
        })?;
        let next = (!last).then(|| ends.encode());
        let parts = Parts {
            index: self.state.index,
            term: self.state.term,
            begins,
            ends,
            last,
            rows,
        };
        Ok(SnapshotChunk {
            data: parts.encode()?,
            next,
        })
    }
}
