//! Data of a member of ours in a real etcd, by etcd's own tools.
#![allow(clippy::unwrap_used)]

mod peers;

use keelson_kvstore::{Options, Server};
use keelson_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use peers::{Etcd, etcdctl, etcdutl, text};
use std::path::Path;
use tokio_stream::StreamExt;
use tonic::transport::Channel;

async fn start(data: &Path) -> (Server, String) {
    let options = Options::new("ours", data).serve_at(([127, 0, 0, 1], 0).into(), None);
    let server = Server::start(options).await.unwrap();
    let url = format!("http://{}", server.client_addr().unwrap());
    (server, url)
}

async fn put(channel: &Channel, key: &str, value: Vec<u8>, lease: i64) {
    let put = pb::PutRequest {
        key: key.to_owned().into(),
        value: value.into(),
        lease,
        ..Default::default()
    };
    KvClient::new(channel.clone()).put(put).await.unwrap();
}

async fn delete(channel: &Channel, key: &str) {
    let delete = pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    };
    KvClient::new(channel.clone()).delete_range(delete).await.unwrap();
}

/// Something of everything: old versions, deletions, a lease, values larger than a page, a compaction.
async fn fill(channel: &Channel) -> i64 {
    let grant = pb::LeaseGrantRequest { id: 99, ttl: 5000 };
    LeaseClient::new(channel.clone()).lease_grant(grant).await.unwrap();
    for n in 0..50 {
        put(
            channel,
            &format!("k{:02}", n % 20),
            vec![b'x'; n * 400],
            if n % 4 == 0 { 99 } else { 0 },
        )
        .await;
    }
    delete(channel, "k03").await;
    let compaction = pb::CompactionRequest {
        revision: 30,
        physical: true,
    };
    KvClient::new(channel.clone()).compact(compaction).await.unwrap();
    put(channel, "k04", b"newer".to_vec(), 0).await;
    delete(channel, "k05").await;
    put(channel, "k05", b"again".to_vec(), 99).await;
    30
}

/// All that clients can see of the keys: at each revision from the compaction on.
async fn seen(channel: &Channel, compacted: i64) -> Vec<(Vec<keelson_proto::mvccpb::KeyValue>, i64)> {
    let mut kv = KvClient::new(channel.clone()).max_decoding_message_size(64 << 20);
    let all = |revision| pb::RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        revision,
        ..Default::default()
    };
    let current = kv.range(all(0)).await.unwrap().into_inner().header.unwrap().revision;
    let mut views = Vec::new();
    for revision in compacted..=current {
        let view = kv.range(all(revision)).await.unwrap().into_inner();
        views.push((view.kvs, view.count));
    }
    let below = kv.range(all(compacted - 1)).await.unwrap_err();
    assert!(below.message().contains("compacted"), "{below}");
    views
}

async fn hash(channel: &Channel, revision: i64) -> (u32, i64) {
    let hashed = MaintenanceClient::new(channel.clone())
        .hash_kv(pb::HashKvRequest { revision })
        .await;
    let hashed = hashed.unwrap().into_inner();
    (hashed.hash, hashed.compact_revision)
}

async fn lease_keys(channel: &Channel) -> (i64, Vec<bytes::Bytes>) {
    let asked = pb::LeaseTimeToLiveRequest { id: 99, keys: true };
    let answer = LeaseClient::new(channel.clone()).lease_time_to_live(asked).await;
    let mut answer = answer.unwrap().into_inner();
    // etcd's are in the order of a hash table.
    answer.keys.sort();
    (answer.granted_ttl, answer.keys)
}

// The tools block the thread that they are called on, and the member needs another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_etcd_serves_what_we_had() {
    let dir = tempfile::tempdir().unwrap();
    let (server, url) = start(&dir.path().join("ours")).await;
    let ours = peers::connect(&url).await;
    let compacted = fill(&ours).await;
    let file = dir.path().join("snapshot.db");
    etcdctl(&url, &["snapshot", "save", text(&file)]);
    let status = etcdutl(&["snapshot", "status", text(&file), "-w", "fields"]);
    assert!(status.contains("\"Revision\" : 55\n"), "{status}");
    assert!(status.contains("\"Keys\" : 19\n"), "{status}");
    assert!(status.contains("\"Version\" : 3.7.0\n"), "{status}");

    let peer_url = Etcd::peer_url();
    let data = dir.path().join("etcd");
    etcdutl(&[
        "snapshot",
        "restore",
        text(&file),
        "--data-dir",
        text(&data),
        "--initial-cluster",
        &format!("default={peer_url}"),
        "--initial-advertise-peer-urls",
        &peer_url,
    ]);
    let etcd = Etcd::start(&data, &peer_url);
    let theirs = peers::connect(&etcd.url).await;
    assert_eq!(seen(&theirs, compacted).await, seen(&ours, compacted).await);
    for revision in [0, 31, 40, 55] {
        assert_eq!(hash(&theirs, revision).await, hash(&ours, revision).await, "{revision}");
    }
    assert_eq!(lease_keys(&theirs).await, lease_keys(&ours).await);
    // Both go on from the same revision.
    for channel in [&ours, &theirs] {
        put(channel, "after", b"1".to_vec(), 0).await;
    }
    assert_eq!(seen(&theirs, compacted).await, seen(&ours, compacted).await);
    assert_eq!(hash(&theirs, 0).await, hash(&ours, 0).await);
    server.shutdown().await;
}

#[tokio::test]
async fn a_snapshot_is_sent_in_pieces_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("ours");
    let (server, url) = start(&data).await;
    let ours = peers::connect(&url).await;
    fill(&ours).await;
    // More than the queues between there and here can hold.
    for n in 0..4 {
        put(&ours, &format!("large {n}"), vec![b'x'; 1 << 20], 0).await;
    }
    let mut client = MaintenanceClient::new(ours.clone());
    let mut stream = client.snapshot(pb::SnapshotRequest {}).await.unwrap().into_inner();
    let mut pieces = Vec::new();
    while let Some(piece) = stream.next().await {
        pieces.push(piece.unwrap());
    }
    let (sum, pieces) = pieces.split_last().unwrap();
    let total: u64 = pieces.iter().map(|p| p.blob.len() as u64).sum();
    assert_eq!((total % 4096, sum.blob.len(), sum.remaining_bytes), (0, 32, 0));
    let mut left = total;
    for piece in pieces {
        assert!(piece.blob.len() <= 32 << 10 && piece.header.is_none());
        left -= piece.blob.len() as u64;
        assert_eq!((piece.remaining_bytes, piece.version.as_str()), (left, "3.7.0"));
    }
    // Given up half way, and too many at once: those that are refused say so, and room comes back.
    let held = client.snapshot(pb::SnapshotRequest {}).await.unwrap();
    let held_too = client.snapshot(pb::SnapshotRequest {}).await.unwrap();
    let refused = client.snapshot(pb::SnapshotRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    drop((held, held_too));
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while client.snapshot(pb::SnapshotRequest {}).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "no room comes back");
        tokio::task::yield_now().await;
    }
    let mut names: Vec<_> = std::fs::read_dir(&data)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["identity.json", "log", "state"]);
    server.shutdown().await;
}
