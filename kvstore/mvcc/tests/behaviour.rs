//! Single facts of the etcd contract, one test each.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use keelson_mvcc::{Command, Error, LogEntry, Options, ReadError, Reply, Response, Slice, StateMachine, Store};
use keelson_proto::etcdserverpb as pb;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request;
use std::sync::Arc;

struct Fixture {
    // Closed before its folder goes.
    store: Arc<Store>,
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = common::tempdir();
        let store = Store::open(&Options {
            path: dir.path().to_owned(),
            cache_bytes: 1 << 20,
        })
        .unwrap();
        Fixture { dir, store }
    }
    fn apply(&self, command: Command) -> Response {
        let index = self.store.applied_state().index + 1;
        let entry = LogEntry {
            index,
            term: 1,
            leader: 1,
            command: command.encode(),
            membership: None,
        };
        self.store.apply(&[entry]).unwrap().remove(0)
    }
    fn put(&self, key: &str, value: &str) -> i64 {
        let request = pb::PutRequest {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            ..Default::default()
        };
        let Ok(Reply::Put(answer)) = self.apply(Command::Put(request)) else {
            panic!()
        };
        answer.header.unwrap().revision
    }
    fn delete(&self, key: &str) {
        let request = pb::DeleteRangeRequest {
            key: key.to_owned().into(),
            ..Default::default()
        };
        self.apply(Command::DeleteRange(request)).unwrap();
    }
    fn compact(&self, revision: i64) -> Option<Error> {
        self.apply(Command::Compact(pb::CompactionRequest {
            revision,
            physical: false,
        }))
        .err()
    }
    fn txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, Error> {
        match self.apply(Command::Txn(request))? {
            Reply::Txn(answer) => Ok(answer),
            other => panic!("{other:?}"),
        }
    }
    fn range(&self, request: pb::RangeRequest) -> pb::RangeResponse {
        self.store.range(&request).unwrap()
    }
}

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}
fn put_op(key: &str, lease: i64) -> pb::RequestOp {
    op(Request::RequestPut(pb::PutRequest {
        key: key.to_owned().into(),
        lease,
        ..Default::default()
    }))
}
fn get_op(key: &str, revision: i64) -> pb::RequestOp {
    op(Request::RequestRange(pb::RangeRequest {
        key: key.to_owned().into(),
        revision,
        ..Default::default()
    }))
}
fn all() -> pb::RangeRequest {
    pb::RangeRequest {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        ..Default::default()
    }
}

#[test]
fn an_empty_store_is_at_revision_one_and_compacts_at_zero_once() {
    let f = Fixture::new();
    assert_eq!(f.store.revision(), 1);
    assert_eq!(f.compact(-1), Some(Error::Compacted));
    assert_eq!(f.compact(0), None);
    assert_eq!(f.compact(0), Some(Error::Compacted));
    assert_eq!(f.compact(2), Some(Error::FutureRevision));
}

#[test]
fn a_transaction_without_changes_keeps_the_revision() {
    let f = Fixture::new();
    assert_eq!(f.put("a", "1"), 2);
    let none = f.txn(pb::TxnRequest::default()).unwrap();
    assert!(none.succeeded);
    assert_eq!(none.header.unwrap().revision, 2);
    f.delete("missing");
    assert_eq!(f.store.revision(), 2);
}

#[test]
fn one_bad_lease_refuses_the_whole_transaction() {
    let f = Fixture::new();
    let request = pb::TxnRequest {
        success: vec![put_op("a", 0), put_op("b", 77)],
        ..Default::default()
    };
    assert_eq!(f.txn(request), Err(Error::LeaseNotFound));
    assert_eq!(f.store.revision(), 1);
    assert_eq!(f.range(all()).count, 0);
}

