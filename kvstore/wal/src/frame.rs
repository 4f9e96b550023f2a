//! Frames: what the log writes, one after the other, each 8-byte aligned.
//!
//! ```text
//!  0  u32  length of the payload
//!  4  u32  checksum of everything else, salted by the segment
//!  8  u8   type
//!  9  u8   tag (the caller's, or the type's)
//! 10  u16  checksum of the header alone: a damaged length is seen before it is followed
//! 12  u32  offset in the segment where the batch of this frame began
//! 16  u64  term
//! 24  u64  index
//! 32       payload, then zeros up to a multiple of 8
//! ```
//! All integers are little-endian.
use crate::PAYLOAD_BYTES_MAX;

pub(crate) const FRAME_HEADER_BYTES: usize = 32;
pub(crate) const FRAME_ALIGN: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Entry = 1,
    /// term, index = node, tag bit 0 = committed.
    Vote = 2,
    /// Entries above `index` are gone; tag 1 = all are.
    Truncate = 3,
    /// Entries up to (term, index) are gone.
    Purge = 4,
    /// The last frame of a segment that has a successor.
    Seal = 5,
    /// No content: a batch of its own that proves the batch before it durable.
    Mark = 6,
}

impl Kind {
    fn from_u8(v: u8) -> Option<Kind> {
        Some(match v {
            1 => Kind::Entry,
            2 => Kind::Vote,
            3 => Kind::Truncate,
            4 => Kind::Purge,
            5 => Kind::Seal,
            6 => Kind::Mark,
            _ => return None,
        })
    }
}

/// Whether a frame may have this type byte.
pub(crate) fn is_kind(byte: u8) -> bool {
    Kind::from_u8(byte).is_some()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub len: u32,
    pub kind: Kind,
    pub tag: u8,
    pub batch: u32,
    pub term: u64,
    pub index: u64,
    crc: u32,
}

/// Bytes a frame takes with its padding.
pub(crate) fn frame_bytes(payload: usize) -> usize {
    FRAME_HEADER_BYTES + payload.next_multiple_of(FRAME_ALIGN)
}

fn header_hasher(salt: u32, h: &[u8; FRAME_HEADER_BYTES]) -> crc32fast::Hasher {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(&h[0..4]);
    hasher.update(&h[8..10]);
    hasher.update(&h[12..32]);
    hasher
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameMeta {
    pub kind: Kind,
    pub tag: u8,
    pub batch: u32,
    pub term: u64,
    pub index: u64,
}

/// Appends one frame to `out`.
pub(crate) fn encode(out: &mut Vec<u8>, salt: u32, meta: FrameMeta, payload: &[u8]) {
    debug_assert!(payload.len() <= PAYLOAD_BYTES_MAX);
    let mut h = [0u8; FRAME_HEADER_BYTES];
    h[0..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    h[8] = meta.kind as u8;
    h[9] = meta.tag;
    h[12..16].copy_from_slice(&meta.batch.to_le_bytes());
    h[16..24].copy_from_slice(&meta.term.to_le_bytes());
    h[24..32].copy_from_slice(&meta.index.to_le_bytes());
    let mut hasher = header_hasher(salt, &h);
    let check = hasher.clone().finalize() as u16;
    h[10..12].copy_from_slice(&check.to_le_bytes());
    hasher.update(payload);
    h[4..8].copy_from_slice(&hasher.finalize().to_le_bytes());
    out.extend_from_slice(&h);
    out.extend_from_slice(payload);
    let padding = payload.len().next_multiple_of(FRAME_ALIGN) - payload.len();
    out.extend_from_slice(&[0u8; FRAME_ALIGN][..padding]);
}

fn u32_at(b: &[u8; FRAME_HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

fn u64_at(b: &[u8; FRAME_HEADER_BYTES], at: usize) -> u64 {
    let mut v = [0u8; 8];
    v.copy_from_slice(&b[at..at + 8]);
    u64::from_le_bytes(v)
}

/// Reads a header, or says why these bytes are none. Cheap tests come first: recovery tries this at many offsets.
pub(crate) fn decode_header(salt: u32, bytes: &[u8]) -> Result<Header, &'static str> {
    let Some(h) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else {
        return Err("the file ends inside a frame header");
    };
    let Some(kind) = Kind::from_u8(h[8]) else {
        return Err("not a frame");
    };
    let len = u32_at(h, 0);
    if len as usize > PAYLOAD_BYTES_MAX {
        return Err("the frame's length is over the limit");
    }
    let hasher = header_hasher(salt, h);
    if (hasher.finalize() as u16).to_le_bytes() != [h[10], h[11]] {
        return Err("the frame header's checksum is wrong");
    }
    Ok(Header {
        len,
        kind,
        tag: h[9],
        batch: u32_at(h, 12),
        term: u64_at(h, 16),
        index: u64_at(h, 24),
        crc: u32_at(h, 4),
    })
}

/// Whether the whole frame, header and payload, is what was written.
pub(crate) fn payload_is_intact(salt: u32, header: &Header, frame: &[u8]) -> bool {
    let Some(h) = frame.first_chunk::<FRAME_HEADER_BYTES>() else {
        return false;
    };
    let Some(payload) = frame.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.len as usize) else {
        return false;
    };
    let mut hasher = header_hasher(salt, h);
    hasher.update(payload);
    hasher.finalize() == header.crc
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        let meta = FrameMeta {
            kind: Kind::Entry,
            tag: 7,
            batch: 128,
            term: 3,
            index: 42,
        };
        encode(&mut out, 99, meta, b"hello");
        out
    }

    #[test]
    fn a_frame_comes_back() {
        let bytes = sample();
        assert_eq!(bytes.len(), frame_bytes(5));
        let h = decode_header(99, &bytes).unwrap();
        assert_eq!(
            (h.len, h.kind, h.tag, h.batch, h.term, h.index),
            (5, Kind::Entry, 7, 128, 3, 42)
        );
        assert!(payload_is_intact(99, &h, &bytes));
    }

    #[test]
    fn another_salt_does_not_read_it() {
        assert!(decode_header(98, &sample()).is_err());
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let good = sample();
        for bit in 0..(FRAME_HEADER_BYTES + 5) * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let intact = decode_header(99, &bad).is_ok_and(|h| payload_is_intact(99, &h, &bad));
            assert!(!intact, "bit {bit} went unseen");
        }
    }
}
