//! Watch semantics over a log without a log.
#![allow(clippy::unwrap_used)]

use crate::direct::DirectLog;
use crate::kv::{Kv, WatchResponses};
use crate::{Options, Server};
use bytes::Bytes;
use keelson_mvcc::Store;
use keelson_proto::etcdserverpb as pb;
use pb::watch_request::RequestUnion;
use std::time::Duration;
use tokio::sync::mpsc;

const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// How long anything may take that is expected to happen.
const BOUND: Duration = Duration::from_secs(20);

struct Fixture {
    server: Server,
    kv: Kv,
    _dir: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&keelson_mvcc::Options {
        path: dir.path().to_owned(),
        cache_bytes: 1 << 20,
    })
    .unwrap();
    let mut options = Options::new("test", dir.path());
    options.progress_interval = PROGRESS_INTERVAL;
    let server = Server::assemble(&options, DirectLog::parts(store)).unwrap();
    let kv = server.kv();
    Fixture { _dir: dir, server, kv }
}

struct Watch {
    requests: mpsc::Sender<pb::WatchRequest>,
    responses: WatchResponses,
}

impl Watch {
    fn open(f: &Fixture) -> Watch {
        let (requests, receiver) = mpsc::channel(64);
        Watch {
            requests,
            responses: f.kv.watch(receiver),
        }
    }
    async fn send(&self, union: RequestUnion) {
        self.requests
            .send(pb::WatchRequest {
                request_union: Some(union),
            })
            .await
            .unwrap();
    }
    async fn create(&self, request: pb::WatchCreateRequest) {
        self.send(RequestUnion::CreateRequest(request)).await;
    }
    async fn next(&mut self) -> pb::WatchResponse {
        tokio::time::timeout(BOUND, self.responses.recv())
            .await
            .expect("an answer in time")
            .unwrap()
            .unwrap()
    }
    async fn created(&mut self, request: pb::WatchCreateRequest) -> pb::WatchResponse {
        self.create(request).await;
        let response = self.next().await;
        assert!(response.created, "{response:?}");
        response
    }
    /// Nothing was answered to what was sent so far: the answer to a refused creation comes first.
    async fn silence(&mut self) {
        self.create(pb::WatchCreateRequest {
            start_revision: -1,
            ..Default::default()
        })
        .await;
        let response = self.next().await;
        assert!(response.created && response.canceled, "{response:?}");
    }
    /// The keys of the next `n` events, with their revisions.
    async fn events(&mut self, n: usize) -> Vec<(i64, String)> {
        let mut events = Vec::new();
        while events.len() < n {
            for event in self.next().await.events {
                let kv = event.kv.unwrap();
                events.push((kv.mod_revision, String::from_utf8(kv.key.to_vec()).unwrap()));
            }
        }
        events
    }
}

fn prefix(start_revision: i64) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        key: "k".into(),
        range_end: "l".into(),
        start_revision,
        ..Default::default()
    }
}

async fn put(f: &Fixture, key: &str, value: impl Into<Bytes>) -> i64 {
    let request = pb::PutRequest {
        key: key.to_owned().into(),
        value: value.into(),
        ..Default::default()
    };
    f.kv.put(request).await.unwrap().header.unwrap().revision
}

async fn delete(f: &Fixture, key: &str) {
    let request = pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    };
    f.kv.delete_range(request).await.unwrap();
}

async fn compact(f: &Fixture, revision: i64) {
    f.kv.compact(pb::CompactionRequest {
        revision,
        physical: true,
    })
    .await
    .unwrap();
}

fn revision(response: &pb::WatchResponse) -> i64 {
    response.header.unwrap().revision
}