#[test]
fn a_missing_key_compares_as_zero_but_never_by_value() {
    let f = Fixture::new();
    let holds = |target, result, union| {
        let compare = pb::Compare {
            result: result as i32,
            target: target as i32,
            key: "missing".into(),
            range_end: Bytes::new(),
            target_union: union,
        };
        f.txn(pb::TxnRequest {
            compare: vec![compare],
            ..Default::default()
        })
        .unwrap()
        .succeeded
    };
    assert!(holds(
        CompareTarget::Version,
        CompareResult::Equal,
        Some(TargetUnion::Version(0))
    ));
    assert!(holds(CompareTarget::Mod, CompareResult::Equal, None));
    assert!(holds(
        CompareTarget::Lease,
        CompareResult::Less,
        Some(TargetUnion::Lease(1))
    ));
    assert!(!holds(
        CompareTarget::Value,
        CompareResult::Equal,
        Some(TargetUnion::Value(Bytes::new()))
    ));
    assert!(!holds(
        CompareTarget::Value,
        CompareResult::NotEqual,
        Some(TargetUnion::Value("x".into()))
    ));
}

#[test]
fn guards_of_nested_transactions_see_the_state_before() {
    let f = Fixture::new();
    let absent = pb::Compare {
        key: "a".into(),
        target_union: Some(TargetUnion::Version(0)),
        ..Default::default()
    };
    let nested = pb::TxnRequest {
        compare: vec![absent],
        success: vec![put_op("b", 0)],
        ..Default::default()
    };
    let outer = pb::TxnRequest {
        success: vec![put_op("a", 0), op(Request::RequestTxn(nested))],
        ..Default::default()
    };
    let answer = f.txn(outer).unwrap();
    let Some(pb::response_op::Response::ResponseTxn(inner)) = &answer.responses[1].response else {
        panic!()
    };
    assert!(inner.succeeded);
    assert_eq!(
        inner.header.unwrap().revision,
        0,
        "a nested answer has a header without a revision"
    );
    assert_eq!(
        f.range(all()).kvs.iter().map(|kv| kv.mod_revision).collect::<Vec<_>>(),
        [2, 2]
    );
}

#[test]
fn revisions_of_the_branch_not_taken_are_not_checked() {
    let f = Fixture::new();
    let future = vec![put_op("a", 0), get_op("a", 99)];
    let not_taken = pb::TxnRequest {
        success: vec![put_op("b", 0)],
        failure: future.clone(),
        ..Default::default()
    };
    assert!(f.txn(not_taken).is_ok());
    let taken = pb::TxnRequest {
        success: future,
        ..Default::default()
    };
    assert_eq!(f.txn(taken), Err(Error::FutureRevision));
    assert_eq!(f.store.revision(), 2);
}

#[test]
fn a_negative_revision_is_current_in_a_range_and_in_a_transaction_until_the_first_compaction() {
    let f = Fixture::new();
    f.put("a", "1");
    assert_eq!(f.range(pb::RangeRequest { revision: -1, ..all() }).count, 1);
    let request = || pb::TxnRequest {
        success: vec![put_op("b", 0), get_op("a", -1)],
        ..Default::default()
    };
    assert!(f.txn(request()).is_ok());
    assert_eq!(f.compact(2), None);
    assert_eq!(f.txn(request()), Err(Error::Compacted));
    assert_eq!(f.range(pb::RangeRequest { revision: -1, ..all() }).count, 2);
}

#[test]
fn sorts_and_filters_come_before_the_limit() {
    let f = Fixture::new();
    for (key, value) in [("a", "3"), ("b", "1"), ("c", "2"), ("a", "0")] {
        f.put(key, value);
    }
    let keys = |request| -> Vec<String> {
        let read = f.range(request);
        assert_eq!(read.count, 3);
        read.kvs
            .iter()
            .map(|kv| String::from_utf8(kv.key.to_vec()).unwrap())
            .collect()
    };
    let (by_value, by_mod, by_version) = (4, 3, 1);
    assert_eq!(
        keys(pb::RangeRequest {
            sort_order: 2,
            limit: 2,
            ..all()
        }),
        ["c", "b"]
    );
    assert_eq!(
        keys(pb::RangeRequest {
            sort_order: 1,
            sort_target: by_value,
            limit: 2,
            ..all()
        }),
        ["a", "b"]
    );
    assert_eq!(
        keys(pb::RangeRequest {
            sort_order: 2,
            sort_target: by_mod,
            ..all()
        }),
        ["a", "c", "b"]
    );
    assert_eq!(
        keys(pb::RangeRequest {
            sort_order: 2,
            sort_target: by_version,
            limit: 1,
            ..all()
        }),
        ["a"]
    );
    assert_eq!(
        keys(pb::RangeRequest {
            sort_target: by_mod,
            ..all()
        }),
        ["b", "c", "a"],
        "NONE sorts ascending"
    );
    assert_eq!(
        keys(pb::RangeRequest {
            min_mod_revision: 4,
            limit: 5,
            ..all()
        }),
        ["a", "c"]
    );
    let filtered = f.range(pb::RangeRequest {
        max_create_revision: 3,
        limit: 1,
        ..all()
    });
    assert!(filtered.more, "`more` counts what is left after filtering");
    assert_eq!(filtered.count, 3);
}

