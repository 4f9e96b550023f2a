//! A store's contents out, and into another one.
#![allow(clippy::unwrap_used)]

mod common;

use keelson_mvcc::{Command, Dump, Load, LogEntry, Options, Slice, StateMachine, Store, Version};
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb::KeyValue;
use prost::Message;
use std::path::Path;
use std::sync::Arc;

fn open(path: &Path) -> Arc<Store> {
    Store::open(&options(path)).unwrap()
}

fn options(path: &Path) -> Options {
    Options {
        path: path.to_owned(),
        cache_bytes: 1 << 20,
    }
}

fn apply(store: &Store, command: Command) {
    let entry = LogEntry {
        index: store.applied_state().index + 1,
        term: 3,
        leader: 1,
        command: command.encode(),
        membership: Some("members".into()),
    };
    store.apply(&[entry]).unwrap().remove(0).unwrap();
}

fn put(store: &Store, key: &str, lease: i64) {
    apply(
        store,
        Command::Put(pb::PutRequest {
            key: key.to_owned().into(),
            value: key.to_owned().into(),
            lease,
            ..Default::default()
        }),
    );
}

fn delete(store: &Store, key: &str) {
    apply(
        store,
        Command::DeleteRange(pb::DeleteRangeRequest {
            key: key.to_owned().into(),
            ..Default::default()
        }),
    );
}

fn compact(store: &Store, revision: i64) {
    apply(
        store,
        Command::Compact(pb::CompactionRequest {
            revision,
            physical: false,
        }),
    );
}

fn sample(store: &Store) {
    apply(store, Command::LeaseGrant(pb::LeaseGrantRequest { id: 7, ttl: 60 }));
    put(store, "a", 7);
    put(store, "b", 0);
    put(store, "a", 7);
    delete(store, "b");
    put(store, "c", 0);
    delete(store, "c");
    put(store, "d", 0);
}

fn versions(mut dump: Dump) -> Vec<(Version, KeyValue)> {
    let mut all = Vec::new();
    while let Some((version, record)) = dump.next_version().unwrap() {
        all.push((version, KeyValue::decode(record).unwrap()));
    }
    all
}

fn trim(store: &Store) {
    while store.trim_slice().unwrap() == Slice::More {}
}

#[test]
fn what_comes_out_goes_in() {
    let dir = common::tempdir();
    let from = open(&dir.path().join("from"));
    sample(&from);
    compact(&from, 6);
    let dump = from.dump();
    let holdings = dump.holdings.clone();
    assert_eq!((holdings.revision, holdings.compacted), (8, 6));
    assert_eq!(holdings.leases, [(7, 60, 0)]);
    let path = dir.path().join("to");
    let mut load = Load::create(&options(&path)).unwrap();
    let all = versions(dump);
    for (version, kv) in all.clone() {
        load.add(version, kv).unwrap();
    }
    load.finish(&holdings, holdings.compacted).unwrap();
    let to = open(&path);
    assert!(!to.trim_pending());
    assert_eq!(to.dump().holdings, holdings);
    assert_eq!(to.lease_keys(7), from.lease_keys(7));
    assert_eq!(versions(to.dump()), all);
    for revision in [6, 7, 8] {
        assert_eq!(to.hash(revision).unwrap(), from.hash(revision).unwrap());
    }
    drop(to);
    assert!(Load::create(&options(&path)).is_err(), "it holds a store");
}

#[test]
fn a_dump_is_the_same_however_far_a_compaction_is() {
    let dir = common::tempdir();
    let store = open(dir.path());
    sample(&store);
    // Of what is deleted exactly here the deletion stays.
    compact(&store, 7);
    let begun = store.dump();
    let before = versions(store.dump());
    let mains: Vec<_> = before.iter().map(|(v, _)| (v.rev.main, v.tombstone)).collect();
    assert_eq!(mains, [(4, false), (7, true), (8, false)]);
    assert_eq!(before[1].1.mod_revision, 0, "a deletion carries its key alone");
    trim(&store);
    assert_eq!(versions(store.dump()), before);
    // What is written or compacted meanwhile does not show in one that was begun.
    put(&store, "e", 0);
    compact(&store, 9);
    trim(&store);
    assert_eq!(versions(begun), before);
    trim(&store);
    assert!(!store.trim_pending());
}

#[test]
fn a_compaction_that_is_not_carried_out_is_carried_out_later() {
    let dir = common::tempdir();
    let from = open(&dir.path().join("from"));
    sample(&from);
    let all = versions(from.dump());
    compact(&from, 8);
    let path = dir.path().join("to");
    let mut load = Load::create(&options(&path)).unwrap();
    for (version, kv) in all {
        load.add(version, kv).unwrap();
    }
    load.finish(&from.dump().holdings, -1).unwrap();
    let to = open(&path);
    assert!(to.trim_pending());
    assert_eq!(versions(to.dump()), versions(from.dump()));
    trim(&to);
    assert!(!to.trim_pending());
    assert_eq!(versions(to.dump()), versions(from.dump()));
}

#[test]
fn what_cannot_be_is_refused() {
    let dir = common::tempdir();
    let version = |main, sub| Version {
        rev: keelson_mvcc::Rev { main, sub },
        tombstone: false,
    };
    let mut load = Load::create(&options(dir.path())).unwrap();
    load.add(version(3, 1), KeyValue::default()).unwrap();
    for (main, sub) in [(3, 1), (3, 0), (2, 5), (0, 0), (-1, 0)] {
        assert!(load.add(version(main, sub), KeyValue::default()).is_err());
    }
    let too_low = keelson_mvcc::Holdings {
        revision: 2,
        ..Default::default()
    };
    assert!(load.finish(&too_low, -1).is_err());
}

#[test]
fn hashes_of_compactions_are_kept_and_answer_below_them() {
    let dir = common::tempdir();
    let store = open(dir.path());
    let mut before = Vec::new();
    for n in 0..keelson_mvcc::COMPACTION_HASHES_MAX as i64 + 3 {
        put(&store, "a", 0);
        delete(&store, "a");
        put(&store, "b", 0);
        let revision = store.revision();
        before.push(store.hash(revision).unwrap());
        compact(&store, revision);
        // Two that wait are carried out one after the other, so that each leaves its hash.
        if n % 2 == 1 {
            trim(&store);
        }
    }
    trim(&store);
    let kept = store.compaction_hashes();
    assert_eq!(kept.len(), keelson_mvcc::COMPACTION_HASHES_MAX);
    assert_eq!(kept, before[before.len() - kept.len()..]);
    for hashed in kept {
        assert_eq!(store.hash(hashed.revision).unwrap(), hashed);
    }
    assert!(store.hash(before[0].revision).is_err());
}
