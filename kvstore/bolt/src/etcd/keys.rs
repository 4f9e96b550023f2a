//! The bucket `key`: revision to version of a key.

use super::bucket;
use crate::walk::{Element, Iter, Value};
use crate::{Error, Reader};
use bytes::{Buf, BufMut, Bytes};
use keelson_proto::mvccpb::KeyValue;
use prost::Message;

const PLAIN_BYTES: usize = 17;
const MARKED_BYTES: usize = 18;
const SEPARATOR: u8 = b'_';
const TOMBSTONE: u8 = b't';

/// The key of a row: main and sub revision, and whether it is a deletion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RevKey {
    pub main: i64,
    pub sub: i64,
    pub tombstone: bool,
}

impl RevKey {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(MARKED_BYTES);
        out.put_i64(self.main);
        out.put_u8(SEPARATOR);
        out.put_i64(self.sub);
        if self.tombstone {
            out.put_u8(TOMBSTONE);
        }
        out
    }

    pub fn decode(mut key: &[u8]) -> Option<RevKey> {
        let tombstone = match key {
            [_, .., TOMBSTONE] if key.len() == MARKED_BYTES => true,
            _ if key.len() == PLAIN_BYTES => false,
            _ => return None,
        };
        let main = key.get_i64();
        let separator = key.get_u8();
        let sub = key.get_i64();
        (separator == SEPARATOR && main >= 0 && sub >= 0).then_some(RevKey { main, sub, tombstone })
    }
}

/// A source of versions, ascending by revision: the file's own, or our store's.
pub trait Versions {
    type Error;
    /// The next one; `None` at the end.
    fn next(&mut self) -> Result<Option<(RevKey, Bytes)>, Self::Error>;
}

/// The bucket `key` of a file.
pub struct Keys<'a>(crate::Bucket<'a>);

impl<'a> Keys<'a> {
    pub fn of(reader: &'a Reader) -> Result<Keys<'a>, Error> {
        let bucket = reader.bucket(bucket::KEY)?;
        bucket
            .map(Keys)
            .ok_or_else(|| Error::Refused("the file has no bucket `key`: it is not etcd's".to_owned()))
    }

    /// Every version, ascending.
    pub fn iter(&self) -> KeyIter<'a> {
        KeyIter(self.0.iter())
    }
}

/// Versions of keys, decoded as far as their place.
pub struct KeyIter<'a>(Iter<'a, 'static>);

impl Iterator for KeyIter<'_> {
    type Item = Result<(RevKey, Bytes), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let Element { key, value } = match self.0.next()? {
            Ok(element) => element,
            Err(error) => return Some(Err(error)),
        };
        let (Some(rev), Value::Bytes(value)) = (RevKey::decode(&key), value) else {
            return Some(Err(Error::damaged(format!(
                "bucket key: {} is no revision",
                key.escape_ascii()
            ))));
        };
        Some(Ok((rev, value)))
    }
}

/// The record of a version, decoded.
pub fn decode_record(rev: RevKey, value: Bytes) -> Result<KeyValue, Error> {
    KeyValue::decode(value).map_err(|e| Error::damaged(format!("the record of revision {}.{}: {e}", rev.main, rev.sub)))
}

impl Versions for KeyIter<'_> {
    type Error = Error;

    fn next(&mut self) -> Result<Option<(RevKey, Bytes)>, Error> {
        Iterator::next(self).transpose()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn revisions_read_back_and_sort() {
        let revs = [
            (0, 0, false),
            (1, 0, false),
            (1, 1, true),
            (256, 0, true),
            (i64::MAX, 7, false),
        ];
        let encoded: Vec<_> = revs
            .iter()
            .map(|&(main, sub, tombstone)| RevKey { main, sub, tombstone }.encode())
            .collect();
        assert!(encoded.windows(2).all(|w| w[0] < w[1]));
        for (bytes, (main, sub, tombstone)) in encoded.iter().zip(revs) {
            assert_eq!(RevKey::decode(bytes).unwrap(), RevKey { main, sub, tombstone });
        }
        assert_eq!(encoded[2], *b"\0\0\0\0\0\0\0\x01_\0\0\0\0\0\0\0\x01t");
        for bad in [b"".as_slice(), &[0xff; 17], &[0; 17], &[b'_'; 18], &[b't'; 16]] {
            assert_eq!(RevKey::decode(bad), None);
        }
    }
}