#[tokio::test]
async fn events_from_now_on_follow_created() {
    let f = fixture();
    put(&f, "k0", "before").await;
    let mut watch = Watch::open(&f);
    let created = watch.created(prefix(0)).await;
    assert_eq!((created.watch_id, revision(&created)), (0, 2));
    assert_eq!(put(&f, "k1", "v").await, 3);
    put(&f, "other", "v").await;
    delete(&f, "k1").await;
    let first = watch.next().await;
    assert_eq!((revision(&first), first.events.len()), (3, 1));
    let second = watch.next().await;
    assert_eq!(revision(&second), 5);
    let gone = second.events[0].kv.clone().unwrap();
    assert_eq!((second.events[0].r#type, gone.mod_revision), (1, 5));
    assert_eq!(
        (gone.version, gone.create_revision, gone.value.len()),
        (0, 0, 0),
        "only key and revision"
    );
}

#[tokio::test]
async fn ids_are_numbered_skipping_those_in_use() {
    let f = fixture();
    let mut watch = Watch::open(&f);
    assert_eq!(
        watch
            .created(pb::WatchCreateRequest {
                watch_id: 1,
                ..prefix(0)
            })
            .await
            .watch_id,
        1
    );
    assert_eq!(watch.created(prefix(0)).await.watch_id, 0);
    assert_eq!(watch.created(prefix(0)).await.watch_id, 2);
    assert_eq!(
        watch
            .created(pb::WatchCreateRequest {
                watch_id: -9,
                ..prefix(0)
            })
            .await
            .watch_id,
        -9
    );
    let refused = watch
        .created(pb::WatchCreateRequest {
            watch_id: 2,
            ..prefix(0)
        })
        .await;
    assert_eq!((refused.canceled, refused.watch_id), (true, -1));
    assert_eq!(
        refused.cancel_reason,
        "mvcc: duplicate watch ID provided on the WatchStream"
    );
}

#[tokio::test]
async fn impossible_watches_are_refused_in_etcds_words() {
    let f = fixture();
    let mut watch = Watch::open(&f);
    let empty = pb::WatchCreateRequest {
        key: "b".into(),
        range_end: "b".into(),
        ..Default::default()
    };
    let refused = watch.created(empty).await;
    assert_eq!((refused.canceled, refused.watch_id), (true, -1));
    assert_eq!(refused.cancel_reason, "mvcc: watcher range is empty");
    let refused = watch.created(prefix(-1)).await;
    assert_eq!(
        refused.cancel_reason,
        "etcdserver: mvcc: required revision has been compacted"
    );
}

#[tokio::test]
async fn a_compacted_start_is_cancelled_and_the_compacted_revision_itself_is_not() {
    let f = fixture();
    put(&f, "k", "1").await;
    put(&f, "k", "2").await;
    delete(&f, "k").await;
    put(&f, "k2", "3").await;
    compact(&f, 4).await;
    let mut watch = Watch::open(&f);
    let created = watch.created(prefix(3)).await;
    assert!(!created.canceled);
    let canceled = watch.next().await;
    assert_eq!(
        (canceled.canceled, canceled.compact_revision, revision(&canceled)),
        (true, 4, 0)
    );
    assert_eq!(canceled.cancel_reason, "");
    watch.created(prefix(4)).await;
    assert_eq!(watch.events(2).await, [(4, "k".to_owned()), (5, "k2".to_owned())]);
}

#[tokio::test]
async fn a_future_start_waits_for_its_revision() {
    let f = fixture();
    let mut watch = Watch::open(&f);
    watch.created(prefix(4)).await;
    watch
        .send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))
        .await;
    watch.silence().await;
    for n in 2..=5 {
        assert_eq!(put(&f, "k", "v").await, n);
    }
    assert_eq!(watch.events(2).await, [(4, "k".to_owned()), (5, "k".to_owned())]);
    watch
        .send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))
        .await;
    let progress = watch.next().await;
    assert_eq!(
        (progress.watch_id, revision(&progress), progress.events.len()),
        (-1, 5, 0)
    );
}

