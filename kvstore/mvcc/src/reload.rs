//! Fills the index from the rows of `key`, in parts side by side.
//!
//! Rows sort by user key and then by version, but as bytes of one: where a key continues another with zeros, rows of the
//! shorter one may come after rows of the longer. What is out of order is put in at the end, one by one.

use crate::db::{Cf, Db, KeyMeta, split_version_key};
use crate::index::{Builder, Built, KeyIndex, Recorded};
use crate::revision::Version;
use crate::state_machine::StorageError;
use bytes::Bytes;
use std::thread;

/// Threads that read at once.
const PARTS_MAX: usize = 8;

/// What was read.
pub struct Loaded {
    pub index: KeyIndex,
    /// Versions with a lease, whether or not they are the latest of their key.
    pub attached: Vec<(Bytes, Version, i64)>,
}

/// One version, out of order.
struct Straggler {
    key: Bytes,
    change: Recorded,
    create: i64,
    version: i64,
}

struct Part {
    built: Built,
    stragglers: Vec<Straggler>,
    attached: Vec<(Bytes, Version, i64)>,
}

pub fn index(db: &Db) -> Result<Loaded, StorageError> {
    let shares = thread::available_parallelism().map_or(1, usize::from).min(PARTS_MAX);
    let begins = db.key_parts(shares)?;
    let mut parts = Vec::with_capacity(begins.len() + 1);
    if begins.is_empty() {
        parts.push(part(db, b"", None)?);
    } else {
        let ends = begins.iter().map(Some).chain([None]);
        let bounds = [Bytes::new()].into_iter().chain(begins.iter().cloned()).zip(ends);
        thread::scope(|scope| {
            let reading: Vec<_> = bounds
                .map(|(from, to)| scope.spawn(move || part(db, &from, to.map(Bytes::as_ref))))
                .collect();
            for reader in reading {
                let read = reader.join();
                parts.push(read.map_err(|_| StorageError("a reader of `key` panicked".to_owned()))??);
            }
            Ok::<_, StorageError>(())
        })?;
    }
    let (mut built, mut stragglers, mut attached) = (Vec::new(), Vec::new(), Vec::new());
    for part in parts {
        built.push(part.built);
        stragglers.extend(part.stragglers);
        attached.extend(part.attached);
    }
    let mut index = KeyIndex::of(built);
    for s in stragglers {
        index.load(&s.key, s.change, s.create, s.version);
    }
    Ok(Loaded { index, attached })
}

/// The rows from a key on and before another.
fn part(db: &Db, from: &[u8], to: Option<&[u8]>) -> Result<Part, StorageError> {
    let mut builder = Builder::from(from);
    let (mut stragglers, mut attached) = (Vec::new(), Vec::new());
    db.scan(Cf::Key, from, |row, value| {
        if to.is_some_and(|to| row >= to) {
            return Ok(false);
        }
        let (key, version, meta) = split_version_key(row)
            .and_then(|(key, version)| Some((key, version, KeyMeta::decode(value)?)))
            .ok_or_else(|| StorageError("a row of `key` is damaged".to_owned()))?;
        let change = Recorded {
            version,
            bytes: meta.bytes,
        };
        if !builder.push(key, change, meta.create, meta.version) {
            stragglers.push(Straggler {
                key: Bytes::copy_from_slice(key),
                change,
                create: meta.create,
                version: meta.version,
            });
        }
        if meta.lease != 0 {
            attached.push((Bytes::copy_from_slice(key), version, meta.lease));
        }
        Ok(true)
    })?;
    Ok(Part {
        built: builder.finish(),
        stragglers,
        attached,
    })
}
