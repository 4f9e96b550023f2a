//! The same calls to a member of ours and to a real etcd, answers side by side.
#![allow(clippy::unwrap_used)]

mod script;

use keelson_kvstore::{Options, Server};
use keelson_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use script::{Call, Random};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

const BOUND: Duration = Duration::from_secs(30);

struct Etcd {
    process: Child,
    _dir: tempfile::TempDir,
    url: String,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// The peer that the test command builds: without it there is nothing to compare with, and that is a failure.
fn start_etcd() -> Etcd {
    let binary = std::env::var_os("ETCD")
        .map(PathBuf::from)
        .expect("set ETCD to what `bench/peers/build etcd` prints");
    let dir = tempfile::tempdir().unwrap();
    let url = format!("http://127.0.0.1:{}", free_port());
    let peer = format!("http://127.0.0.1:{}", free_port());
    let process = Command::new(binary)
        .args(["--data-dir", dir.path().to_str().unwrap()])
        .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--unsafe-no-fsync"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Etcd {
        process,
        _dir: dir,
        url,
    }
}

async fn connect(url: &str) -> Channel {
    let deadline = tokio::time::Instant::now() + BOUND;
    loop {
        match Channel::from_shared(url.to_owned()).unwrap().connect().await {
            Ok(channel) if KvClient::new(channel.clone()).range(script::get("ready")).await.is_ok() => return channel,
            _ => assert!(tokio::time::Instant::now() < deadline, "{url} does not come up"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What a client can see of an answer, without the ids that differ between clusters.
fn plain<T: std::fmt::Debug>(answer: Result<T, Status>) -> Result<String, (Code, String)> {
    let text = |answer: T| {
        let text = format!("{answer:?}");
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find("cluster_id: ") {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let end = rest.find("revision: ").unwrap();
            rest = &rest[end..];
        }
        out.push_str(rest);
        // The term of a nested header is 0, that of an outer one depends on the elections held.
        let mut kept = String::new();
        let mut parts = out.split("raft_term: ");
        kept.push_str(parts.next().unwrap());
        for part in parts {
            kept.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
        }
        kept
    };
    answer.map(text).map_err(|s| (s.code(), s.message().to_owned()))
}

async fn call(channel: &Channel, call: Call) -> Result<String, (Code, String)> {
    let mut kv = KvClient::new(channel.clone()).max_decoding_message_size(64 << 20);
    let mut lease = LeaseClient::new(channel.clone());
    fn body<T>(r: Result<tonic::Response<T>, Status>) -> Result<T, Status> {
        r.map(tonic::Response::into_inner)
    }
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
    let etcd = start_etcd();
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        name: "default".into(),
        data_dir: dir.path().to_owned(),
        client_addr: Some("127.0.0.1:0".parse().unwrap()),
        client_tls: None,
        cache_bytes: 0,
        quota_bytes: 0,
    };
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
