//! A state sent from one store to another: over both engines, cut, damaged, and with crashes in between.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use keelson_mvcc::{
    Command, Error, KeyRange, LeaseChange, LogEntry, MemoryDisk, Options, ReadError, Slice, SnapshotReader,
    StateMachine, Store,
};
use keelson_proto::etcdserverpb as pb;
use parking_lot::Mutex;
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

const CHUNK_BYTES: usize = 300;

/// A store of either engine, and what is left of it after a crash.
enum Place {
    Folder(tempfile::TempDir),
    Memory(MemoryDisk),
}

impl Place {
    fn both() -> [Place; 2] {
        [Place::Folder(common::tempdir()), Place::Memory(MemoryDisk::default())]
    }
    fn open(&self) -> Arc<Store> {
        match self {
            Place::Folder(dir) => open(dir.path()),
            Place::Memory(disk) => Store::open_in_memory(disk).unwrap(),
        }
    }
    fn after_a_crash(&self) -> Place {
        match self {
            Place::Folder(dir) => Place::Folder(copy(dir)),
            Place::Memory(disk) => Place::Memory(disk.clone()),
        }
    }
}

fn open(root: &Path) -> Arc<Store> {
    Store::open(&Options {
        path: root.join("state"),
        cache_bytes: 1 << 20,
    })
    .unwrap()
}

/// All of a folder, with what is beside the store.
fn copy(from: &tempfile::TempDir) -> tempfile::TempDir {
    let to = common::tempdir();
    let mut left = vec![std::path::PathBuf::new()];
    while let Some(at) = left.pop() {
        for file in std::fs::read_dir(from.path().join(&at)).unwrap() {
            let file = file.unwrap();
            let at = at.join(file.file_name());
            if file.file_type().unwrap().is_dir() {
                std::fs::create_dir(to.path().join(&at)).unwrap();
                left.push(at);
            } else {
                std::fs::copy(file.path(), to.path().join(&at)).unwrap();
            }
        }
    }
    to
}

fn apply(store: &Store, command: Command) {
    let entry = LogEntry {
        index: store.applied_state().index + 1,
        term: 3,
        leader: 1,
        command: command.encode(),
        membership: None,
    };
    store.apply(&[entry]).unwrap().remove(0).unwrap();
}

