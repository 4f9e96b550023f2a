//! With the datastore's real state machine under it.
#![allow(clippy::unwrap_used)]
use super::{copy_log, options};
use crate::{Node, Options};
use keelson_mvcc::{Command, Store};
use keelson_proto::etcdserverpb as pb;
use std::path::Path;

fn open(dir: &Path) -> std::sync::Arc<Store> {
    Store::open(&keelson_mvcc::Options {
        path: dir.to_owned(),
        cache_bytes: 1 << 20,
    })
    .unwrap()
}

fn put(i: u64) -> bytes::Bytes {
    let request = pb::PutRequest {
        key: format!("/k/{}", i % 50).into(),
        value: vec![7; 200].into(),
        ..Default::default()
    };
    Command::Put(request).encode()
}

fn small(dir: &Path) -> Options {
    let mut o = options(dir);
    o.segment_bytes = 16 << 10;
    o.flush_log_bytes = 32 << 10;
    o
}

#[tokio::test]
async fn revisions_go_on_after_a_crash() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let mut log = root.path().join("log0");
    for round in 1..4u64 {
        let node = Node::start_alone(small(&log), open(&data)).await.unwrap();
        for i in 0..300 {
            node.propose(put(i)).await.unwrap().1.unwrap();
        }
        assert_eq!(node.machine().revision(), 1 + 300 * round as i64);
        assert!(node.first_log_index().is_none_or(|first| first > 100));
        let next = root.path().join(format!("log{round}"));
        copy_log(&log, &next);
        log = next;
        drop(node);
        // RocksDB lets go of its folder when the last task has dropped the machine.
        let store = tokio::task::spawn_blocking({
            let data = data.clone();
            move || loop {
                if let Ok(s) = Store::open(&keelson_mvcc::Options {
                    path: data.clone(),
                    cache_bytes: 1 << 20,
                }) {
                    return s;
                }
                std::thread::yield_now();
            }
        });
        drop(
            tokio::time::timeout(std::time::Duration::from_secs(10), store)
                .await
                .unwrap()
                .unwrap(),
        );
    }
}