#[test]
fn inverted_and_negative_are_no_errors() {
    let f = Fixture::new();
    f.put("m", "1");
    let inverted = f.range(pb::RangeRequest {
        key: "z".into(),
        range_end: "a".into(),
        ..Default::default()
    });
    assert_eq!((inverted.count, inverted.kvs.len()), (0, 0));
    assert_eq!(f.range(pb::RangeRequest { limit: -3, ..all() }).kvs.len(), 1);
}

#[test]
fn leases_are_clamped_and_bounded() {
    let f = Fixture::new();
    let grant = |id, ttl| match f.apply(Command::LeaseGrant(pb::LeaseGrantRequest { id, ttl }))? {
        Reply::LeaseGrant(answer) => Ok(answer.ttl),
        other => panic!("{other:?}"),
    };
    assert_eq!(grant(1, 0), Ok(1));
    assert_eq!(grant(-7, -5), Ok(1));
    assert_eq!(grant(2, 9_000_000_000), Ok(9_000_000_000));
    assert_eq!(grant(3, 9_000_000_001), Err(Error::LeaseTtlTooLarge));
    assert_eq!(grant(1, 60), Err(Error::LeaseExists));
}

#[test]
fn a_revoked_lease_takes_its_keys_sorted_in_one_revision() {
    let f = Fixture::new();
    f.apply(Command::LeaseGrant(pb::LeaseGrantRequest { id: 5, ttl: 60 }))
        .unwrap();
    f.txn(pb::TxnRequest {
        success: vec![put_op("c", 5), put_op("a", 5), put_op("b", 5)],
        ..Default::default()
    })
    .unwrap();
    f.put("b", "detached");
    assert_eq!(f.store.revision(), 3);
    f.apply(Command::LeaseRevoke(pb::LeaseRevokeRequest { id: 5 })).unwrap();
    assert_eq!(f.store.revision(), 4);
    let events = f.store.ring().since(3, 10).unwrap();
    let gone: Vec<_> = events[0].events.iter().map(|e| (e.delete, e.kv.key.as_ref())).collect();
    assert_eq!(gone, [(true, b"a".as_ref()), (true, b"c".as_ref())]);
    assert_eq!(f.range(all()).count, 1);
    let again = f.apply(Command::LeaseRevoke(pb::LeaseRevokeRequest { id: 5 }));
    assert_eq!(again, Err(Error::LeaseNotFound));
    assert_eq!(f.store.revision(), 4);
}

#[test]
fn without_space_only_what_frees_it_goes_on() {
    let f = Fixture::new();
    f.put("a", "1");
    let alarm = |action| pb::AlarmRequest {
        action,
        member_id: 9,
        alarm: pb::AlarmType::Nospace as i32,
    };
    f.apply(Command::Alarm(alarm(1))).unwrap();
    let put = || {
        Command::Put(pb::PutRequest {
            key: "b".into(),
            ..Default::default()
        })
    };
    assert_eq!(f.apply(put()), Err(Error::NoSpace));
    let otherwise = pb::TxnRequest {
        failure: vec![put_op("b", 0)],
        ..Default::default()
    };
    assert_eq!(f.txn(otherwise), Err(Error::NoSpace), "a put in either branch");
    assert!(matches!(
        f.apply(Command::LeaseGrant(pb::LeaseGrantRequest { id: 1, ttl: 9 })),
        Err(Error::NoSpace)
    ));
    f.delete("a");
    assert_eq!(f.compact(2), None);
    f.apply(Command::Alarm(alarm(2))).unwrap();
    assert!(f.apply(put()).is_ok());
}

