//! From a put to its event at every watcher, in one process and without a socket: what delivery costs beside the put.
//!
//! `cargo bench -p keelson-kvstore`.

// What cannot begin has nothing to say but why.
#![allow(clippy::unwrap_used)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use keelson_kvstore::{Options, Server};
use keelson_proto::etcdserverpb as pb;
use pb::watch_request::RequestUnion;
use tokio::sync::mpsc;

const STREAMS: u64 = 10;
const KEY: &[u8] = b"/registry/pods/default/pod-0000000000";

fn create() -> pb::WatchRequest {
    pb::WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(pb::WatchCreateRequest {
            key: KEY.into(),
            ..Default::default()
        })),
    }
}

/// A watch stream with so many watchers on the key, all of them confirmed.
struct Stream {
    // Kept open: a stream whose requests end ends as well.
    _requests: mpsc::Sender<pb::WatchRequest>,
    responses: keelson_kvstore::WatchResponses,
}

impl Stream {
    async fn open(server: &Server, watchers: u64) -> Stream {
        let (requests, receiver) = mpsc::channel(1);
        let mut responses = server.kv().watch(receiver);
        for _ in 0..watchers {
            requests.send(create()).await.unwrap();
            while !responses.recv().await.unwrap().unwrap().created {}
        }
        Stream {
            _requests: requests,
            responses,
        }
    }

    async fn hear(&mut self, events: u64) {
        let mut heard = 0;
        while heard < events {
            heard += self.responses.recv().await.unwrap().unwrap().events.len() as u64;
        }
    }
}

fn delivery(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut group = c.benchmark_group("a put and its events");
    group.sample_size(20);
    for watchers in [0, 100, 1_000] {
        let dir = tempfile::tempdir().unwrap();
        let (server, mut streams) = runtime.block_on(async {
            let server = Server::start(Options::new("m0", dir.path())).await.unwrap();
            let mut streams = Vec::new();
            for _ in 0..STREAMS {
                streams.push(Stream::open(&server, watchers / STREAMS).await);
            }
            (server, streams)
        });
        let kv = server.kv();
        group.throughput(Throughput::Elements(watchers.max(1)));
        group.bench_function(format!("{watchers} watchers"), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    kv.put(pb::PutRequest {
                        key: KEY.into(),
                        value: vec![b'v'; 256].into(),
                        ..Default::default()
                    })
                    .await
                    .unwrap();
                    for stream in &mut streams {
                        stream.hear(watchers / STREAMS).await;
                    }
                });
            });
        });
        drop(streams);
        runtime.block_on(server.shutdown());
    }
    group.finish();
}

criterion_group!(benches, delivery);
criterion_main!(benches);
