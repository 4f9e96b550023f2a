//! What stands before every call, over a log without a log.
#![allow(clippy::unwrap_used)]

use super::leader::{self, LeaderLost};
use super::{Services, Surroundings, router};
use crate::direct::DirectLog;
use crate::{Limits, Options, Server};
use keelson_mvcc::Store;
use keelson_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};

const BOUND: Duration = Duration::from_secs(20);
const ELECTION: Duration = Duration::from_millis(20);

fn needs_leader<T>(message: T, needed: bool) -> Request<T> {
    let mut request = Request::new(message);
    if needed {
        request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    }
    request
}

#[tokio::test]
async fn without_a_leader_those_that_need_one_are_refused_and_their_streams_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&keelson_mvcc::Options {
        path: dir.path().to_owned(),
        cache_bytes: 1 << 20,
    })
    .unwrap();
    let log = Arc::new(DirectLog::new(store.clone()));
    let mut parts = DirectLog::parts(store);
    parts.log = log.clone();
    let server = Server::assemble(&Options::new("test", dir.path()), parts).unwrap();
    let (core, stop) = (server.core().clone(), CancellationToken::new());
    let lost = Arc::new(LeaderLost::default());
    let losing = tokio::spawn(leader::run(core.clone(), lost.clone(), ELECTION, stop.clone()));
    let around = Surroundings {
        limits: &Limits::default(),
        warning_unary: Duration::ZERO,
        lost,
    };
    let services = Services {
        core,
        stop: stop.clone(),
        warning_unary: around.warning_unary,
    };
    let grpc = router(services, &around);
    let mut kv = KvClient::new(grpc.clone());
    let put = || pb::PutRequest {
        key: "k".into(),
        ..Default::default()
    };
    kv.put(needs_leader(put(), true)).await.unwrap();
    let mut streams = Vec::new();
    for needed in [true, false] {
        let (requests, receiver) = mpsc::channel(1);
        let create = pb::WatchCreateRequest {
            key: "k".into(),
            ..Default::default()
        };
        let create = pb::WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create)),
        };
        requests.send(create).await.unwrap();
        let request = needs_leader(ReceiverStream::new(receiver), needed);
        let mut answers = WatchClient::new(grpc.clone())
            .watch(request)
            .await
            .unwrap()
            .into_inner();
        assert!(answers.message().await.unwrap().unwrap().created);
        streams.push((requests, answers));
    }
    log.lose_leader();
    let refused = kv.put(needs_leader(put(), true)).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unavailable, "etcdserver: no leader")
    );
    let (_requests, answers) = streams.first_mut().unwrap();
    let ended = tokio::time::timeout(BOUND, answers.message())
        .await
        .expect("an end in time");
    let ended = ended.unwrap_err();
    assert_eq!(
        (ended.code(), ended.message()),
        (Code::Unavailable, "etcdserver: no leader")
    );
    // The other one goes on: this log applies without a leader.
    kv.put(put()).await.unwrap();
    let (_requests, answers) = streams.last_mut().unwrap();
    let event = tokio::time::timeout(BOUND, answers.message())
        .await
        .expect("an event in time");
    assert_eq!(event.unwrap().unwrap().events.len(), 1);
    drop((streams, kv, grpc));
    stop.cancel();
    losing.await.unwrap();
    server.shutdown().await;
}
