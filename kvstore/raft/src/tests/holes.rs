//! What the log no longer has is never sent as something else.
use crate::{
    log_store::LogStore,
    marker::Marker,
    types::{Command, Entry, Types, Vote, from_entry_id},
    wire,
};
use bytes::Bytes;
use keelson_wal::{EntryId, Wal};
use openraft::{EntryPayload, raft::AppendEntriesRequest, storage::RaftLogReader};
use std::sync::Arc;
use tokio::sync::oneshot;

fn entry(index: u64) -> keelson_wal::Entry {
    keelson_wal::Entry {
        id: EntryId { term: 1, index },
        tag: 0,
        payload: Bytes::new(),
    }
}

async fn done(change: impl FnOnce(keelson_wal::Callback) -> Result<(), keelson_wal::Error>) {
    let (tx, rx) = oneshot::channel();
    change(Box::new(move |r| tx.send(r).unwrap())).unwrap();
    rx.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_read_from_a_purged_place_answers_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::open(keelson_wal::Options::new(dir.path())).unwrap();
    done(|cb| wal.append((1..=20).map(entry).collect(), cb)).await;
    let mut log = LogStore::new(wal.clone(), Arc::new(Marker::of(dir.path())), Arc::default());
    // openraft counts from 0.
    assert_eq!(log.limited_get_log_entries(4, 9).await.unwrap()[0].log_id.index, 4);
    done(|cb| wal.purge(EntryId { term: 1, index: 10 }, cb)).await;
    assert!(log.limited_get_log_entries(4, 19).await.unwrap().is_empty());
    assert_eq!(log.limited_get_log_entries(10, 19).await.unwrap()[0].log_id.index, 10);
}

#[test]
fn a_message_with_a_hole_is_not_sent() {
    let blank = |index| Entry {
        log_id: from_entry_id(EntryId { term: 1, index }),
        payload: EntryPayload::<Command, u64, crate::Member>::Blank,
    };
    let message = |entries| AppendEntriesRequest::<Types> {
        vote: Vote::new_committed(1, 1),
        prev_log_id: Some(from_entry_id(EntryId { term: 1, index: 38 })),
        entries,
        leader_commit: None,
    };
    assert!(wire::append_to(message(vec![blank(39), blank(40)]), None).is_ok());
    assert!(wire::append_to(message(vec![blank(52)]), None).is_err());
    assert!(wire::append_to(message(vec![blank(39), blank(41)]), None).is_err());
}
