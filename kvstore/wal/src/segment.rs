//! Files of the log: their names, their headers, how they are made and reused.
//!
//! A segment starts with a header of 128 bytes that carries the vote and the purge point as they stood when it was
//! made, so that older segments can go without taking state along. It is made under a temporary name and renamed when
//! its header is durable: a segment that has its name has a header.
use crate::{Disk, EntryId, Error, Vote};
use rustix::fs::FallocateFlags;
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

pub(crate) const SEGMENT_HEADER_BYTES: usize = 128;
const MAGIC: &[u8; 8] = b"KEELWAL\0";
const FORMAT: u32 = 1;
/// Offsets in a segment are 32 bits wide.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 1 << 31;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub id: u64,
    pub salt: u32,
    pub cluster_id: u64,
    pub node_id: u64,
    pub vote: Option<Vote>,
    pub purged: Option<EntryId>,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut b = [0u8; SEGMENT_HEADER_BYTES];
        b[0..8].copy_from_slice(MAGIC);
        b[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        b[12..16].copy_from_slice(&self.salt.to_le_bytes());
        b[16..24].copy_from_slice(&self.id.to_le_bytes());
        b[24..32].copy_from_slice(&self.cluster_id.to_le_bytes());
        b[32..40].copy_from_slice(&self.node_id.to_le_bytes());
        if let Some(v) = self.vote {
            b[40] = 1 | (u8::from(v.committed) << 1);
            b[48..56].copy_from_slice(&v.term.to_le_bytes());
            b[56..64].copy_from_slice(&v.node.to_le_bytes());
        }
        if let Some(p) = self.purged {
            b[41] = 1;
            b[64..72].copy_from_slice(&p.term.to_le_bytes());
            b[72..80].copy_from_slice(&p.index.to_le_bytes());
        }
        let crc = crc32fast::hash(&b[..SEGMENT_HEADER_BYTES - 4]);
        b[SEGMENT_HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        b
    }

    pub(crate) fn decode(file: &Path, b: &[u8; SEGMENT_HEADER_BYTES]) -> Result<Self, Error> {
        let damaged = |what: &str| Error::Damaged {
            file: file.to_owned(),
            offset: 0,
            what: what.into(),
        };
        let u32_at = |at: usize| u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | (u64::from(u32_at(at + 4)) << 32);
        if &b[0..8] != MAGIC {
            return Err(damaged("the segment header is not there"));
        }
        if u32_at(8) != FORMAT {
            return Err(Error::Version {
                file: file.to_owned(),
                found: u32_at(8),
                known: FORMAT,
            });
        }
        if crc32fast::hash(&b[..SEGMENT_HEADER_BYTES - 4]) != u32_at(SEGMENT_HEADER_BYTES - 4) {
            return Err(damaged("the segment header's checksum is wrong"));
        }
        let vote = (b[40] & 1 != 0).then(|| Vote {
            committed: b[40] & 2 != 0,
            term: u64_at(48),
            node: u64_at(56),
        });
        let purged = (b[41] != 0).then(|| EntryId {
            term: u64_at(64),
            index: u64_at(72),
        });
        Ok(SegmentHeader {
            id: u64_at(16),
            salt: u32_at(12),
            cluster_id: u64_at(24),
            node_id: u64_at(32),
            vote,
            purged,
        })
    }
}

/// What readers need of one segment.
#[derive(Clone, Debug)]
pub(crate) struct SegmentFile {
    pub file: Arc<File>,
    pub path: Arc<Path>,
    pub salt: u32,
}

/// A segment the writer may append to.
#[derive(Debug)]
pub(crate) struct Active {
    pub id: u64,
    pub file: SegmentFile,
    /// Where the next frame goes.
    pub at: u64,
    pub capacity: u64,
    /// Up to here the file's blocks have been written before.
    pub prewritten: u64,
}

pub(crate) fn segment_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:016x}.wal"))
}

fn spare_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:016x}.spare"))
}

pub(crate) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(|e| Error::io(format!("sync folder {}", dir.display()), e))
}

/// The lock that keeps a second process out; held as long as the value lives.
#[derive(Debug)]
pub(crate) struct DirLock(#[allow(dead_code, reason = "the open file is the lock")] File);

impl DirLock {
    pub(crate) fn take(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("LOCK");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| Error::io(format!("open {}", path.display()), e))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(DirLock(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Locked { dir: dir.to_owned() }),
            Err(e) => Err(Error::io(format!("lock {}", path.display()), e)),
        }
    }
}

