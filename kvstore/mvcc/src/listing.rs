//! A range as the bytes of its answer, a piece at a time: the records go from the disk into what is sent and are held
//! nowhere else. How long all of it is, is known before the first one is read, because the index knows the length of
//! every record.

use crate::db::Db;
use crate::error::Error;
use crate::index::{Recorded, listed_bytes};
use crate::range::{self, Records};
use crate::read::{Cursor, ReadError, SLICE_KEYS_MAX};
use crate::state_machine::StorageError;
use crate::store::Store;
use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use std::collections::VecDeque;
use std::sync::Arc;

/// The `kvs` of an answer, encoded.
pub struct Listing {
    cursor: Cursor,
    /// What was looked up and is not read yet.
    found: VecDeque<Recorded>,
    db: Option<Arc<Db>>,
    /// Keys still to come, at most.
    left: u64,
    more: bool,
    bytes: u64,
    given: u64,
}

/// How a request is answered.
pub enum Reading {
    /// Its answer is large, and its order is the index's own.
    Pieces(Listing),
    Cursor(Cursor),
}

impl Store {
    /// Begins a read. One whose answer has at least `bytes_min` bytes is given in pieces, unless it has to be sorted
    /// or sifted first.
    pub fn read(self: &Arc<Self>, request: &pb::RangeRequest, bytes_min: u64) -> Result<Reading, Error> {
        let cursor = self.cursor(request)?;
        let ordered = range::is_default_order(request) && !range::has_revision_filters(request);
        if !ordered || request.keys_only || cursor.is_done() || cursor.bytes < bytes_min {
            return Ok(Reading::Cursor(cursor));
        }
        let listing = Listing::new(cursor, request.limit)?;
        Ok(if listing.bytes < bytes_min {
            Reading::Cursor(listing.into_cursor())
        } else {
            Reading::Pieces(listing)
        })
    }
}

impl Listing {
    fn new(cursor: Cursor, limit: i64) -> Result<Listing, Error> {
        let count = cursor.count as u64;
        let left = u64::try_from(limit).ok().filter(|n| *n > 0).unwrap_or(count).min(count);
        let mut listing = Listing {
            found: VecDeque::new(),
            db: None,
            bytes: cursor.bytes,
            given: 0,
            left,
            more: left < count,
            cursor,
        };
        if listing.more {
            listing.measure()?;
        }
        Ok(listing)
    }

    /// At the beginning again.
    fn into_cursor(self) -> Cursor {
        let mut cursor = self.cursor;
        cursor.from = Some(Bytes::new());
        cursor
    }

    /// How long the first `left` keys are. What is found on the way in one slice is not looked up again.
    fn measure(&mut self) -> Result<(), Error> {
        self.bytes = 0;
        let (mut from, mut left) = (Bytes::new(), self.left);
        while left > 0 {
            let (db, records) = self.find(&from, left, u64::MAX)?;
            self.bytes += records.bytes;
            let found = records.found.len() as u64;
            if found == self.left {
                self.db = Some(db);
                self.found = records.found.into();
                self.cursor.from.clone_from(&records.next);
            }
            left = left.saturating_sub(found);
            match records.next {
                Some(next) => from = next,
                None => break,
            }
        }
        Ok(())
    }

    fn find(&self, from: &[u8], keys: u64, bytes: u64) -> Result<(Arc<Db>, Records), Error> {
        let keys = usize::try_from(keys).unwrap_or(usize::MAX).min(SLICE_KEYS_MAX);
        let cursor = &self.cursor;
        cursor.look(|index| range::find_records(index, &cursor.range, from, cursor.at, keys, bytes))
    }

    /// Bytes of all pieces together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Keys in the whole range.
    pub fn count(&self) -> i64 {
        self.cursor.count
    }

    /// The store's revision when the read began.
    pub fn revision(&self) -> i64 {
        self.cursor.revision
    }

    /// Keys that are still to come.
    pub fn keys_left(&self) -> u64 {
        self.left
    }

    /// Whether there are keys beyond the limit.
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// Appends the next piece, of about so many bytes, longer only where one record is; nothing when all was given.
    pub fn next(&mut self, bytes_max: u64, out: &mut Vec<u8>) -> Result<(), ReadError> {
        if self.left == 0 {
            return Ok(());
        }
        if self.found.is_empty() {
            let from = self.cursor.from.take().unwrap_or_default();
            let (db, records) = self.find(&from, self.left, bytes_max)?;
            self.db = Some(db);
            self.found = records.found.into();
            self.cursor.from = records.next;
        }
        let (mut bytes, mut wanted) = (0, Vec::with_capacity(self.found.len()));
        while bytes < bytes_max
            && let Some(recorded) = self.found.pop_front()
        {
            bytes += listed_bytes(recorded.bytes);
            wanted.push(recorded);
        }
        let before = out.len();
        if let Some(db) = &self.db {
            db.append_listed(&wanted, out)?;
        }
        self.left = self.left.saturating_sub(wanted.len() as u64);
        self.given += (out.len() - before) as u64;
        let ended = self.left == 0 || (self.found.is_empty() && self.cursor.is_done());
        if self.found.is_empty() {
            self.db = None;
        }
        if ended && (self.left > 0 || self.given != self.bytes) {
            let what = format!(
                "a list promised {} bytes, has {}, and lacks {} keys",
                self.bytes, self.given, self.left
            );
            return Err(StorageError(what).into());
        }
        Ok(())
    }
}
