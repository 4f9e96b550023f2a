//! What is in the files of a disk, and how much of it is gone after the power was.

use super::extents;
use serde::Serialize;
use std::collections::{BTreeMap, hash_map::DefaultHasher};
use std::fs::File;
use std::hash::Hasher;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Content is compared in pieces of this size.
const PIECE_BYTES: usize = 4096;
const ZEROS: [u8; PIECE_BYTES] = [0; PIECE_BYTES];

/// Hashes of the pieces of every file below a folder.
#[derive(Debug)]
pub(super) struct Survey {
    files: BTreeMap<PathBuf, BTreeMap<u64, u64>>,
    bytes: u64,
}

/// What a power loss took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Bytes of pieces that are missing or other than they were.
    pub bytes: u64,
    /// Files that such pieces were in.
    pub files: u64,
    /// What there was in all, zeros apart.
    pub of_bytes: u64,
}

impl Survey {
    pub(super) fn take(folder: &Path) -> io::Result<Survey> {
        let mut survey = Survey {
            files: BTreeMap::new(),
            bytes: 0,
        };
        survey.walk(folder, folder)?;
        Ok(survey)
    }

    fn walk(&mut self, root: &Path, folder: &Path) -> io::Result<()> {
        let entries = match std::fs::read_dir(folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for entry in entries {
            let path = entry?.path();
            let kind = std::fs::symlink_metadata(&path)?;
            if kind.is_dir() {
                self.walk(root, &path)?;
            } else if kind.is_file() {
                let pieces = pieces(&path)?;
                self.bytes += (pieces.len() * PIECE_BYTES) as u64;
                let name = path.strip_prefix(root).unwrap_or(&path);
                self.files.insert(name.to_owned(), pieces);
            }
        }
        Ok(())
    }

    /// What was there before and is not in `after`.
    pub(super) fn lost(&self, after: &Survey) -> Loss {
        let mut loss = Loss {
            of_bytes: self.bytes,
            ..Loss::default()
        };
        let nothing = BTreeMap::new();
        for (name, before) in &self.files {
            let now = after.files.get(name).unwrap_or(&nothing);
            let gone = before.iter().filter(|(at, piece)| now.get(at) != Some(piece)).count();
            loss.bytes += (gone * PIECE_BYTES) as u64;
            loss.files += u64::from(gone > 0);
        }
        loss
    }
}

/// The hash of every piece that is not of zeros, by its number.
fn pieces(path: &Path) -> io::Result<BTreeMap<u64, u64>> {
    let file = File::open(path)?;
    let mut all = BTreeMap::new();
    let mut piece = vec![0; PIECE_BYTES];
    for part in extents::data(&file)? {
        let numbers = part.start / PIECE_BYTES as u64..part.end.div_ceil(PIECE_BYTES as u64);
        for number in numbers {
            let mut filled = 0;
            while filled < PIECE_BYTES {
                match file.read_at(&mut piece[filled..], number * PIECE_BYTES as u64 + filled as u64)? {
                    0 => break,
                    n => filled += n,
                }
            }
            // Zeros are what a file begins with: to lose them is to lose nothing.
            if piece[..filled] != ZEROS[..filled] {
                all.insert(number, hash(&piece[..filled]));
            }
        }
    }
    Ok(all)
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_missing_is_counted_in_pieces_and_what_is_new_is_not() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("sub/log"), vec![7; 3 * PIECE_BYTES]).unwrap();
        std::fs::write(dir.path().join("gone"), vec![1; 10]).unwrap();
        std::fs::write(dir.path().join("zeros"), vec![0; PIECE_BYTES]).unwrap();
        let hole = File::create(dir.path().join("hole")).unwrap();
        hole.set_len(1 << 30).unwrap();
        hole.write_all_at(&[1], 1 << 29).unwrap();
        let before = Survey::take(dir.path()).unwrap();
        assert_eq!(before.lost(&before).bytes, 0);
        std::fs::write(dir.path().join("sub/log"), vec![7; PIECE_BYTES]).unwrap();
        std::fs::remove_file(dir.path().join("gone")).unwrap();
        std::fs::remove_file(dir.path().join("zeros")).unwrap();
        hole.set_len(0).unwrap();
        std::fs::write(dir.path().join("new"), "more").unwrap();
        let loss = before.lost(&Survey::take(dir.path()).unwrap());
        assert_eq!(
            (loss.bytes, loss.files, loss.of_bytes),
            (4 * PIECE_BYTES as u64, 3, 5 * PIECE_BYTES as u64)
        );
    }
}
