//! Where a file has data: space that was only reserved is none.

use rustix::fs::{SeekFrom, seek};
use std::fs::File;
use std::io;
use std::ops::Range;

/// The parts of a file that are not holes, in order.
pub(super) fn data(file: &File) -> io::Result<Vec<Range<u64>>> {
    let mut all = Vec::new();
    let mut at = 0;
    // Until there is no data after `at` any more.
    while let Some(begin) = find(file, SeekFrom::Data(at))? {
        let end = find(file, SeekFrom::Hole(begin))?.unwrap_or(begin);
        all.push(begin..end);
        at = end.max(begin + 1);
    }
    Ok(all)
}

fn find(file: &File, to: SeekFrom) -> io::Result<Option<u64>> {
    match seek(file, to) {
        Ok(at) => Ok(Some(at)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
