//! Calls to make: every edge of the contract that is known to surprise, and random ones from a seed.

use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use pb::compare::TargetUnion;
use pb::request_op::Request;

#[derive(Clone, Debug)]
pub enum Call {
    Range(pb::RangeRequest),
    RangeStream(pb::RangeRequest),
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(pb::CompactionRequest),
    Grant(pb::LeaseGrantRequest),
    Revoke(pb::LeaseRevokeRequest),
    TimeToLive(pb::LeaseTimeToLiveRequest),
    Leases,
}

/// xorshift64*: the same sequence everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }
    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
    fn int(&mut self, n: u64) -> i64 {
        self.below(n) as i64
    }
    fn key(&mut self) -> Bytes {
        Bytes::from(format!("k{}", self.below(12)))
    }
    fn end(&mut self) -> Bytes {
        match self.below(6) {
            0 => Bytes::from_static(b"\0"),
            1 | 2 => self.key(),
            _ => Bytes::new(),
        }
    }
}

pub fn get(key: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    }
}

fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    }
}

fn delete(key: &str, end: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
        prev_kv: true,
    }
}

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn then(ops: Vec<Request>) -> Call {
    Call::Txn(pb::TxnRequest {
        success: ops.into_iter().map(op).collect(),
        ..Default::default()
    })
}

fn nested(ops: Vec<Request>) -> Request {
    Request::RequestTxn(pb::TxnRequest {
        success: ops.into_iter().map(op).collect(),
        ..Default::default()
    })
}

fn compares(compares: Vec<pb::Compare>) -> Call {
    Call::Txn(pb::TxnRequest {
        compare: compares,
        ..Default::default()
    })
}

