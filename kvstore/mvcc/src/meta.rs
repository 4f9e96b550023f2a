//! The rows of the `meta` column family.

use crate::state_machine::AppliedState;
use bytes::{Buf, BufMut, Bytes};

/// Which layout the rows of the whole store have: the first row of every store.
pub const FORMAT: &[u8] = b"format";
pub const FORMAT_NOW: [u8; 4] = 2u32.to_le_bytes();
pub const APPLIED: &[u8] = b"applied";
pub const REVISION: &[u8] = b"revision";
pub const COMPACTED: &[u8] = b"compacted";
/// The compaction whose physical part has finished.
pub const TRIMMED: &[u8] = b"trimmed";
const ALARM_PREFIX: &[u8] = b"alarm/";

pub fn encode_applied(applied: &AppliedState) -> Vec<u8> {
    let mut out = Vec::with_capacity(24 + applied.membership.len());
    out.put_u64_le(applied.index);
    out.put_u64_le(applied.term);
    out.put_u64_le(applied.leader);
    out.put_slice(&applied.membership);
    out
}

pub fn decode_applied(mut value: &[u8]) -> Option<AppliedState> {
    (value.len() >= 24).then(|| AppliedState {
        index: value.get_u64_le(),
        term: value.get_u64_le(),
        leader: value.get_u64_le(),
        membership: Bytes::copy_from_slice(value),
    })
}

pub fn decode_i64(value: &[u8]) -> Option<i64> {
    Some(i64::from_le_bytes(value.try_into().ok()?))
}

pub fn alarm_key(member: u64, kind: i32) -> Vec<u8> {
    let mut out = ALARM_PREFIX.to_vec();
    out.put_u64(member);
    out.put_i32(kind);
    out
}

pub fn decode_alarm_key(key: &[u8]) -> Option<(u64, i32)> {
    let mut rest = key.strip_prefix(ALARM_PREFIX)?;
    (rest.len() == 12).then(|| (rest.get_u64(), rest.get_i32()))
}
