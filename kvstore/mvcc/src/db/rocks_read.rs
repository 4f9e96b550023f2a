//! Many records at once out of RocksDB, each copied once.
//!
//! Keys that are neighbours have often been written one soon after the other, so that their records lie side by side:
//! then one walk over them costs far less than looking each up.

use super::rocks::Rocks;
use super::{Cf, listed};
use crate::index::{Recorded, listed_bytes};
use crate::read::missing;
use crate::revision::DATA_KEY_BYTES;
use crate::state_machine::StorageError;
use rocksdb::{DB, DBRawIteratorWithThreadMode as RawIterator, ReadOptions};

/// Up to so many revisions for each one wanted, walking over all of them is the cheaper way.
const WALK_REVISIONS_MAX: i64 = 8;
/// Rows that are walked over before the next one wanted is looked up instead: a transaction has many at one revision.
const WALK_ROWS_MAX: usize = 16;

/// Where each record goes, whichever order they are read in.
struct Places<'o> {
    out: &'o mut Vec<u8>,
    /// By the order of the answer; empty when the two orders are one.
    starts: Vec<usize>,
}

impl Places<'_> {
    fn set(&mut self, at: usize, wanted: &Recorded, record: &[u8]) -> Result<(), StorageError> {
        listed::check(wanted, record)?;
        let Some(start) = self.starts.get(at) else {
            listed::append(record, self.out);
            return Ok(());
        };
        let (prefix, len) = listed::prefix(wanted.bytes);
        let prefix = prefix.get(..len).unwrap_or_default();
        let place = self.out.get_mut(*start..*start + len + record.len());
        let (before, rest) = place.unwrap_or_default().split_at_mut_checked(len).unwrap_or_default();
        if rest.len() != record.len() {
            return Err(StorageError("a record has no place in its answer".to_owned()));
        }
        before.copy_from_slice(prefix);
        rest.copy_from_slice(record);
        Ok(())
    }
}

/// See [`super::Db::append_listed`].
pub fn append_listed(db: &Rocks, wanted: &[Recorded], out: &mut Vec<u8>) -> Result<(), StorageError> {
    let bytes: u64 = wanted.iter().map(|w| listed_bytes(w.bytes)).sum();
    out.reserve(bytes as usize);
    if wanted.is_sorted_by_key(|w| w.version.rev) {
        let mut places = Places {
            out,
            starts: Vec::new(),
        };
        let ordered: Vec<_> = wanted.iter().enumerate().collect();
        return read(db, &ordered, &mut places);
    }
    let mut starts = Vec::with_capacity(wanted.len());
    let mut end = out.len();
    for recorded in wanted {
        starts.push(end);
        end += listed_bytes(recorded.bytes) as usize;
    }
    out.resize(end, 0);
    let mut ordered: Vec<_> = wanted.iter().enumerate().collect();
    ordered.sort_unstable_by_key(|(_, w)| w.version.rev);
    read(db, &ordered, &mut Places { out, starts })
}

/// `ordered` is by revision.
fn read(db: &Rocks, ordered: &[(usize, &Recorded)], places: &mut Places<'_>) -> Result<(), StorageError> {
    let (Some((_, first)), Some((_, last))) = (ordered.first(), ordered.last()) else {
        return Ok(());
    };
    let revisions = last.version.rev.main - first.version.rev.main;
    if revisions <= WALK_REVISIONS_MAX.saturating_mul(ordered.len() as i64) {
        walk(db, ordered, places)
    } else {
        look_up(db, ordered, places)
    }
}

fn walk(db: &Rocks, ordered: &[(usize, &Recorded)], places: &mut Places<'_>) -> Result<(), StorageError> {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    if let Some((_, last)) = ordered.last() {
        let mut beyond = last.version.data_key().to_vec();
        beyond.push(0);
        options.set_iterate_upper_bound(beyond);
    }
    let mut rows = db.db().raw_iterator_cf_opt(db.cf(Cf::Data)?, options);
    for (at, wanted) in ordered {
        let key = wanted.version.data_key();
        advance(&mut rows, &key);
        match rows.item() {
            Some((found, record)) if found == key => places.set(*at, wanted, record)?,
            _ => {
                rows.status()?;
                return Err(missing(wanted.version));
            }
        }
    }
    Ok(())
}

/// To the row of a key above the current one, if it is there.
fn advance(rows: &mut RawIterator<'_, DB>, key: &[u8; DATA_KEY_BYTES]) {
    if rows.valid() {
        for _ in 0..WALK_ROWS_MAX {
            rows.next();
            match rows.key() {
                Some(found) if found < key.as_slice() => {}
                _ => return,
            }
        }
    }
    rows.seek(key);
}

fn look_up(db: &Rocks, ordered: &[(usize, &Recorded)], places: &mut Places<'_>) -> Result<(), StorageError> {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    let keys: Vec<_> = ordered.iter().map(|(_, w)| w.version.data_key()).collect();
    let found = db
        .db()
        .batched_multi_get_cf_opt(db.cf(Cf::Data)?, keys.iter(), true, &options);
    for ((at, wanted), record) in ordered.iter().zip(found) {
        let record = record?.ok_or_else(|| missing(wanted.version))?;
        places.set(*at, wanted, &record)?;
    }
    Ok(())
}