/// The edges, on a fresh store.
pub fn edges() -> Vec<Call> {
    let all = pb::RangeRequest {
        range_end: "\0".into(),
        ..get("\0")
    };
    let compact = |revision| {
        Call::Compact(pb::CompactionRequest {
            revision,
            physical: false,
        })
    };
    let grant = |id, ttl| Call::Grant(pb::LeaseGrantRequest { id, ttl });
    let time_to_live = |id| Call::TimeToLive(pb::LeaseTimeToLiveRequest { id, keys: true });
    let mut calls = vec![
        compact(-1),
        compact(0),
        compact(0),
        compact(9),
        Call::Range(pb::RangeRequest::default()),
        Call::Range(pb::RangeRequest {
            range_end: "z".into(),
            ..Default::default()
        }),
        Call::Range(get("missing")),
        Call::Put(pb::PutRequest::default()),
        Call::Put(put("a", "1")),
        Call::Put(pb::PutRequest {
            ignore_value: true,
            ..put("a", "x")
        }),
        Call::Put(pb::PutRequest {
            ignore_value: true,
            prev_kv: true,
            ..put("a", "")
        }),
        Call::Put(pb::PutRequest {
            ignore_value: true,
            ..put("none", "")
        }),
        Call::Put(pb::PutRequest {
            ignore_lease: true,
            lease: 1,
            ..put("a", "x")
        }),
        Call::Put(pb::PutRequest {
            ignore_lease: true,
            ..put("none", "x")
        }),
        Call::Put(pb::PutRequest {
            lease: 999,
            ..put("a", "x")
        }),
        grant(11, 60),
        grant(11, 60),
        grant(12, 0),
        grant(13, -4),
        grant(14, 9_000_000_000),
        grant(15, 9_000_000_001),
        grant(-16, 100),
        Call::Put(pb::PutRequest {
            lease: 11,
            ..put("l1", "v")
        }),
        Call::Put(pb::PutRequest {
            lease: 11,
            ..put("l2", "v")
        }),
        Call::Put(pb::PutRequest {
            ignore_value: true,
            ..put("l2", "")
        }),
        Call::Put(pb::PutRequest {
            ignore_lease: true,
            prev_kv: true,
            ..put("l1", "w")
        }),
        Call::Range(get("l1")),
        Call::Range(pb::RangeRequest {
            keys_only: true,
            ..get("l1")
        }),
        Call::Range(pb::RangeRequest {
            keys_only: true,
            sort_target: 4,
            ..get("l1")
        }),
        time_to_live(11),
        time_to_live(404),
        Call::Leases,
        Call::Revoke(pb::LeaseRevokeRequest { id: 404 }),
        Call::Revoke(pb::LeaseRevokeRequest { id: 11 }),
        Call::Revoke(pb::LeaseRevokeRequest { id: -16 }),
        // These two would expire while the calls go on.
        Call::Revoke(pb::LeaseRevokeRequest { id: 12 }),
        Call::Revoke(pb::LeaseRevokeRequest { id: 13 }),
        Call::Range(all.clone()),
        Call::Range(pb::RangeRequest {
            limit: -1,
            ..all.clone()
        }),
        Call::Range(pb::RangeRequest {
            revision: -1,
            ..all.clone()
        }),
        Call::Range(pb::RangeRequest {
            revision: 1,
            ..all.clone()
        }),
        Call::Range(pb::RangeRequest {
            revision: 2,
            ..all.clone()
        }),
        Call::Range(pb::RangeRequest {
            revision: 99,
            ..all.clone()
        }),
        Call::Range(pb::RangeRequest {
            count_only: true,
            ..all.clone()
        }),
        Call::Range(pb::RangeRequest {
            sort_order: 9,
            ..all.clone()
        }),
        Call::Range(pb::RangeRequest {
            sort_target: 9,
            ..all.clone()
        }),
        Call::Range(pb::RangeRequest {
            range_end: "A".into(),
            ..get("z")
        }),
        Call::RangeStream(pb::RangeRequest {
            range_end: "A".into(),
            ..get("z")
        }),
        Call::RangeStream(all.clone()),
        Call::RangeStream(pb::RangeRequest {
            count_only: true,
            ..all.clone()
        }),
        Call::RangeStream(pb::RangeRequest {
            sort_order: 2,
            ..all.clone()
        }),
        Call::RangeStream(pb::RangeRequest {
            max_mod_revision: 2,
            ..all.clone()
        }),
        Call::RangeStream(pb::RangeRequest {
            revision: 99,
            ..all.clone()
        }),
        Call::Delete(pb::DeleteRangeRequest::default()),
        Call::Delete(delete("none", "")),
        Call::Delete(delete("z", "A")),
        Call::Txn(pb::TxnRequest::default()),
        Call::Txn(pb::TxnRequest {
            success: vec![pb::RequestOp { request: None }],
            ..Default::default()
        }),
        then(vec![
            Request::RequestPut(put("d", "1")),
            Request::RequestPut(put("d", "2")),
        ]),
        then(vec![
            Request::RequestPut(put("d", "1")),
            Request::RequestDeleteRange(delete("a", "z")),
        ]),
        then(vec![
            Request::RequestDeleteRange(delete("d", "")),
            Request::RequestDeleteRange(delete("d", "")),
        ]),
        then(vec![
            Request::RequestPut(put("n", "1")),
            nested(vec![Request::RequestPut(put("n", "2"))]),
        ]),
        then(vec![
            Request::RequestPut(put("n1", "1")),
            nested(vec![Request::RequestPut(put("n2", "2"))]),
        ]),
        then(vec![
            nested(vec![Request::RequestRange(get("n1"))]),
            Request::RequestRange(get("n2")),
        ]),
        then(vec![Request::RequestRange(pb::RangeRequest {
            revision: 77,
            ..get("a")
        })]),
        then(vec![Request::RequestRange(pb::RangeRequest {
            revision: -1,
            ..get("a")
        })]),
        then(vec![Request::RequestRange(pb::RangeRequest {
            sort_order: 9,
            ..get("a")
        })]),
        then(vec![
            Request::RequestPut(put("p", "1")),
            Request::RequestPut(pb::PutRequest {
                lease: 5,
                ..put("q", "1")
            }),
        ]),
        then(
            (0..129)
                .map(|n| Request::RequestPut(put(&format!("m{n}"), "")))
                .collect(),
        ),
        then(vec![nested(
            (0..128)
                .map(|n| Request::RequestPut(put(&format!("m{n}"), "")))
                .collect(),
        )]),
        compares(vec![pb::Compare {
            key: "none".into(),
            target: 3,
            ..Default::default()
        }]),
        compares(vec![pb::Compare {
            key: "none".into(),
            ..Default::default()
        }]),
        compares(vec![pb::Compare::default()]),
        compares(vec![pb::Compare {
            key: "x".into(),
            range_end: "y".into(),
            ..Default::default()
        }]),
        compares(vec![pb::Compare {
            key: "a".into(),
            range_end: "\0".into(),
            result: 1,
            ..Default::default()
        }]),
        compares(vec![pb::Compare {
            key: "a".into(),
            result: 9,
            target: 9,
            ..Default::default()
        }]),
    ];
    calls.extend((0..30).map(|n| Call::Put(put(&format!("s{n:02}"), "v"))));
    calls.push(Call::RangeStream(pb::RangeRequest {
        limit: 25,
        ..all.clone()
    }));
    calls.push(Call::RangeStream(pb::RangeRequest {
        limit: 10,
        ..all.clone()
    }));
    calls.push(Call::RangeStream(pb::RangeRequest { sort_target: 3, ..all }));
    for (sort_target, sort_order) in [(2, 2), (3, 1), (3, 2), (2, 0)] {
        let singles = pb::RangeRequest {
            range_end: "t".into(),
            ..get("s")
        };
        calls.push(Call::Range(pb::RangeRequest {
            sort_target,
            sort_order,
            limit: 4,
            ..singles
        }));
    }
    calls.push(compact(20));
    calls.push(compact(20));
    calls.push(compact(3));
    calls.push(then(vec![Request::RequestRange(pb::RangeRequest {
        revision: -1,
        ..get("a")
    })]));
    calls.push(Call::Range(pb::RangeRequest {
        revision: 20,
        ..get("a")
    }));
    calls.push(Call::Range(pb::RangeRequest {
        revision: 19,
        ..get("a")
    }));
    calls
}

