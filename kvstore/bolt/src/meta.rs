//! The two meta pages: where the root is, and how far the file goes.

use crate::Error;
use crate::page::{HEADER_BYTES, KIND_META, put_header};
use bytes::{Buf, BufMut};

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// A freelist that was not written (bbolt's `NoFreelistSync`, which etcd turns on).
pub(crate) const NO_FREELIST: u64 = u64::MAX;
/// The fields before the checksum, bytes.
const SUMMED_BYTES: usize = 56;
pub(crate) const META_BYTES: usize = SUMMED_BYTES + 8;
/// Page sizes that bbolt looks for.
const PAGE_BYTES_MIN: u32 = 1 << 10;
const PAGE_BYTES_MAX: u32 = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub page_bytes: u32,
    pub root: u64,
    pub sequence: u64,
    pub freelist: u64,
    /// The first page that is not of the file.
    pub end: u64,
    pub txid: u64,
}

/// FNV-1a of 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

impl Meta {
    /// The page, header and all, padded to the page size.
    pub fn encode(&self, id: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.page_bytes as usize);
        put_header(&mut out, id, KIND_META, 0, 0);
        out.put_u32_le(MAGIC);
        out.put_u32_le(VERSION);
        out.put_u32_le(self.page_bytes);
        out.put_u32_le(0);
        out.put_u64_le(self.root);
        out.put_u64_le(self.sequence);
        out.put_u64_le(self.freelist);
        out.put_u64_le(self.end);
        out.put_u64_le(self.txid);
        let sum = fnv(out.get(HEADER_BYTES..).unwrap_or_default());
        out.put_u64_le(sum);
        out.resize(self.page_bytes as usize, 0);
        out
    }

    /// From a page that begins with its header. The numbers are checked against nothing but themselves.
    pub fn decode(page: &[u8]) -> Result<Meta, Error> {
        let body = page
            .get(HEADER_BYTES..HEADER_BYTES + META_BYTES)
            .ok_or_else(|| Error::damaged("it is too short for a meta page"))?;
        let (summed, mut sum) = body.split_at(SUMMED_BYTES);
        let mut rest = summed;
        let (magic, version) = (rest.get_u32_le(), rest.get_u32_le());
        if magic != MAGIC {
            return Err(Error::damaged("it does not begin as a bbolt file does"));
        }
        if version != VERSION {
            return Err(Error::damaged(format!(
                "its format is version {version}, not {VERSION}"
            )));
        }
        if sum.get_u64_le() != fnv(summed) {
            return Err(Error::damaged("the checksum of a meta page is wrong"));
        }
        let page_bytes = rest.get_u32_le();
        let _flags = rest.get_u32_le();
        if !page_bytes.is_power_of_two() || !(PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&page_bytes) {
            return Err(Error::damaged(format!("its pages have {page_bytes} bytes")));
        }
        Ok(Meta {
            page_bytes,
            root: rest.get_u64_le(),
            sequence: rest.get_u64_le(),
            freelist: rest.get_u64_le(),
            end: rest.get_u64_le(),
            txid: rest.get_u64_le(),
        })
    }
}

/// Where the second meta page may begin, as the page size is known only from a meta page.
pub(crate) fn second_meta_offsets() -> impl Iterator<Item = u64> {
    (0..15).map(|i| u64::from(PAGE_BYTES_MIN) << i)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_checksum_is_fnv_1a() {
        assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let meta = Meta {
            page_bytes: 4096,
            root: 3,
            sequence: 0,
            freelist: 2,
            end: 4,
            txid: 1,
        };
        let page = meta.encode(0);
        assert_eq!(Meta::decode(&page).unwrap(), meta);
        for bit in HEADER_BYTES * 8..(HEADER_BYTES + META_BYTES) * 8 {
            let mut bad = page.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Meta::decode(&bad).is_err(), "bit {bit}");
        }
        assert!(Meta::decode(&page[..40]).is_err());
    }
}
