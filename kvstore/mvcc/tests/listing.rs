//! A list given in pieces is the list given whole, byte for byte, whatever is written meanwhile; and a store that is
//! opened again knows the same lengths.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use keelson_mvcc::{
    Command, Listing, LogEntry, MemoryDisk, Options, Reading, SLICE_KEYS_MAX, Slice, StateMachine, Store,
};
use keelson_proto::etcdserverpb as pb;
use proptest::prelude::*;
use prost::Message;
use std::path::Path;
use std::sync::Arc;

fn open(path: &Path) -> Arc<Store> {
    let options = Options {
        path: path.to_owned(),
        cache_bytes: 1 << 20,
    };
    Store::open(&options).unwrap()
}

fn apply(store: &Store, commands: Vec<Command>) {
    let index = store.applied_state().index;
    let entries: Vec<_> = (index + 1..)
        .zip(commands)
        .map(|(index, command)| LogEntry {
            index,
            term: 1,
            leader: 1,
            command: command.encode(),
            membership: None,
        })
        .collect();
    store.apply(&entries).unwrap();
}

fn put(key: impl Into<Bytes>, bytes: usize) -> Command {
    Command::Put(pb::PutRequest {
        key: key.into(),
        value: vec![b'v'; bytes].into(),
        ..Default::default()
    })
}

/// Some continue others with zeros, so that their rows do not sort as they do.
fn key(n: u16) -> Bytes {
    match n % 5 {
        0 => format!("/a/{}", n / 5).into(),
        1 => [format!("/a/{}", n / 5).as_bytes(), &[0; 9]].concat().into(),
        _ => format!("/b/{n:05}").into(),
    }
}

fn all(revision: i64, limit: i64) -> pb::RangeRequest {
    pb::RangeRequest {
        key: "/".into(),
        range_end: "0".into(),
        revision,
        limit,
        ..Default::default()
    }
}

fn listing(store: &Arc<Store>, request: &pb::RangeRequest) -> Option<Listing> {
    match store.read(request, 1).unwrap() {
        Reading::Pieces(listing) => Some(listing),
        Reading::Cursor(_) => None,
    }
}

/// The `kvs` as they stand in the answer.
fn listed(store: &Arc<Store>, request: &pb::RangeRequest) -> (Vec<u8>, bool, i64) {
    let whole = store.range(request).unwrap();
    if request.limit == 0 {
        assert_eq!(whole.count, whole.kvs.len() as i64);
    }
    let kvs = pb::RangeResponse {
        kvs: whole.kvs,
        ..Default::default()
    };
    (kvs.encode_to_vec(), whole.more, whole.count)
}

fn check(store: &Arc<Store>, request: &pb::RangeRequest, piece: u64, mut meanwhile: impl FnMut()) {
    let (expected, more, count) = listed(store, request);
    let Some(mut listing) = listing(store, request) else {
        assert!(expected.is_empty(), "what has records is given in pieces");
        return;
    };
    assert_eq!(listing.bytes(), expected.len() as u64);
    assert_eq!((listing.has_more(), listing.count()), (more, count));
    let mut given = Vec::new();
    while listing.keys_left() > 0 {
        let before = given.len();
        listing.next(piece, &mut given).unwrap();
        assert!(given.len() > before);
        meanwhile();
    }
    listing.next(piece, &mut given).unwrap();
    assert!(given == expected, "the same bytes");
}