#[test]
fn a_read_in_progress_keeps_what_a_compaction_would_take() {
    let f = Fixture::new();
    for key in ["a", "b", "c"] {
        f.put(key, "old");
    }
    let mut cursor = f.store.cursor(&all()).unwrap();
    let mut values: Vec<Bytes> = cursor.next(1).unwrap().into_iter().map(|kv| kv.value).collect();
    for key in ["a", "b", "c"] {
        f.put(key, "new");
    }
    assert_eq!(f.compact(7), None);
    // The trimmer goes as far as the reader allows, and no further.
    let reached = loop {
        match f.store.trim_slice().unwrap() {
            Slice::More => {}
            other => break other,
        }
    };
    assert_eq!(reached, Slice::Waiting);
    while !cursor.is_done() {
        values.extend(cursor.next(1).unwrap().into_iter().map(|kv| kv.value));
    }
    assert_eq!(values, ["old", "old", "old"]);
    drop(cursor);
    while f.store.trim_slice().unwrap() != Slice::Done {}
    assert_eq!(f.store.trimmed(), 7);
}

#[test]
fn only_what_was_flushed_survives_and_the_store_knows_it() {
    let f = Fixture::new();
    f.put("a", "1");
    assert_eq!(f.store.durable_index().unwrap(), 0);
    f.store.flush().unwrap();
    assert_eq!(f.store.durable_index().unwrap(), 1);
    f.put("b", "2");
    assert_eq!(f.store.durable_index().unwrap(), 1);
    let left = common::copy_as_after_a_crash(&f.dir);
    let store = Store::open(&Options {
        path: left.path().to_owned(),
        cache_bytes: 1 << 20,
    })
    .unwrap();
    assert_eq!(store.applied_state().index, 1);
    assert_eq!(store.revision(), 2);
    assert_eq!(store.range(&all()).unwrap().count, 1);
}

#[test]
fn damaged_commands_are_refused_and_counted() {
    let f = Fixture::new();
    let entry = LogEntry {
        index: 1,
        term: 1,
        leader: 1,
        command: Bytes::from_static(b"\xff\xff"),
        membership: None,
    };
    assert_eq!(f.store.apply(&[entry]).unwrap(), [Err(Error::Malformed)]);
    assert_eq!(f.store.applied_state().index, 1);
    assert!(matches!(
        f.store.range(&pb::RangeRequest { revision: 5, ..all() }),
        Err(ReadError::Refused(_))
    ));
}

#[test]
fn one_transaction_may_put_a_key_and_delete_it() {
    let mut f = Fixture::new();
    f.put("k", "before");
    let everything = || {
        op(Request::RequestDeleteRange(pb::DeleteRangeRequest {
            key: "a".into(),
            range_end: Bytes::from_static(b"\0"),
            prev_kv: true,
        }))
    };
    let deletes_last = pb::TxnRequest {
        success: vec![put_op("k", 0), put_op("z", 0), everything()],
        ..Default::default()
    };
    assert_eq!(f.txn(deletes_last).unwrap().header.unwrap().revision, 3);
    let puts_last = pb::TxnRequest {
        success: vec![put_op("x", 0), everything(), put_op("k", 0), put_op("x", 0)],
        ..Default::default()
    };
    assert_eq!(f.txn(puts_last).unwrap().header.unwrap().revision, 4);
    let count_at = |f: &Fixture, revision| f.range(pb::RangeRequest { revision, ..all() }).count;
    for compacted in [None, Some(3), Some(4)] {
        if let Some(revision) = compacted {
            assert_eq!(f.compact(revision), None);
            while f.store.trim_slice().unwrap() != Slice::Done {}
        }
        let found = f.range(all());
        let versions: Vec<_> = found.kvs.iter().map(|kv| (kv.create_revision, kv.version)).collect();
        assert_eq!(versions, [(4, 1), (4, 1)], "after {compacted:?}");
        if compacted != Some(4) {
            assert_eq!(count_at(&f, 3), 0, "after {compacted:?}");
        }
        f.store.flush().unwrap();
        let Fixture { store, dir } = f;
        drop(store);
        let store = Store::open(&Options {
            path: dir.path().to_owned(),
            cache_bytes: 1 << 20,
        });
        f = Fixture {
            store: store.unwrap(),
            dir,
        };
        assert_eq!(f.range(all()).kvs, found.kvs, "after {compacted:?} and a restart");
    }
}
