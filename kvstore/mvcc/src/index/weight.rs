//! What is summed up below every node: how many keys live there, and how many bytes a list of them takes.

use std::ops::{Add, AddAssign, Sub, SubAssign};

/// Of live keys alone. Sums and differences wrap, so that a difference may be one of either sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    pub keys: u64,
    /// Bytes of the `kvs` of an answer that lists the newest records of these keys.
    pub bytes: u64,
}

impl Weight {
    /// Of one key whose newest record has so many bytes.
    pub fn of_record(bytes: u32) -> Weight {
        Weight {
            keys: 1,
            bytes: listed_bytes(bytes),
        }
    }
}

/// Bytes of a record as one of the `kvs` of an answer: a tag of one byte, its length, itself.
pub fn listed_bytes(record: u32) -> u64 {
    let length = prost::length_delimiter_len(record as usize) as u64;
    1 + length + u64::from(record)
}

impl Add for Weight {
    type Output = Weight;
    fn add(self, other: Weight) -> Weight {
        Weight {
            keys: self.keys.wrapping_add(other.keys),
            bytes: self.bytes.wrapping_add(other.bytes),
        }
    }
}

impl Sub for Weight {
    type Output = Weight;
    fn sub(self, other: Weight) -> Weight {
        Weight {
            keys: self.keys.wrapping_sub(other.keys),
            bytes: self.bytes.wrapping_sub(other.bytes),
        }
    }
}

impl AddAssign for Weight {
    fn add_assign(&mut self, other: Weight) {
        *self = *self + other;
    }
}

impl SubAssign for Weight {
    fn sub_assign(&mut self, other: Weight) {
        *self = *self - other;
    }
}

impl std::iter::Sum for Weight {
    fn sum<I: Iterator<Item = Weight>>(all: I) -> Weight {
        all.fold(Weight::default(), Add::add)
    }
}
