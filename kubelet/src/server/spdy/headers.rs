//! Name/value header blocks, compressed (SPDY/3.1, section 2.6.10).
//!
//! All blocks of a direction are one zlib stream over a preset dictionary. Blocks are written as stored deflate
//! blocks: they refer to nothing in the dictionary, so its checksum is all that is needed of it, and the few
//! hundred bytes of a connection are not worth a compressor.

/// CMF and FLG of a zlib header with FDICT (RFC 1950), then the Adler-32 of the SPDY/3 dictionary.
const ZLIB_HEADER: [u8; 6] = [0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2];
/// An empty stored block: what a zlib sync flush ends with. Readers give out what they have when they see it.
const SYNC: [u8; 5] = [0x00, 0x00, 0x00, 0xff, 0xff];
/// What one stored block holds.
const STORED_BYTES_MAX: usize = 0xffff;

/// The sending direction of one connection.
#[derive(Default)]
pub struct Compressor {
    started: bool,
}

impl Compressor {
    /// One block. Names must be in lower case.
    pub fn block(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut plain = Vec::new();
        number(&mut plain, headers.len());
        for (name, value) in headers {
            for part in [name, value] {
                number(&mut plain, part.len());
                plain.extend_from_slice(part.as_bytes());
            }
        }
        let mut out = Vec::with_capacity(plain.len() + 16);
        if !std::mem::replace(&mut self.started, true) {
            out.extend_from_slice(&ZLIB_HEADER);
        }
        for part in plain.chunks(STORED_BYTES_MAX) {
            let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
            out.push(0);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&(!length).to_le_bytes());
            out.extend_from_slice(part);
        }
        out.extend_from_slice(&SYNC);
        out
    }
}

fn number(out: &mut Vec<u8>, n: usize) {
    out.extend_from_slice(&u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_stream_over_all_blocks() {
        let mut c = Compressor::default();
        let first = c.block(&[("streamtype", "error")]);
        assert_eq!(first[..6], ZLIB_HEADER);
        // Stored block of 27 bytes: a count, and two lengths with their texts.
        assert_eq!(first[6..11], [0, 27, 0, 228, 255]);
        assert_eq!(&first[11..15], &[0, 0, 0, 1]);
        assert_eq!(&first[19..29], b"streamtype");
        assert!(first.ends_with(&SYNC));
        let second = c.block(&[]);
        assert_eq!(second, [&[0, 4, 0, 251, 255, 0, 0, 0, 0][..], &SYNC[..]].concat());
        // RFC 1950: the first two bytes are a multiple of 31 as a number.
        assert_eq!(u16::from_be_bytes([ZLIB_HEADER[0], ZLIB_HEADER[1]]) % 31, 0);
    }

    #[test]
    fn long_headers_take_several_stored_blocks() {
        let long = "x".repeat(100_000);
        let block = Compressor::default().block(&[("a", &long)]);
        assert_eq!(block[6..9], [0, 255, 255]);
        let second = 6 + 5 + STORED_BYTES_MAX;
        let rest = u16::try_from(4 + 4 + 1 + 4 + 100_000 - STORED_BYTES_MAX).unwrap();
        assert_eq!(block[second + 1..second + 3], rest.to_le_bytes());
    }
}
