//! Short ways to the requests that workloads send.

use bytes::Bytes;
use keelson_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelson_proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, request_op::Request,
};

/// Values up to this length are written down whole, bytes.
const SHOWN_BYTES_MAX: usize = 64 << 10;
/// What is shown of longer ones, bytes.
const SHOWN_BYTES: usize = 64;

/// A range of one key, linearizable.
pub fn get(key: &str) -> RangeRequest {
    RangeRequest {
        key: bytes(key),
        ..RangeRequest::default()
    }
}

/// A range of all keys with this prefix, linearizable.
pub fn range(prefix: &str) -> RangeRequest {
    RangeRequest {
        key: bytes(prefix),
        range_end: prefix_end(prefix),
        ..RangeRequest::default()
    }
}

/// A put without a lease.
pub fn put(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: bytes(key),
        value: bytes(value),
        ..PutRequest::default()
    }
}

/// A deletion of one key.
pub fn delete(key: &str) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: bytes(key),
        ..DeleteRangeRequest::default()
    }
}

/// A guard: what it looks at must be equal.
pub fn compare(key: &str, union: TargetUnion) -> Compare {
    let target = match &union {
        TargetUnion::Version(_) => CompareTarget::Version,
        TargetUnion::CreateRevision(_) => CompareTarget::Create,
        TargetUnion::ModRevision(_) => CompareTarget::Mod,
        TargetUnion::Value(_) => CompareTarget::Value,
        TargetUnion::Lease(_) => CompareTarget::Lease,
    };
    Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key: bytes(key),
        range_end: Bytes::new(),
        target_union: Some(union),
    }
}

/// A step of a transaction.
pub fn step(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

/// The end of the range of all keys with this prefix: the prefix with its last byte one higher.
pub fn prefix_end(prefix: &str) -> Bytes {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end.into();
        }
    }
    // Nothing is above it: all keys from the prefix on.
    Bytes::from_static(b"\0")
}

/// What a key or value says: all of them are text in all workloads, and what is not shows as such. See [`shown`].
pub fn text(bytes: &[u8]) -> String {
    shown(&String::from_utf8_lossy(bytes))
}

/// A value as it is written down: very large ones by their beginning, length and checksum, which are as unique.
pub fn shown(value: &str) -> String {
    if value.len() <= SHOWN_BYTES_MAX {
        return value.to_owned();
    }
    let cut = value.floor_char_boundary(SHOWN_BYTES);
    let hash = value.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{} … {} bytes, {hash:016x}", value[..cut].trim_end(), value.len())
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_values_are_told_apart_by_their_checksum() {
        let large = |c: &str| format!("w1.2{}{c}", " ".repeat(99_996));
        assert_eq!(shown("w1.2"), "w1.2");
        assert!(shown(&large("x")).starts_with("w1.2 … 100001 bytes, "));
        assert_ne!(shown(&large("x")), shown(&large("y")));
    }

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(prefix_end("register/"), Bytes::from_static(b"register0"));
        assert_eq!(prefix_end(""), Bytes::from_static(b"\0"));
    }
}
