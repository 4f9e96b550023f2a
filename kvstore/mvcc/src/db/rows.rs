//! How rows are laid out, whichever engine holds them.

use crate::revision::Version;
use prost::encoding::decode_varint;
use smallvec::SmallVec;

pub fn version_key(key: &[u8], version: Version) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + crate::revision::DATA_KEY_BYTES);
    out.extend_from_slice(key);
    out.extend_from_slice(&version.data_key());
    out
}

/// The user key and the version of a row of `key`.
pub fn split_version_key(row: &[u8]) -> Option<(&[u8], Version)> {
    let at = row.len().checked_sub(crate::revision::DATA_KEY_BYTES)?;
    let (key, version) = row.split_at(at);
    Some((key, Version::from_data_key(version)?))
}

/// What the index needs of a version after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyMeta {
    pub create: i64,
    pub version: i64,
    pub lease: i64,
    /// Bytes of its record.
    pub bytes: u32,
}

impl KeyMeta {
    const BYTES_MAX: usize = 4 * 10;

    /// Four varints: few bytes for most versions.
    pub fn encode(&self) -> SmallVec<[u8; Self::BYTES_MAX]> {
        let mut out = SmallVec::new();
        for number in [
            self.create as u64,
            self.version as u64,
            self.lease as u64,
            u64::from(self.bytes),
        ] {
            put_varint(number, &mut out);
        }
        out
    }

    pub fn decode(mut value: &[u8]) -> Option<KeyMeta> {
        let mut next = || decode_varint(&mut value).ok();
        let meta = KeyMeta {
            create: next()? as i64,
            version: next()? as i64,
            lease: next()? as i64,
            bytes: u32::try_from(next()?).ok()?,
        };
        value.is_empty().then_some(meta)
    }
}

fn put_varint<const N: usize>(mut number: u64, out: &mut SmallVec<[u8; N]>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_index_needs_reads_back_and_damage_does_not() {
        for (create, version, lease, bytes) in [(0, 0, 0, 0), (7, 1, -3, 1100), (i64::MAX, 300, i64::MIN, u32::MAX)] {
            let meta = KeyMeta {
                create,
                version,
                lease,
                bytes,
            };
            let encoded = meta.encode();
            assert_eq!(KeyMeta::decode(&encoded), Some(meta));
            assert_eq!(KeyMeta::decode(&encoded[..encoded.len() - 1]), None, "what is cut");
            let mut longer = encoded.to_vec();
            longer.push(0);
            assert_eq!(KeyMeta::decode(&longer), None);
        }
    }
}
