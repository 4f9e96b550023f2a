//! Reads entries back from the files, by their places.
use crate::{
    Entry, EntryId, Error,
    frame::{self, FRAME_HEADER_BYTES, Kind},
    log::Slot,
    segment::SegmentFile,
};
use bytes::Bytes;
use std::os::unix::fs::FileExt;

/// Bytes read at once when entries lie next to each other.
const CHUNK_BYTES: usize = 256 << 10;
/// Entries that one call reads at most.
pub(crate) const READ_ENTRIES_MAX: usize = 4096;

/// A piece of a file in memory; entries of one segment mostly follow each other.
#[derive(Default)]
struct Chunk {
    segment: Option<u32>,
    at: u64,
    bytes: Vec<u8>,
}

impl Chunk {
    fn get(&mut self, segment: u32, file: &SegmentFile, at: u64, len: usize) -> Result<&[u8], Error> {
        let end = at + len as u64;
        let held = self.segment == Some(segment) && at >= self.at && end <= self.at + self.bytes.len() as u64;
        if !held {
            self.segment = None;
            self.bytes.resize(len.max(CHUNK_BYTES), 0);
            let mut filled = 0;
            while filled < self.bytes.len() {
                let n = file
                    .file
                    .read_at(&mut self.bytes[filled..], at + filled as u64)
                    .map_err(|e| Error::io(format!("read {} at {at}", file.path.display()), e))?;
                if n == 0 {
                    break;
                }
                filled += n;
            }
            self.bytes.truncate(filled);
            self.at = at;
            self.segment = Some(segment);
        }
        let start = (at - self.at) as usize;
        self.bytes
            .get(start..start + len)
            .ok_or_else(|| damaged(file, at, "the file ends inside an entry"))
    }
}

fn damaged(file: &SegmentFile, offset: u64, what: &str) -> Error {
    Error::Damaged {
        file: file.path.to_path_buf(),
        offset,
        what: what.into(),
    }
}

/// Entries from index `first` on at `slots`, up to `bytes_max` of payload but at least one.
pub(crate) fn read_slots(first: u64, slots: &[(Slot, SegmentFile)], bytes_max: usize) -> Result<Vec<Entry>, Error> {
    let mut chunk = Chunk::default();
    let mut out = Vec::with_capacity(slots.len().min(64));
    let mut bytes = 0;
    for ((slot, file), index) in slots.iter().zip(first..) {
        if bytes >= bytes_max && !out.is_empty() {
            break;
        }
        let at = u64::from(slot.offset);
        let head = chunk.get(slot.segment, file, at, FRAME_HEADER_BYTES)?;
        let header = frame::decode_header(file.salt, head).map_err(|why| damaged(file, at, why))?;
        let whole = chunk.get(slot.segment, file, at, FRAME_HEADER_BYTES + header.len as usize)?;
        if !frame::payload_is_intact(file.salt, &header, whole) {
            return Err(damaged(file, at, "the frame's checksum is wrong"));
        }
        if header.kind != Kind::Entry || header.index != index {
            return Err(damaged(file, at, "another frame stands where an entry was written"));
        }
        let payload = whole
            .get(FRAME_HEADER_BYTES..)
            .map(Bytes::copy_from_slice)
            .unwrap_or_default();
        bytes += payload.len();
        out.push(Entry {
            id: EntryId {
                term: header.term,
                index,
            },
            tag: header.tag,
            payload,
        });
    }
    Ok(out)
}