#[tokio::test]
async fn catching_up_gives_everything_once_and_goes_over_to_live_events() {
    let f = fixture();
    for n in 0..300 {
        put(&f, &format!("k{}", n % 7), "v").await;
    }
    let mut watch = Watch::open(&f);
    watch.created(prefix(2)).await;
    for n in 0..200 {
        put(&f, &format!("k{}", n % 7), "v").await;
    }
    let seen: Vec<i64> = watch
        .events(500)
        .await
        .into_iter()
        .map(|(revision, _)| revision)
        .collect();
    assert_eq!(seen, (2..=501).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_slow_watcher_holds_up_nobody_and_loses_nothing() {
    let f = fixture();
    let mut slow = Watch::open(&f);
    slow.created(pb::WatchCreateRequest {
        prev_kv: true,
        ..prefix(0)
    })
    .await;
    // More than its queue, and more than the ring: it has to read on from the store.
    let value = Bytes::from(vec![b'x'; 40_000]);
    for n in 0..400 {
        put(&f, &format!("k{}", n % 3), value.clone()).await;
    }
    let mut next = 2;
    while next < 402 {
        for event in slow.next().await.events {
            let kv = event.kv.unwrap();
            assert_eq!(kv.mod_revision, next);
            assert_eq!(event.prev_kv.is_some(), next >= 5, "at {next}");
            next += 1;
        }
    }
}

#[tokio::test]
async fn progress_comes_only_when_every_watcher_is_synced_and_after_the_events() {
    let f = fixture();
    let mut watch = Watch::open(&f);
    watch
        .send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))
        .await;
    watch.silence().await;
    watch.created(prefix(0)).await;
    put(&f, "k", "v").await;
    watch
        .send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))
        .await;
    assert_eq!(watch.events(1).await, [(2, "k".to_owned())]);
    assert_eq!(watch.next().await.watch_id, -1);
}

#[tokio::test]
async fn filters_and_cancellation() {
    let f = fixture();
    let mut watch = Watch::open(&f);
    watch
        .created(pb::WatchCreateRequest {
            filters: vec![0],
            ..prefix(0)
        })
        .await;
    put(&f, "k", "v").await;
    delete(&f, "k").await;
    let only = watch.next().await;
    assert_eq!((revision(&only), only.events.len(), only.events[0].r#type), (3, 1, 1));
    watch
        .send(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 55 }))
        .await;
    watch.silence().await;
    watch
        .send(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 0 }))
        .await;
    let canceled = watch.next().await;
    assert_eq!(
        (canceled.canceled, canceled.watch_id, canceled.created),
        (true, 0, false)
    );
    delete(&f, "k").await;
    watch.silence().await;
}

#[tokio::test]
async fn one_revision_is_one_answer_and_fragments_only_where_asked() {
    let f = fixture();
    let (mut whole, mut parts) = (Watch::open(&f), Watch::open(&f));
    whole.created(prefix(0)).await;
    parts
        .created(pb::WatchCreateRequest {
            fragment: true,
            prev_kv: true,
            ..prefix(0)
        })
        .await;
    let value = Bytes::from(vec![b'x'; 200_000]);
    let puts = |value: Bytes| {
        (0..7)
            .map(|n| pb::PutRequest {
                key: format!("k{n}").into(),
                value: value.clone(),
                ..Default::default()
            })
            .map(|r| pb::RequestOp {
                request: Some(pb::request_op::Request::RequestPut(r)),
            })
            .collect()
    };
    for _ in 0..2 {
        f.kv.txn(pb::TxnRequest {
            success: puts(value.clone()),
            ..Default::default()
        })
        .await
        .unwrap();
    }
    assert_eq!(whole.next().await.events.len(), 7);
    assert_eq!(whole.next().await.events.len(), 7);
    // 1.4 MB fit one answer; with the previous values it is 2.8 MB, over the 2 MiB.
    let first = parts.next().await;
    assert_eq!((first.fragment, first.events.len()), (false, 7));
    let second = parts.next().await;
    assert!(second.fragment && second.events.len() < 7);
    let third = parts.next().await;
    assert!(!third.fragment);
    assert_eq!(second.events.len() + third.events.len(), 7);
}