/// What a folder holds.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Ids in ascending order.
    pub segments: Vec<u64>,
    pub spares: Vec<PathBuf>,
}

/// Lists the folder and removes what an interrupted creation left.
pub(crate) fn list(dir: &Path) -> Result<Listing, Error> {
    let fail = |e: io::Error| Error::io(format!("list {}", dir.display()), e);
    let mut found = Listing::default();
    for entry in fs::read_dir(dir).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        match path.extension().and_then(|e| e.to_str()) {
            Some("wal") => match u64::from_str_radix(stem, 16) {
                Ok(id) => found.segments.push(id),
                Err(_) => {
                    let what = "its name is not a segment's; move the file away if it does not belong here".into();
                    return Err(Error::Damaged {
                        file: path,
                        offset: 0,
                        what,
                    });
                }
            },
            Some("spare") => found.spares.push(path),
            Some("tmp") => fs::remove_file(&path).map_err(fail)?,
            _ => {}
        }
    }
    found.segments.sort_unstable();
    found.spares.sort_unstable();
    Ok(found)
}

/// Makes segment `header.id` durable and empty, from a spare file if one of the right size is at hand.
pub(crate) fn create(
    dir: &Path,
    disk: &dyn Disk,
    mut header: SegmentHeader,
    capacity: u64,
    spare: Option<PathBuf>,
) -> Result<Active, Error> {
    // A file reused under the same id after a lost rename must not agree.
    header.salt = disk.random() | 1;
    let path = segment_path(dir, header.id);
    let fail = |e: io::Error| Error::io(format!("make segment {}", path.display()), e);
    let mut recycled = None;
    if let Some(spare) = spare {
        let file = OpenOptions::new().read(true).write(true).open(&spare).map_err(fail)?;
        if file.metadata().map_err(fail)?.len() == capacity {
            recycled = Some((spare, file));
        } else {
            fs::remove_file(&spare).map_err(fail)?;
        }
    }
    let reused = recycled.is_some();
    let (made_at, file) = match recycled {
        Some(r) => r,
        None => {
            let tmp = path.with_extension("tmp");
            let file = OpenOptions::new()
                .create(true)
                .truncate(true)
                .read(true)
                .write(true)
                .mode(0o600)
                .open(&tmp)
                .map_err(fail)?;
            allocate(&file, capacity).map_err(fail)?;
            (tmp, file)
        }
    };
    file.write_all_at(&header.encode(), 0).map_err(fail)?;
    file.sync_all().map_err(fail)?;
    fs::rename(&made_at, &path).map_err(fail)?;
    sync_dir(dir)?;
    let file = SegmentFile {
        file: Arc::new(file),
        path: path.into(),
        salt: header.salt,
    };
    let at = SEGMENT_HEADER_BYTES as u64;
    Ok(Active {
        id: header.id,
        file,
        at,
        capacity,
        prewritten: if reused { capacity } else { at },
    })
}

/// Takes the whole size at once, so that a full disk is met when a segment is made and not inside a batch.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        // Not every file system can.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(bytes),
        Err(e) => Err(e.into()),
    }
}

/// Turns a segment that nobody reads any more into a spare.
pub(crate) fn retire(dir: &Path, id: u64) -> Result<PathBuf, Error> {
    let (from, to) = (segment_path(dir, id), spare_path(dir, id));
    fs::rename(&from, &to).map_err(|e| Error::io(format!("retire segment {}", from.display()), e))?;
    Ok(to)
}

pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    fs::remove_file(path).map_err(|e| Error::io(format!("remove {}", path.display()), e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_header_comes_back_and_a_flipped_bit_is_seen() {
        let header = SegmentHeader {
            id: 9,
            salt: 77,
            cluster_id: 1,
            node_id: 2,
            vote: Some(Vote {
                term: 4,
                node: 2,
                committed: true,
            }),
            purged: Some(EntryId { term: 3, index: 1000 }),
        };
        let bytes = header.encode();
        let path = Path::new("x.wal");
        assert_eq!(SegmentHeader::decode(path, &bytes).unwrap(), header);
        for bit in 0..SEGMENT_HEADER_BYTES * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(path, &bad).is_err(), "bit {bit} went unseen");
        }
    }

    #[test]
    fn a_second_lock_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::take(dir.path()).unwrap();
        assert!(matches!(DirLock::take(dir.path()), Err(Error::Locked { .. })));
        drop(first);
        DirLock::take(dir.path()).unwrap();
    }
}
