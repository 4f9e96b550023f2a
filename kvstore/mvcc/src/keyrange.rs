//! A set of keys as requests name it: one key, a half-open interval, or everything from a key on.

use bytes::Bytes;

/// Where a range ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The range is its one start key.
    Single,
    /// Keys below this one.
    Before(Bytes),
    /// Every key from the start on.
    Unbounded,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRange {
    pub start: Bytes,
    pub end: End,
}

impl KeyRange {
    /// From the wire: an empty `range_end` is one key, a single zero byte is "from the key on".
    pub fn new(key: Bytes, range_end: Bytes) -> Self {
        let end = match range_end.as_ref() {
            [] => End::Single,
            [0] => End::Unbounded,
            _ => End::Before(range_end),
        };
        KeyRange { start: key, end }
    }

    pub fn single(key: Bytes) -> Self {
        KeyRange {
            start: key,
            end: End::Single,
        }
    }

    /// The same, without the buffers that its keys were read from.
    pub fn detached(&self) -> Self {
        let end = match &self.end {
            End::Before(end) => End::Before(Bytes::copy_from_slice(end)),
            other => other.clone(),
        };
        KeyRange {
            start: Bytes::copy_from_slice(&self.start),
            end,
        }
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Single => key == self.start.as_ref(),
            End::Before(end) => key >= self.start.as_ref() && key < end.as_ref(),
            End::Unbounded => key >= self.start.as_ref(),
        }
    }

    /// No key can be in it.
    pub fn is_empty(&self) -> bool {
        matches!(&self.end, End::Before(end) if *end <= self.start)
    }
}