fn random_range(r: &mut Random) -> pb::RangeRequest {
    let mut request = pb::RangeRequest {
        key: r.key(),
        range_end: r.end(),
        limit: if r.chance(2) { 0 } else { r.int(5) },
        keys_only: r.chance(4),
        count_only: r.chance(8),
        serializable: r.chance(3),
        ..Default::default()
    };
    if r.chance(3) {
        request.revision = r.int(400);
    }
    if r.chance(4) {
        request.sort_order = r.int(3) as i32;
        // Among equals, etcd's order is that of an unstable sort: only keys are never equal.
    }
    if r.chance(6) {
        request.min_mod_revision = r.int(300);
        request.max_create_revision = r.int(600);
    }
    request
}

fn random_put(r: &mut Random) -> pb::PutRequest {
    let ignore_value = r.chance(8);
    pb::PutRequest {
        key: r.key(),
        value: if ignore_value {
            Bytes::new()
        } else {
            format!("v{}", r.below(50)).into()
        },
        lease: if r.chance(5) { 100 + r.int(4) } else { 0 },
        prev_kv: r.chance(2),
        ignore_value,
        ignore_lease: false,
    }
}

fn random_delete(r: &mut Random) -> pb::DeleteRangeRequest {
    let range_end = if r.chance(3) { r.key() } else { Bytes::new() };
    pb::DeleteRangeRequest {
        key: r.key(),
        range_end,
        prev_kv: r.chance(2),
    }
}

fn random_compare(r: &mut Random) -> pb::Compare {
    let target_union = match r.below(6) {
        0 => TargetUnion::Version(r.int(3)),
        1 => TargetUnion::CreateRevision(r.int(300)),
        2 => TargetUnion::ModRevision(r.int(300)),
        3 => TargetUnion::Value(format!("v{}", r.below(50)).into()),
        _ => TargetUnion::Lease(100 + r.int(4)),
    };
    let target = match &target_union {
        TargetUnion::Version(_) => 0,
        TargetUnion::CreateRevision(_) => 1,
        TargetUnion::ModRevision(_) => 2,
        TargetUnion::Value(_) => 3,
        TargetUnion::Lease(_) => 4,
    };
    let range_end = if r.chance(4) { r.end() } else { Bytes::new() };
    pb::Compare {
        result: r.int(4) as i32,
        target,
        key: r.key(),
        target_union: Some(target_union),
        range_end,
    }
}