#[tokio::test]
async fn leases_expire_by_the_clock_and_keepalives_hold_them() {
    let f = fixture();
    let grant = |id, ttl| f.kv.lease_grant(pb::LeaseGrantRequest { id, ttl });
    grant(1, 2).await.unwrap();
    grant(2, 3).await.unwrap();
    for (key, lease) in [("k2", 1), ("k1", 1), ("k3", 2)] {
        let request = pb::PutRequest {
            key: key.into(),
            lease,
            ..Default::default()
        };
        f.kv.put(request).await.unwrap();
    }
    let mut watch = Watch::open(&f);
    watch.created(prefix(0)).await;
    assert_eq!(f.kv.lease_keep_alive(3).await.unwrap().ttl, 0);
    let started = std::time::Instant::now();
    let expired = watch.next().await;
    assert!(started.elapsed() > Duration::from_millis(1000));
    let keys: Vec<_> = expired.events.iter().map(|e| e.kv.clone().unwrap().key).collect();
    assert_eq!(keys, ["k1", "k2"], "sorted, in one revision");
    let left = |id| f.kv.lease_time_to_live(pb::LeaseTimeToLiveRequest { id, keys: true });
    assert_eq!(left(1).await.unwrap().ttl, -1);
    let second = left(2).await.unwrap();
    assert_eq!((second.granted_ttl, second.keys.len()), (3, 1));
    assert!((0..=3).contains(&second.ttl), "{}", second.ttl);
    assert_eq!(watch.events(1).await[0].1, "k3");
}

#[tokio::test]
async fn quiet_watchers_are_told_of_progress() {
    let f = fixture();
    let mut watch = Watch::open(&f);
    watch
        .created(pb::WatchCreateRequest {
            progress_notify: true,
            ..prefix(0)
        })
        .await;
    let first = watch.next().await;
    assert_eq!((first.watch_id, revision(&first), first.events.len()), (0, 1, 0));
    put(&f, "other", "v").await;
    // A tick may have come between the two lines above.
    let mut later = watch.next().await;
    while revision(&later) < 2 {
        later = watch.next().await;
    }
    assert_eq!((later.watch_id, later.events.len()), (0, 0));
}

#[tokio::test]
async fn a_full_store_raises_the_alarm_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&keelson_mvcc::Options {
        path: dir.path().to_owned(),
        cache_bytes: 1 << 20,
    })
    .unwrap();
    let mut options = Options::new("test", dir.path());
    options.limits.quota_bytes = 4 << 20;
    let server = Server::assemble(&options, DirectLog::parts(store)).unwrap();
    let kv = server.kv();
    let big = || pb::PutRequest {
        key: "big".into(),
        value: vec![b'x'; 500_000].into(),
        ..Default::default()
    };
    let mut refused = None;
    for _ in 0..20 {
        if let Err(status) = kv.put(big()).await {
            refused = Some(status);
            break;
        }
    }
    let refused = refused.unwrap();
    assert_eq!(refused.message(), "etcdserver: mvcc: database space exceeded");
    assert_eq!(kv.status().await.unwrap().errors, ["memberID:1 alarm:NOSPACE"]);
    let small = pb::PutRequest {
        key: "small".into(),
        ..Default::default()
    };
    assert_eq!(kv.put(small).await.unwrap_err().code(), tonic::Code::ResourceExhausted);
    let request = pb::DeleteRangeRequest {
        key: "big".into(),
        ..Default::default()
    };
    assert_eq!(kv.delete_range(request).await.unwrap().deleted, 1);
    server.shutdown().await;
}

#[tokio::test]
async fn shutdown_ends_the_streams() {
    let f = fixture();
    let mut watch = Watch::open(&f);
    watch.created(prefix(0)).await;
    f.server.shutdown().await;
    let last = tokio::time::timeout(BOUND, watch.responses.recv()).await.unwrap();
    assert_eq!(last.unwrap().unwrap_err().message(), "etcdserver: server stopped");
}
