//! The same calls to a member of ours and to a real etcd, answers side by side.
#![allow(clippy::unwrap_used)]

mod beside;
mod script;

use beside::{Answer, BOUND, body, connect, plain, start_etcd};
use keelson_kvstore::{Options, Server};
use keelson_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use script::{Call, Random};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

async fn call(channel: &Channel, call: Call) -> Answer {
    let mut kv = KvClient::new(channel.clone()).max_decoding_message_size(64 << 20);
    let mut lease = LeaseClient::new(channel.clone());
    match call {
        Call::Range(r) => plain(body(kv.range(r).await)),
        Call::RangeStream(r) => {
            let chunks: Result<Vec<_>, Status> = match kv.range_stream(r).await {
                Ok(stream) => stream.into_inner().collect().await,
                Err(status) => Err(status),
            };
            // How a range is cut into chunks depends on sizes; what it is, not.
            plain(chunks.map(|chunks| {
                let mut whole = pb::RangeResponse::default();
                for chunk in chunks.into_iter().filter_map(|c| c.range_response) {
                    whole.kvs.extend(chunk.kvs);
                    (whole.header, whole.more, whole.count) = (chunk.header, chunk.more, chunk.count);
                }
                whole
            }))
        }
        Call::Put(r) => plain(body(kv.put(r).await)),
        Call::Delete(r) => plain(body(kv.delete_range(r).await)),
        Call::Txn(r) => plain(body(kv.txn(r).await)),
        Call::Compact(r) => plain(body(kv.compact(r).await)),
        Call::Grant(r) => plain(body(lease.lease_grant(r).await)),
        Call::Revoke(r) => plain(body(lease.lease_revoke(r).await)),
        Call::TimeToLive(r) => plain(body(lease.lease_time_to_live(r).await).map(|mut r| {
            // A second may pass between the two.
            r.ttl = r.ttl.clamp(-1, 1);
            r.keys.sort();
            r
        })),
        Call::Leases => plain(body(lease.lease_leases(pb::LeaseLeasesRequest {}).await).map(|mut r| {
            r.leases.sort_by_key(|l| l.id);
            r
        })),
    }
}

/// All answers of a watch stream up to the answer to a refused creation at its end; events of one watcher joined,
/// because how they are cut into answers depends on the moment.
async fn watch(channel: &Channel, creates: &[pb::WatchCreateRequest]) -> Vec<String> {
    let mut seen = Vec::new();
    for create in creates {
        let (requests, receiver) = mpsc::channel(8);
        let send = |union| pb::WatchRequest {
            request_union: Some(union),
        };
        requests
            .send(send(RequestUnion::CreateRequest(create.clone())))
            .await
            .unwrap();
        let mut client = WatchClient::new(channel.clone()).max_decoding_message_size(64 << 20);
        let mut answers = client.watch(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        let mut events = Vec::new();
        let mut control = Vec::new();
        loop {
            let wait = if control.is_empty() {
                BOUND
            } else {
                Duration::from_millis(400)
            };
            let Ok(answer) = tokio::time::timeout(wait, answers.next()).await else {
                break;
            };
            let mut answer = answer.unwrap().unwrap();
            events.extend(std::mem::take(&mut answer.events));
            answer.fragment = false;
            if answer.created || answer.canceled {
                control.push(plain(Ok(answer)).unwrap());
            }
        }
        seen.push(format!("{create:?}: {control:#?} {events:#?}"));
    }
    seen
}

#[tokio::test]
async fn answers_are_those_of_a_real_etcd() {
    let etcd = start_etcd(&[]);
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new("default", dir.path()).serve_at("127.0.0.1:0".parse().unwrap(), None);
    let server = Server::start(options).await.unwrap();
    let theirs = connect(&etcd.url).await;
    let ours = connect(&format!("http://{}", server.client_addr().unwrap())).await;
    let mut random = Random::new(7);
    let mut calls = script::edges();
    calls.extend((0..1500).map(|_| script::random_call(&mut random)));
    let mut different = Vec::new();
    for (n, step) in calls.into_iter().enumerate() {
        let (a, b) = (call(&theirs, step.clone()).await, call(&ours, step.clone()).await);
        if a != b {
            different.push(format!("call {n}: {step:?}\n  etcd: {a:?}\n  ours: {b:?}"));
        }
        assert!(different.len() < 5, "{}", different.join("\n"));
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    let now = KvClient::new(ours.clone())
        .range(script::get("x"))
        .await
        .unwrap()
        .into_inner()
        .header
        .unwrap()
        .revision;
    let creates = script::watches(now);
    let (a, b) = (watch(&theirs, &creates).await, watch(&ours, &creates).await);
    for (a, b) in a.iter().zip(&b) {
        assert_eq!(a, b, "left is etcd");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_key_put_and_deleted_by_one_transaction_is_what_a_real_etcd_makes_of_it() {
    let etcd = start_etcd(&[]);
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new("default", dir.path()).serve_at("127.0.0.1:0".parse().unwrap(), None);
    let server = Server::start(options).await.unwrap();
    let theirs = connect(&etcd.url).await;
    let ours = connect(&format!("http://{}", server.client_addr().unwrap())).await;
    for step in script::overlaps() {
        let (a, b) = (call(&theirs, step.clone()).await, call(&ours, step.clone()).await);
        assert_eq!(a, b, "left is etcd: {step:?}");
    }
    let create = pb::WatchCreateRequest {
        key: "k".into(),
        range_end: "l".into(),
        start_revision: 1,
        prev_kv: true,
        ..Default::default()
    };
    let creates = [create];
    let (a, b) = (watch(&theirs, &creates).await, watch(&ours, &creates).await);
    assert!(a[0].contains("k6"), "{a:?}");
    assert_eq!(a, b, "left is etcd");
    server.shutdown().await;
}
