//! Bits that flip in files at rest.

use super::extents;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Attempts for each flip to hit what is not a zero.
const ATTEMPTS_MAX: usize = 1000;

/// A part of a file that has data.
type Part = (PathBuf, Range<u64>);

/// Flips bits anywhere in the files that are wanted. A place is as likely as any other,
/// except that zeros are left alone: most are space that was only reserved. Returns where.
pub(super) fn flip(
    folder: &Path,
    flips: usize,
    seed: u64,
    wanted: impl Fn(&Path) -> bool,
) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.retain(|path| wanted(path));
    // The order of a folder is not told by the seed.
    files.sort();
    let mut places: Vec<Part> = Vec::new();
    for path in files {
        let data = extents::data(&File::open(&path)?)?;
        places.extend(data.into_iter().map(|part| (path.clone(), part)));
    }
    let total: u64 = places.iter().map(|(_, part)| part.end - part.start).sum();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut done = Vec::new();
    if total == 0 {
        return Ok(done);
    }
    for _ in 0..flips {
        for _ in 0..ATTEMPTS_MAX {
            let (path, offset) = place(&places, rng.random_range(0..total));
            let bit = rng.random_range(0..8);
            if flip_at(path, offset, bit)? {
                done.push((path.strip_prefix(folder).unwrap_or(path).to_owned(), offset));
                break;
            }
        }
    }
    Ok(done)
}

/// Where the byte number `at` is, all parts taken one after another.
fn place(places: &[Part], mut at: u64) -> (&Path, u64) {
    for (path, part) in places {
        let bytes = part.end - part.start;
        if at < bytes {
            return (path, part.start + at);
        }
        at -= bytes;
    }
    // Not reached for numbers below the sum.
    (&places[0].0, places[0].1.start)
}

fn flip_at(path: &Path, offset: u64, bit: u8) -> io::Result<bool> {
    let file = File::options().read(true).write(true).open(path)?;
    let mut byte = [0];
    // A part may end behind the file, within a block.
    if file.read_at(&mut byte, offset)? == 0 || byte[0] == 0 {
        return Ok(false);
    }
    file.write_all_at(&[byte[0] ^ (1 << bit)], offset)?;
    Ok(true)
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let kind = std::fs::symlink_metadata(&path)?;
        if kind.is_dir() {
            list(&path, files)?;
        } else if kind.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_seed_tells_which_bits_flip_and_zeros_stay() {
        let make = || {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("a.log"), [0; 5000]).unwrap();
            std::fs::write(dir.path().join("b.log"), [0xff; 5000]).unwrap();
            std::fs::write(dir.path().join("lock"), [0xff; 5000]).unwrap();
            dir
        };
        let (one, two) = (make(), make());
        let logs = |path: &Path| path.extension().is_some_and(|e| e == "log");
        let places = flip(one.path(), 3, 7, logs).unwrap();
        assert_eq!(places, flip(two.path(), 3, 7, logs).unwrap());
        assert_eq!(places.len(), 3);
        let text = std::fs::read(one.path().join("b.log")).unwrap();
        assert_eq!(text.iter().filter(|b| **b != 0xff).count(), 3);
        assert_eq!(std::fs::read(one.path().join("a.log")).unwrap(), [0; 5000]);
        assert_eq!(std::fs::read(one.path().join("lock")).unwrap(), [0xff; 5000]);
    }
}