fn random_ops(r: &mut Random, depth: u64) -> Vec<pb::RequestOp> {
    let n = r.below(4);
    (0..n)
        .map(|_| match r.below(if depth > 0 { 8 } else { 7 }) {
            0..=2 => op(Request::RequestPut(random_put(r))),
            3 => op(Request::RequestDeleteRange(random_delete(r))),
            4..=6 => op(Request::RequestRange(random_range(r))),
            _ => op(Request::RequestTxn(random_txn(r, depth - 1))),
        })
        .collect()
}

fn random_txn(r: &mut Random, depth: u64) -> pb::TxnRequest {
    let compare = (0..r.below(3)).map(|_| random_compare(r)).collect();
    pb::TxnRequest {
        compare,
        success: random_ops(r, depth),
        failure: random_ops(r, depth),
    }
}

pub fn random_call(r: &mut Random) -> Call {
    match r.below(40) {
        0..=9 => Call::Put(random_put(r)),
        10..=13 => Call::Delete(random_delete(r)),
        14..=24 => Call::Txn(random_txn(r, 2)),
        25..=31 => Call::Range(random_range(r)),
        32..=33 => Call::RangeStream(random_range(r)),
        34 => Call::Grant(pb::LeaseGrantRequest {
            id: 100 + r.int(4),
            ttl: 5000,
        }),
        35 => Call::Revoke(pb::LeaseRevokeRequest { id: 100 + r.int(4) }),
        36 => Call::TimeToLive(pb::LeaseTimeToLiveRequest {
            id: 100 + r.int(4),
            keys: true,
        }),
        37 => Call::Leases,
        38 if r.chance(4) => Call::Compact(pb::CompactionRequest {
            revision: r.int(300),
            physical: r.chance(2),
        }),
        _ => Call::Range(random_range(r)),
    }
}

/// Watches over what has happened, on a store that is at revision `now`.
pub fn watches(now: i64) -> Vec<pb::WatchCreateRequest> {
    let all = |start_revision| pb::WatchCreateRequest {
        key: "k".into(),
        range_end: "l".into(),
        start_revision,
        prev_kv: true,
        ..Default::default()
    };
    vec![
        all(0),
        all(-1),
        all(1),
        all(now - 100),
        pb::WatchCreateRequest {
            prev_kv: false,
            ..all(now - 50)
        },
        pb::WatchCreateRequest {
            filters: vec![0],
            ..all(now - 100)
        },
        pb::WatchCreateRequest {
            filters: vec![1],
            ..all(now - 100)
        },
        pb::WatchCreateRequest {
            key: "k3".into(),
            range_end: Bytes::new(),
            ..all(now - 150)
        },
        pb::WatchCreateRequest {
            key: Bytes::new(),
            range_end: Bytes::from_static(b"\0"),
            ..all(now - 20)
        },
        pb::WatchCreateRequest {
            key: Bytes::new(),
            range_end: Bytes::new(),
            ..all(now - 20)
        },
        pb::WatchCreateRequest {
            key: "z".into(),
            range_end: "a".into(),
            ..all(0)
        },
        pb::WatchCreateRequest {
            watch_id: 44,
            fragment: true,
            ..all(now - 10)
        },
        all(now + 5),
    ]
}

/// One transaction that puts keys and deletes from a key on: etcd does not see that they overlap. On a store of its own.
pub fn overlaps() -> Vec<Call> {
    let put = |key: &str, value: &str| {
        Request::RequestPut(pb::PutRequest {
            prev_kv: true,
            ..put(key, value)
        })
    };
    let from = |key: &str| Request::RequestDeleteRange(delete(key, "\0"));
    let all = |revision| {
        Call::Range(pb::RangeRequest {
            range_end: "\0".into(),
            revision,
            ..get("\0")
        })
    };
    let mut calls = vec![
        Call::Put(self::put("k1", "0")),
        then(vec![put("k1", "1"), put("k2", "1"), from("k2")]),
        then(vec![from("k1"), put("k1", "2"), put("k2", "2")]),
        then(vec![nested(vec![put("k3", "3")]), from("k"), put("k4", "3")]),
        then(vec![put("k4", "4"), from("k4"), nested(vec![put("k5", "4")])]),
        then(vec![put("k5", "5"), from("k5"), put("k5", "6")]),
        Call::Put(self::put("k6", "7")),
    ];
    calls.extend((0..=8).map(all));
    calls
}
