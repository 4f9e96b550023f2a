//! The requests of the workloads, encoded by the wire formats' own crate.

use keelson_proto::etcdserverpb as pb;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request;
use prost::Message;
use std::sync::LazyLock;

pub const PUT: &str = "/etcdserverpb.KV/Put";
pub const RANGE: &str = "/etcdserverpb.KV/Range";
pub const RANGE_STREAM: &str = "/etcdserverpb.KV/RangeStream";
pub const TXN: &str = "/etcdserverpb.KV/Txn";
pub const WATCH: &str = "/etcdserverpb.Watch/Watch";
pub const LEASE_GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
pub const LEASE_KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";

/// xorshift64*: the same keys for both sides.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n.max(1)
    }
    /// Bytes that no compression shrinks.
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.below(256) as u8).collect()
    }
}

const POOL_BYTES: usize = 8 << 20;

/// The value of the n-th request: values that differ and that no compression shrinks, cheaply, as pieces of one random
/// block from ever another place.
pub fn value(n: u64, bytes: usize) -> &'static [u8] {
    static POOL: LazyLock<Vec<u8>> = LazyLock::new(|| Random::new(23).bytes(POOL_BYTES));
    let last = POOL.len().saturating_sub(bytes) as u64;
    let at = Random::new(n).below(last + 1) as usize;
    POOL.get(at..at + bytes).unwrap_or(&POOL)
}

/// Keys in kube-apiserver's manner, all of one length.
pub fn key(n: u64) -> Vec<u8> {
    format!("/registry/pods/default/pod-{n:010}").into_bytes()
}

fn write(message: &impl Message, out: &mut Vec<u8>) {
    // A vector grows: encoding into it cannot fail.
    let _ = message.encode(out);
}

pub fn put(n: u64, value: &[u8], out: &mut Vec<u8>) {
    let request = pb::PutRequest {
        key: key(n).into(),
        value: value.to_vec().into(),
        ..Default::default()
    };
    write(&request, out);
}

pub fn get(n: u64, serializable: bool, out: &mut Vec<u8>) {
    let request = pb::RangeRequest {
        key: key(n).into(),
        serializable,
        limit: 1,
        ..Default::default()
    };
    write(&request, out);
}

/// The end of the range that holds all keys.
const PODS_END: &str = "/registry/pods0";

/// What a list or a page of one asks.
pub fn list(from: &[u8], limit: i64, count_only: bool, out: &mut Vec<u8>) {
    let request = pb::RangeRequest {
        key: from.to_vec().into(),
        range_end: PODS_END.into(),
        limit,
        count_only,
        ..Default::default()
    };
    write(&request, out);
}

/// A lease under an id that the client chooses.
pub fn lease_grant(id: i64, seconds: i64, out: &mut Vec<u8>) {
    write(&pb::LeaseGrantRequest { ttl: seconds, id }, out);
}

pub fn lease_keep_alive(id: i64, out: &mut Vec<u8>) {
    write(&pb::LeaseKeepAliveRequest { id }, out);
}

/// kube-apiserver's update: if the key is at a revision, put, else get. With revision 0 it is its create.
pub fn update(n: u64, value: &[u8], revision: i64, out: &mut Vec<u8>) {
    let guard = pb::Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Mod as i32,
        key: key(n).into(),
        target_union: Some(TargetUnion::ModRevision(revision)),
        ..Default::default()
    };
    let op = |request| pb::RequestOp { request: Some(request) };
    let request = pb::TxnRequest {
        compare: vec![guard],
        success: vec![op(Request::RequestPut(pb::PutRequest {
            key: key(n).into(),
            value: value.to_vec().into(),
            ..Default::default()
        }))],
        failure: vec![op(Request::RequestRange(pb::RangeRequest {
            key: key(n).into(),
            ..Default::default()
        }))],
    };
    write(&request, out);
}
