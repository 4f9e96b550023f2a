//! Records as they stand in the answer to a Range: each one of its `kvs`.

use crate::index::Recorded;
use crate::state_machine::StorageError;
use bytes::BufMut;

/// Field 2 of a RangeResponse, with a length before it.
const KVS_TAG: u8 = 0x12;
const LENGTH_BYTES_MAX: usize = 5;

/// What stands before a record of so many bytes, and how long that is.
pub fn prefix(record_bytes: u32) -> ([u8; 1 + LENGTH_BYTES_MAX], usize) {
    let mut out = [KVS_TAG, 0, 0, 0, 0, 0];
    let mut rest = out.get_mut(1..).unwrap_or_default();
    prost::encoding::encode_varint(u64::from(record_bytes), &mut rest);
    let left = rest.remaining_mut();
    (out, 1 + LENGTH_BYTES_MAX - left)
}

pub fn append(record: &[u8], out: &mut Vec<u8>) {
    let (prefix, len) = prefix(record.len() as u32);
    out.extend_from_slice(prefix.get(..len).unwrap_or_default());
    out.extend_from_slice(record);
}

/// An answer was promised with the lengths that the index knows.
pub fn check(wanted: &Recorded, record: &[u8]) -> Result<(), StorageError> {
    if record.len() == wanted.bytes as usize {
        return Ok(());
    }
    let rev = wanted.version.rev;
    Err(StorageError(format!(
        "the record of revision {}.{} has {} bytes, and the index says {}",
        rev.main,
        rev.sub,
        record.len(),
        wanted.bytes
    )))
}