#[derive(Clone, Debug)]
enum Op {
    Put(u16, usize),
    Delete(u16),
    Compact(i64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let bytes = prop_oneof![0..300usize, 16_000..17_000usize];
    let op = prop_oneof![
        8 => (0..200u16, bytes).prop_map(|(n, bytes)| Op::Put(n, bytes)),
        2 => (0..200u16).prop_map(Op::Delete),
        1 => (1..40i64).prop_map(Op::Compact),
    ];
    proptest::collection::vec(op, 1..250)
}

fn run(store: &Store, op: &Op) {
    let command = match *op {
        Op::Put(n, bytes) => put(key(n), bytes),
        Op::Delete(n) => Command::DeleteRange(pb::DeleteRangeRequest {
            key: key(n),
            ..Default::default()
        }),
        Op::Compact(back) => Command::Compact(pb::CompactionRequest {
            revision: (store.revision() - back).max(1),
            ..Default::default()
        }),
    };
    apply(store, vec![command]);
}

fn check_all(store: &Arc<Store>, more: &[Op], piece: u64) {
    let revision = store.revision();
    let oldest = store.compacted().max(1);
    let mut more = more.iter().cycle();
    for (at, limit) in [
        (0, 0),
        (0, 7),
        (revision, 100),
        (oldest, 0),
        ((oldest + revision) / 2, 20),
    ] {
        check(store, &all(at.max(store.compacted()), limit), piece, || {
            if let Some(op) = more.next() {
                run(store, op);
            }
            while matches!(store.trim_slice().unwrap(), Slice::More) {}
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn pieces_are_the_whole(before in ops(), more in ops(), piece in 1..40_000u64) {
        let dir = common::tempdir();
        let store = open(dir.path());
        before.iter().for_each(|op| run(&store, op));
        check_all(&store, &more, piece);
        drop(store);
        let store = open(dir.path());
        check_all(&store, &more, piece);

        let disk = MemoryDisk::default();
        let store = Store::open_in_memory(&disk).unwrap();
        before.iter().for_each(|op| run(&store, op));
        check_all(&store, &more, piece);
    }
}

#[test]
fn long_lists_scattered_over_revisions() {
    let dir = common::tempdir();
    let store = open(dir.path());
    let keys = 3 * SLICE_KEYS_MAX as u64;
    // First in order, then one in nine again, all over: both ways of reading are taken.
    let of = |n: u64| put(format!("/k/{n:06}"), (n % 700) as usize);
    apply(&store, (0..keys).map(of).collect());
    check(&store, &all(0, 0), 100_000, || {});
    for round in 1..20u64 {
        let again = (0..keys / 9).map(|n| of((n * 9 + round * 7919) % keys));
        apply(&store, again.collect());
    }
    StateMachine::flush(store.as_ref()).unwrap();
    check(&store, &all(0, 0), 100_000, || {});
    check(&store, &all(0, 2500), 100_000, || {});
    check(&store, &all(keys as i64 / 2, 0), 100_000, || {});
    drop(store);
    check(&open(dir.path()), &all(0, 0), 100_000, || {});
}

#[test]
fn what_is_sorted_sifted_or_small_is_not_given_in_pieces() {
    use pb::range_request::{SortOrder, SortTarget};
    let store = Store::open_in_memory(&MemoryDisk::default()).unwrap();
    apply(&store, (0..10).map(|n| put(key(n), 100)).collect());
    let request = all(0, 0);
    let whole = listing(&store, &request).unwrap().bytes();
    assert!(matches!(store.read(&request, whole).unwrap(), Reading::Pieces(_)));
    assert!(matches!(store.read(&request, whole + 1).unwrap(), Reading::Cursor(_)));
    let page = all(0, 3);
    let Reading::Cursor(mut cursor) = store.read(&page, whole).unwrap() else {
        panic!("a page is smaller");
    };
    assert_eq!(
        cursor.next(3).unwrap(),
        store.range(&page).unwrap().kvs,
        "from its beginning"
    );
    let mut others = vec![all(0, 0); 5];
    others[0].keys_only = true;
    others[1].count_only = true;
    others[2].min_mod_revision = 2;
    others[3].sort_order = SortOrder::Descend as i32;
    (others[4].sort_order, others[4].sort_target) = (SortOrder::Ascend as i32, SortTarget::Mod as i32);
    for other in others {
        assert!(listing(&store, &other).is_none(), "{other:?}");
    }
}

#[test]
fn a_state_in_another_layout_is_refused() {
    let dir = common::tempdir();
    drop(open(dir.path()));
    let mut options = rocksdb::Options::default();
    options.create_if_missing(false);
    let db = rocksdb::DB::open_cf(&options, dir.path(), ["default", "meta", "key", "data"]).unwrap();
    let meta = db.cf_handle("meta").unwrap();
    db.put_cf(meta, "format", 1u32.to_le_bytes()).unwrap();
    db.flush_cf(meta).unwrap();
    drop(db);
    let options = Options {
        path: dir.path().to_owned(),
        cache_bytes: 1 << 20,
    };
    let refused = Store::open(&options).err().unwrap();
    assert!(refused.to_string().contains("layout of another version"), "{refused}");
}
