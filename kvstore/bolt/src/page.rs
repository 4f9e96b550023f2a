//! A page as it lies in the file: a header, an array of elements, and the keys and values that they point at.

use crate::Error;
use bytes::{Buf, BufMut, Bytes};

/// Id (8), kind (2), number of elements (2), further pages of the run (4).
pub(crate) const HEADER_BYTES: usize = 16;
/// Flags, position, key and value length, 4 bytes each.
pub(crate) const LEAF_ELEMENT_BYTES: usize = 16;
/// Position and key length (4 each), page (8).
pub(crate) const BRANCH_ELEMENT_BYTES: usize = 16;
/// Root page (8) and sequence (8): the value of a bucket's row.
pub(crate) const BUCKET_BYTES: usize = 16;

pub(crate) const KIND_BRANCH: u16 = 0x01;
pub(crate) const KIND_LEAF: u16 = 0x02;
pub(crate) const KIND_META: u16 = 0x04;
pub(crate) const KIND_FREELIST: u16 = 0x10;
/// The row of a leaf is a bucket.
pub(crate) const ROW_IS_BUCKET: u32 = 0x01;

pub(crate) fn put_header(out: &mut Vec<u8>, id: u64, kind: u16, count: u16, overflow: u32) {
    out.put_u64_le(id);
    out.put_u16_le(kind);
    out.put_u16_le(count);
    out.put_u32_le(overflow);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub id: u64,
    pub kind: u16,
    pub count: u16,
    pub overflow: u32,
}

impl Header {
    pub fn decode(mut page: &[u8]) -> Option<Header> {
        (page.len() >= HEADER_BYTES).then(|| Header {
            id: page.get_u64_le(),
            kind: page.get_u16_le(),
            count: page.get_u16_le(),
            overflow: page.get_u32_le(),
        })
    }
}

/// A run of pages, whole.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub header: Header,
    pub bytes: Bytes,
}

/// A row of a leaf.
pub(crate) struct Row {
    pub flags: u32,
    pub key: Bytes,
    pub value: Bytes,
}

/// A child of a branch.
pub(crate) struct Child {
    pub key: Bytes,
    pub page: u64,
}

impl Page {
    pub fn len(&self) -> usize {
        usize::from(self.header.count)
    }

    pub fn is_leaf(&self) -> bool {
        self.header.kind == KIND_LEAF
    }

    pub fn is_branch(&self) -> bool {
        self.header.kind == KIND_BRANCH
    }

    pub fn damaged(&self, what: &str) -> Error {
        Error::damaged(format!("page {}: {what}", self.header.id))
    }

    fn slice(&self, from: usize, len: usize) -> Option<Bytes> {
        let to = from.checked_add(len)?;
        (to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }

    /// The keys and values begin after the array of elements; nothing may point into it.
    fn checked(&self, from: usize, len: usize) -> Option<Bytes> {
        let data_at = HEADER_BYTES + self.len() * LEAF_ELEMENT_BYTES;
        (from >= data_at).then(|| self.slice(from, len)).flatten()
    }

    pub fn row(&self, at: usize) -> Result<Row, Error> {
        let outside = || self.damaged("a row reaches outside of it");
        let element_at = HEADER_BYTES + at * LEAF_ELEMENT_BYTES;
        let mut element = self.slice(element_at, LEAF_ELEMENT_BYTES).ok_or_else(outside)?;
        let flags = element.get_u32_le();
        let from = element_at + element.get_u32_le() as usize;
        let (key_len, value_len) = (element.get_u32_le() as usize, element.get_u32_le() as usize);
        let key = self.checked(from, key_len).ok_or_else(outside)?;
        let value = self.checked(from + key_len, value_len).ok_or_else(outside)?;
        if key.is_empty() {
            return Err(self.damaged("a row has no key"));
        }
        if flags & !ROW_IS_BUCKET != 0 {
            return Err(self.damaged("a row has unknown flags"));
        }
        Ok(Row { flags, key, value })
    }

    pub fn child(&self, at: usize) -> Result<Child, Error> {
        let outside = || self.damaged("a key reaches outside of it");
        let element_at = HEADER_BYTES + at * BRANCH_ELEMENT_BYTES;
        let mut element = self.slice(element_at, BRANCH_ELEMENT_BYTES).ok_or_else(outside)?;
        let from = element_at + element.get_u32_le() as usize;
        let key_len = element.get_u32_le() as usize;
        let key = self.checked(from, key_len).ok_or_else(outside)?;
        if key.is_empty() {
            return Err(self.damaged("a child has no key"));
        }
        Ok(Child {
            key,
            page: element.get_u64_le(),
        })
    }
}