fn put(store: &Store, key: &str, value: impl Into<Bytes>, lease: i64) {
    apply(
        store,
        Command::Put(pb::PutRequest {
            key: key.to_owned().into(),
            value: value.into(),
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

fn grant(store: &Store, id: i64, ttl: i64) {
    apply(store, Command::LeaseGrant(pb::LeaseGrantRequest { id, ttl }));
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

/// With leases, an alarm, deletions, and a compaction that has physically come half way.
fn filled(store: &Store) {
    grant(store, 7, 60);
    grant(store, 8, 120);
    for i in 0..60 {
        put(
            store,
            &format!("k{:02}", i % 20),
            format!("value {i}"),
            [0, 7, 8][i % 3],
        );
    }
    delete(store, "k03");
    apply(
        store,
        Command::Alarm(pb::AlarmRequest {
            action: pb::alarm_request::AlarmAction::Activate as i32,
            member_id: 5,
            // A kind that stops nobody from writing.
            alarm: 9,
        }),
    );
    compact(store, 30);
    while store.trim_slice().unwrap() == Slice::More {}
    compact(store, 40);
}

fn all() -> pb::RangeRequest {
    pb::RangeRequest {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        ..Default::default()
    }
}

fn chunks(reader: &mut dyn SnapshotReader, bytes_max: usize) -> Vec<Bytes> {
    let (mut out, mut after) = (Vec::new(), Bytes::new());
    loop {
        let chunk = reader.chunk(&after, bytes_max).unwrap();
        out.push(chunk.data);
        match chunk.next {
            Some(next) => after = next,
            None => return out,
        }
    }
}

fn exported(store: &Store) -> Vec<Bytes> {
    chunks(&mut *store.snapshot().unwrap(), CHUNK_BYTES)
}

fn install(store: &Store, chunks: &[Bytes]) {
    let mut writer = store.begin_install().unwrap();
    for chunk in chunks {
        writer.add(chunk.clone()).unwrap();
    }
    writer.finish().unwrap();
}

/// Everything that can be asked.
fn assert_same(a: &Arc<Store>, b: &Arc<Store>) {
    assert_eq!(a.applied_state(), b.applied_state());
    assert_eq!((a.revision(), a.compacted()), (b.revision(), b.compacted()));
    assert_eq!(a.hash(0).unwrap(), b.hash(0).unwrap());
    assert_eq!(a.leases(), b.leases());
    for (id, ..) in a.leases() {
        assert_eq!(a.lease_keys(id), b.lease_keys(id));
    }
    assert_eq!(a.alarms(), b.alarms());
    for revision in a.compacted().max(1)..=a.revision() {
        let request = pb::RangeRequest { revision, ..all() };
        assert_eq!(a.range(&request).unwrap(), b.range(&request).unwrap());
        assert_eq!(events(a, revision), events(b, revision));
    }
}

type Seen = (i64, bool, Bytes, Option<Bytes>);

fn events(store: &Store, mut from: i64) -> Vec<Seen> {
    let range = KeyRange::new(Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
    let mut seen = Vec::new();
    loop {
        let caught = store.catch_up(&range, from).unwrap();
        for event in caught.revisions.iter().flat_map(|r| &r.events) {
            let previous = event.previous_kv(store).unwrap().map(|kv| kv.value);
            seen.push((event.kv.mod_revision, event.delete, event.kv.key.clone(), previous));
        }
        from = caught.next;
        if from > caught.current {
            return seen;
        }
    }
}

/// Both engines, from the first or the second on.
fn others(first: usize) -> [Place; 2] {
    let mut both = Place::both();
    both.rotate_left(first);
    both
}

#[test]
fn what_is_installed_is_what_was_exported() {
    for turn in 0..2 {
        for (source, target) in Place::both().into_iter().zip(others(turn)) {
            let (from, to) = (source.open(), target.open());
            filled(&from);
            put(&to, "of the old state", "gone", 0);
            let chunks = exported(&from);
            assert!(chunks.len() > 5);
            install(&to, &chunks);
            assert_same(&from, &to);
            assert_eq!(to.durable_index().unwrap(), to.applied_state().index);
            // Both go on from there as one.
            for store in [&from, &to] {
                while store.trim_slice().unwrap() == Slice::More {}
                apply(store, Command::LeaseRevoke(pb::LeaseRevokeRequest { id: 7 }));
            }
            assert_same(&from, &to);
            drop(to);
            let again = target.open();
            install(&again, &exported(&from));
            assert_same(&from, &again);
        }
    }
}

#[test]
fn engines_cut_the_same_chunks_whatever_happens_meanwhile() {
    let mut of = Vec::new();
    for place in Place::both() {
        let store = place.open();
        filled(&store);
        let mut reader = store.snapshot().unwrap();
        let first = reader.chunk(b"", CHUNK_BYTES).unwrap();
        put(&store, "later", "not in it", 0);
        while store.trim_slice().unwrap() == Slice::More {}
        store.flush().unwrap();
        store.reclaim().unwrap();
        let all = chunks(&mut *reader, CHUNK_BYTES);
        assert_eq!(all[0], first.data);
        // A stream that was cut goes on at any token.
        let token = reader_token(&mut *reader, 2);
        let third = reader.chunk(&token, CHUNK_BYTES).unwrap();
        assert_eq!(all[2], third.data);
        of.push(all);
    }
    assert_eq!(of[0], of[1]);
}

fn reader_token(reader: &mut dyn SnapshotReader, nth: usize) -> Bytes {
    (0..nth).fold(Bytes::new(), |after, _| {
        reader.chunk(&after, CHUNK_BYTES).unwrap().next.unwrap()
    })
}

#[test]
fn what_does_not_fit_is_refused_and_the_rest_still_fits() {
    for place in Place::both() {
        let (from, to) = (Store::open_in_memory(&MemoryDisk::default()).unwrap(), place.open());
        filled(&from);
        let good = exported(&from);
        put(&from, "k00", "another", 0);
        let other = exported(&from);
        let mut before = to.begin_install().unwrap();
        before.add(good[0].clone()).unwrap();
        let mut writer = to.begin_install().unwrap();
        assert!(before.add(good[1].clone()).is_err(), "its place is taken");
        assert!(before.finish().is_err());
        assert!(writer.add(good[1].clone()).is_err(), "the first is missing");
        writer.add(good[0].clone()).unwrap();
        assert!(writer.add(good[0].clone()).is_err(), "it was here before");
        assert!(writer.add(good[2].clone()).is_err(), "one is missing");
        assert!(writer.add(other[1].clone()).is_err(), "of another snapshot");
        let mut torn = good[1].to_vec();
        torn.truncate(torn.len() / 2);
        assert!(writer.add(torn.into()).is_err());
        let mut flipped = good[1].to_vec();
        flipped[40] ^= 4;
        assert!(writer.add(flipped.into()).is_err());
        for chunk in &good[1..] {
            writer.add(chunk.clone()).unwrap();
        }
        assert!(writer.add(good[0].clone()).is_err(), "it is complete");
        writer.finish().unwrap();
        // An end that comes early, and a state older than the one that is here.
        let mut early = to.begin_install().unwrap();
        early.add(good[0].clone()).unwrap();
        assert!(early.finish().is_err());
        let mut older = to.begin_install().unwrap();
        let small = Store::open_in_memory(&MemoryDisk::default()).unwrap();
        put(&small, "a", "b", 0);
        for chunk in exported(&small) {
            older.add(chunk).unwrap();
        }
        assert!(older.finish().is_err());
        install(&to, &other);
        assert_same(&from, &to);
    }
}

#[test]
fn a_crash_at_any_step_leaves_one_state_or_the_other() {
    let from = Store::open_in_memory(&MemoryDisk::default()).unwrap();
    filled(&from);
    let chunks = exported(&from);
    for place in Place::both() {
        let old = Store::open_in_memory(&MemoryDisk::default()).unwrap();
        let to = place.open();
        for store in [&old, &to] {
            put(store, "old", "state", 0);
            store.flush().unwrap();
        }
        let mut writer = to.begin_install().unwrap();
        for chunk in &chunks {
            assert_same(&place.after_a_crash().open(), &old);
            writer.add(chunk.clone()).unwrap();
            // What was being received must not stop the crashed one from receiving again.
        }
        if let Place::Folder(_) = place {
            let crashed = place.after_a_crash();
            let again = crashed.open();
            assert_same(&again, &old);
            install(&again, &chunks);
            assert_same(&again, &from);
        }
    }
    for place in Place::both() {
        let to = place.open();
        put(&to, "old", "state", 0);
        install(&to, &chunks);
        assert_same(&place.after_a_crash().open(), &from);
        if let Place::Folder(_) = place {
            // While the one before is still there, and while what came after is not flushed.
            put(&to, "k01", "unflushed", 0);
            assert_same(&place.after_a_crash().open(), &from);
            to.flush().unwrap();
            assert_same(&place.after_a_crash().open(), &to);
        }
    }
}

#[test]
fn leases_are_told_watchers_catch_up_and_readers_end_well() {
    for place in Place::both() {
        let (from, to) = (Store::open_in_memory(&MemoryDisk::default()).unwrap(), place.open());
        let told = Arc::new(Mutex::new(Vec::new()));
        for store in [&from, &to] {
            grant(store, 1, 60);
            grant(store, 2, 60);
            for i in 0..20 {
                put(store, &format!("k{i:02}"), "old", 0);
            }
        }
        to.on_lease_change({
            let told = told.clone();
            move |change| told.lock().push(change)
        });
        apply(&from, Command::LeaseRevoke(pb::LeaseRevokeRequest { id: 2 }));
        grant(&from, 2, 90);
        grant(&from, 3, 30);
        for i in 0..10 {
            put(&from, &format!("k{i:02}"), "new", 3);
        }
        let before = to.revision();
        let mut cursor = to.cursor(&all()).unwrap();
        let first = cursor.next(5).unwrap();
        let watched = to.ring().newest();
        install(&to, &exported(&from));
        let mut now = told.lock().clone();
        now.sort_by_key(|change| match change {
            LeaseChange::Granted { id, .. } => (*id, 1),
            LeaseChange::Revoked { id } => (*id, 0),
        });
        assert_eq!(
            now,
            [
                LeaseChange::Revoked { id: 2 },
                LeaseChange::Granted { id: 2, ttl_seconds: 90 },
                LeaseChange::Granted { id: 3, ttl_seconds: 30 },
            ]
        );
        // A reader has the rest of what it began to read.
        let rest = cursor.next(100).unwrap();
        assert_eq!(first.len() + rest.len(), 20);
        assert!(rest.iter().all(|kv| kv.value == "old" && kv.mod_revision <= before));
        // A watcher that had everything is told to look in the store, and finds what it missed.
        assert!(to.ring().since(watched, 10).is_none());
        assert_eq!(events(&to, watched + 1), events(&from, watched + 1));
        assert_eq!(to.ring().newest(), to.revision());
        // Where that is compacted, readers and watchers are told.
        let mut cursor = to.cursor(&all()).unwrap();
        cursor.next(5).unwrap();
        let read_at = to.revision();
        put(&from, "k00", "newer", 0);
        let current = from.revision();
        compact(&from, current);
        install(&to, &exported(&from));
        assert!(matches!(cursor.next(5), Err(ReadError::Refused(Error::Compacted))));
        drop(cursor);
        let range = KeyRange::single(Bytes::from_static(b"k00"));
        assert!(matches!(
            to.catch_up(&range, read_at),
            Err(ReadError::Refused(Error::Compacted))
        ));
        while to.trim_slice().unwrap() == Slice::More {}
        assert_same(&from, &to);
    }
}

#[test]
fn a_frozen_copy_takes_its_files_along() {
    let dir = common::tempdir();
    let store = open(dir.path());
    filled(&store);
    let mut reader = store.snapshot().unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    install(&store, &chunks(&mut *reader, 1 << 20));
    drop(reader);
    let names: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|f| f.unwrap().file_name())
        .collect();
    assert_eq!(names, ["state.1"], "the state before it is gone too");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn any_state_comes_over_in_pieces_of_any_size(
        ops in proptest::collection::vec((0..5u8, 0..12u8, 0..400usize), 0..80),
        bytes_max in 0..2000usize,
        cut_at in any::<proptest::sample::Index>(),
    ) {
        let from = Store::open_in_memory(&MemoryDisk::default()).unwrap();
        grant(&from, 1, 60);
        for (kind, key, size) in ops {
            let key = format!("k{key}");
            match kind {
                0..=2 => put(&from, &key, vec![key.len() as u8; size], i64::from(kind == 2)),
                3 => delete(&from, &key),
                _ if from.revision() > from.compacted() => compact(&from, (from.compacted().max(1) + from.revision() + 1) / 2),
                _ => {}
            }
        }
        let all = chunks(&mut *from.snapshot().unwrap(), bytes_max);
        let disk = MemoryDisk::default();
        let to = Store::open_in_memory(&disk).unwrap();
        // A stream that breaks off and begins again.
        let mut broken = to.begin_install().unwrap();
        for chunk in all.iter().take(cut_at.index(all.len())) {
            broken.add(chunk.clone()).unwrap();
        }
        drop(broken);
        install(&to, &all);
        assert_same(&from, &to);
        drop(to);
        assert_same(&from, &Store::open_in_memory(&disk).unwrap());
    }
}
