//! The file that `etcdctl snapshot save` leaves: a bbolt file and, behind it, its SHA-256.

use crate::etcd::{Contents, HashSink, Keys, RevKey, Sink, bucket};
use crate::walk::Value;
use crate::{Error, Reader};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

pub const SHA256_BYTES: u64 = 32;
/// bbolt files are whole pages, pages are whole sectors: what is left over tells whether a checksum follows.
const SECTOR_BYTES: u64 = 512;
const READ_BYTES: usize = 1 << 20;

/// Whether a file of this length ends with a checksum.
pub fn has_checksum(bytes: u64) -> bool {
    bytes % SECTOR_BYTES == SHA256_BYTES
}

/// Reads the whole file and compares it with the checksum at its end. False: it has none.
pub fn check_sum(path: &Path) -> Result<bool, Error> {
    let mut file = File::open(path).map_err(|e| Error::at("open", path, e))?;
    let bytes = file
        .metadata()
        .map_err(|e| Error::at("read the size of", path, e))?
        .len();
    if !has_checksum(bytes) {
        return Ok(false);
    }
    let mut left = bytes - SHA256_BYTES;
    let mut buffer = vec![0; READ_BYTES];
    let mut sum = Sha256::new();
    while left > 0 {
        let want = left.min(READ_BYTES as u64) as usize;
        let part = buffer.get_mut(..want).unwrap_or_default();
        file.read_exact(part).map_err(|e| Error::at("read", path, e))?;
        sum.update(part);
        left -= want as u64;
    }
    let mut told = [0; SHA256_BYTES as usize];
    file.read_exact(&mut told).map_err(|e| Error::at("read", path, e))?;
    if sum.finalize()[..] != told {
        return Err(Error::damaged("its SHA-256 is not the one at its end"));
    }
    Ok(true)
}

/// What `etcdutl snapshot status` tells of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// CRC-32C of everything in it.
    pub hash: u32,
    /// The last revision.
    pub revision: i64,
    /// Keys that exist at that revision.
    pub keys: u64,
    /// Bytes of its pages.
    pub bytes: u64,
    /// The storage version it declares; empty before 3.6.
    pub version: String,
}

impl Status {
    /// Checks the file's structure and reads it whole.
    pub fn of(path: &Path) -> Result<Status, Error> {
        let reader = Reader::open(path)?;
        reader.check()?;
        let mut hash = HashSink::of_file();
        let mut revision = 0;
        let mut live: HashSet<Bytes> = HashSet::new();
        for element in reader.root().iter() {
            let element = element?;
            let Value::Bucket(rows) = element.value else {
                return Err(Error::damaged(format!("{} is no bucket", element.key.escape_ascii())));
            };
            hash.name(&element.key);
            let holds_keys = element.key == bucket::KEY;
            for row in rows.iter() {
                let row = row?;
                let Value::Bytes(value) = row.value else {
                    return Err(Error::damaged(format!("{} is a bucket", row.key.escape_ascii())));
                };
                hash.row(&row.key, &value)?;
                if holds_keys {
                    let rev = RevKey::decode(&row.key)
                        .ok_or_else(|| Error::damaged(format!("{} is no revision", row.key.escape_ascii())))?;
                    revision = rev.main;
                    let key = crate::etcd::decode_record(rev, value)?.key;
                    if rev.tombstone {
                        live.remove(&key);
                    } else if !live.contains(&key) {
                        // A slice would keep the page that it is of.
                        live.insert(Bytes::copy_from_slice(&key));
                    }
                }
            }
        }
        Ok(Status {
            hash: hash.hash(),
            revision,
            keys: live.len() as u64,
            bytes: reader.bytes(),
            version: Contents::read(&reader)?.storage_version.unwrap_or_default(),
        })
    }
}

/// The hash of the history of keys in a file, as `etcdutl hashkv` computes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryHash {
    pub hash: u32,
    pub revision: i64,
    /// -1 before the first compaction.
    pub compacted: i64,
}

/// What is seen of each key at one revision: the place of its last version, and whether that is a deletion.
type Seen = HashMap<Bytes, (i64, i64, bool)>;

fn seen_at(keys: &Keys<'_>, revision: i64) -> Result<Seen, Error> {
    let mut seen = Seen::new();
    for row in keys.iter() {
        let (rev, value) = row?;
        if rev.main > revision {
            break;
        }
        let key = Bytes::copy_from_slice(&crate::etcd::decode_record(rev, value)?.key);
        seen.insert(key, (rev.main, rev.sub, rev.tombstone));
    }
    seen.retain(|_, (_, _, tombstone)| !*tombstone);
    Ok(seen)
}

impl HistoryHash {
    /// Up to a revision; 0 is the last one. It reads the file twice or thrice, and holds its keys in memory.
    pub fn of(path: &Path, revision: i64) -> Result<HistoryHash, Error> {
        let reader = Reader::open(path)?;
        let keys = Keys::of(&reader)?;
        let compacted = Contents::read(&reader)?.compacted().unwrap_or(-1);
        let mut last = 1;
        for row in keys.iter() {
            last = row?.0.main;
        }
        let current = last.max(compacted);
        if revision > current {
            return Err(Error::Refused(
                "mvcc: required revision is a future revision".to_owned(),
            ));
        }
        if revision > 0 && revision < compacted {
            return Err(Error::Refused("mvcc: required revision has been compacted".to_owned()));
        }
        let revision = if revision == 0 { current } else { revision };
        let mut seen = seen_at(&keys, revision)?;
        // etcd hashes what is still there when nothing exists at the revision: what the compaction has left.
        if seen.is_empty() {
            seen = seen_at(&keys, compacted)?;
        }
        let mut sum = HashSink::of_file();
        sum.name(bucket::KEY);
        for row in keys.iter() {
            let (rev, value) = row?;
            if rev.main > revision {
                break;
            }
            let key = crate::etcd::decode_record(rev, value.clone())?.key;
            if rev.main > compacted || seen.get(&key) == Some(&(rev.main, rev.sub, false)) {
                sum.row(&rev.encode(), &value)?;
            }
        }
        Ok(HistoryHash {
            hash: sum.hash(),
            revision,
            compacted,
        })
    }
}
