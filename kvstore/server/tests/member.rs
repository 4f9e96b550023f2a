//! A whole member, its log and its port included, driven by gRPC stubs.
#![allow(clippy::unwrap_used)]

use keelson_kvstore::{Options, Server};
use keelson_proto::etcdserverpb as pb;
use keelson_proto::health::{HealthCheckRequest, health_client::HealthClient};
use pb::cluster_client::ClusterClient;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use std::path::Path;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;

fn options(dir: &Path) -> Options {
    Options::new("default", dir).serve_at("127.0.0.1:0".parse().unwrap(), None)
}

async fn connect(server: &Server) -> Channel {
    let url = format!("http://{}", server.client_addr().unwrap());
    Channel::from_shared(url).unwrap().connect().await.unwrap()
}

fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    }
}

fn everything() -> pb::RangeRequest {
    pb::RangeRequest {
        key: b"\0".as_ref().into(),
        range_end: b"\0".as_ref().into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn reads_and_writes_over_the_socket() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(options(dir.path())).await.unwrap();
    let mut kv = KvClient::new(connect(&server).await);
    let header = kv.put(put("a", "1")).await.unwrap().into_inner().header.unwrap();
    assert_eq!(header.revision, 2);
    assert!(header.cluster_id != 0 && header.member_id != 0 && header.raft_term != 0);
    kv.put(put("b", "2")).await.unwrap();
    let read = kv.range(everything()).await.unwrap().into_inner();
    assert_eq!((read.count, read.header.unwrap().revision), (2, 3));
    let deleted = kv.delete_range(pb::DeleteRangeRequest {
        key: "a".into(),
        prev_kv: true,
        ..Default::default()
    });
    assert_eq!(deleted.await.unwrap().into_inner().prev_kvs[0].value, "1");
    kv.compact(pb::CompactionRequest {
        revision: 3,
        physical: true,
    })
    .await
    .unwrap();
    let old = kv
        .range(pb::RangeRequest {
            revision: 2,
            ..everything()
        })
        .await
        .unwrap_err();
    assert_eq!(
        (old.code(), old.message()),
        (
            Code::OutOfRange,
            "etcdserver: mvcc: required revision has been compacted"
        )
    );
    server.shutdown().await;
}

#[tokio::test]
async fn large_lists_are_the_same_in_pieces_and_whole() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(options(dir.path())).await.unwrap();
    let mut kv = KvClient::new(connect(&server).await).max_decoding_message_size(usize::MAX);
    let value = |n: usize| format!("{n:05}").repeat(1 + n % 600);
    for from in (0..2000).step_by(100) {
        let success = (from..from + 100)
            .map(|n| pb::RequestOp {
                // Written in another order than that of the keys.
                request: Some(pb::request_op::Request::RequestPut(put(
                    &format!("/k/{:04}", n * 977 % 2000),
                    &value(n),
                ))),
            })
            .collect();
        let txn = pb::TxnRequest {
            success,
            ..Default::default()
        };
        kv.txn(txn).await.unwrap();
    }
    let embedded = server.kv();
    let begun = kv
        .range(everything())
        .await
        .unwrap()
        .into_inner()
        .header
        .unwrap()
        .revision;
    kv.put(put("/k/0007", "changed")).await.unwrap();
    for (limit, revision) in [(0, 0), (0, begun), (3, 0), (100, 0), (500, begun), (1999, 0), (3000, 0)] {
        let request = pb::RangeRequest {
            limit,
            revision,
            ..everything()
        };
        let whole = embedded.range(request.clone()).await.unwrap();
        let sent = kv.range(request).await.unwrap().into_inner();
        assert!(sent == whole, "limit {limit} at {revision}");
        assert_eq!(sent.more, limit > 0 && limit < 2000);
    }
    // Nobody reads on after a client has gone.
    let list = kv.range(everything());
    let _ = tokio::time::timeout(std::time::Duration::from_micros(300), list).await;
    kv.compact(pb::CompactionRequest {
        revision: begun + 1,
        physical: true,
    })
    .await
    .unwrap();
    let late = kv.range(pb::RangeRequest {
        revision: begun,
        ..everything()
    });
    assert_eq!(late.await.unwrap_err().code(), Code::OutOfRange);
    server.shutdown().await;
}

#[tokio::test]
async fn sizes_are_bounded_in_etcds_words() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(options(dir.path())).await.unwrap();
    let mut kv = KvClient::new(connect(&server).await);
    let of = |bytes: usize| pb::PutRequest {
        key: "k".into(),
        value: vec![0; bytes].into(),
        ..Default::default()
    };
    kv.put(of(1_500_000)).await.unwrap();
    let large = kv.put(of(1_573_000)).await.unwrap_err();
    assert_eq!(
        (large.code(), large.message()),
        (Code::InvalidArgument, "etcdserver: request is too large")
    );
    let larger = kv.put(of(2_200_000)).await.unwrap_err();
    assert_eq!(larger.code(), Code::ResourceExhausted);
    assert_eq!(
        larger.message(),
        "grpc: received message larger than max (2200008 vs. 2097152)"
    );
    server.shutdown().await;
}

#[tokio::test]
async fn a_range_stream_is_the_range_in_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(options(dir.path())).await.unwrap();
    let mut kv = KvClient::new(connect(&server).await);
    for n in 0..200 {
        kv.put(put(&format!("k{n:03}"), "v")).await.unwrap();
    }
    let request = pb::RangeRequest {
        limit: 150,
        ..everything()
    };
    let whole = kv.range(request.clone()).await.unwrap().into_inner();
    let chunks: Vec<_> = kv.range_stream(request).await.unwrap().into_inner().collect().await;
    let chunks: Vec<_> = chunks.into_iter().map(|c| c.unwrap().range_response.unwrap()).collect();
    assert!(chunks.len() > 3);
    assert_eq!(chunks[0].kvs.len(), 10);
    let (last, others) = chunks.split_last().unwrap();
    assert!(others.iter().all(|c| c.header.is_none() && c.count == 0 && !c.more));
    assert_eq!((last.count, last.more), (200, true));
    assert_eq!(last.header.unwrap().revision, whole.header.unwrap().revision);
    let kvs: Vec<_> = chunks.into_iter().flat_map(|c| c.kvs).collect();
    assert_eq!(kvs, whole.kvs);
    let none = pb::RangeRequest {
        key: "zzz".into(),
        ..Default::default()
    };
    let empty: Vec<_> = kv.range_stream(none).await.unwrap().into_inner().collect().await;
    assert_eq!(empty.len(), 1);
    assert!(
        empty[0]
            .as_ref()
            .unwrap()
            .range_response
            .as_ref()
            .unwrap()
            .header
            .is_some()
    );
    server.shutdown().await;
}

#[tokio::test]
async fn watches_leases_and_status_over_the_socket() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(options(dir.path())).await.unwrap();
    let channel = connect(&server).await;
    let (requests, receiver) = tokio::sync::mpsc::channel(4);
    let create = pb::WatchCreateRequest {
        key: "k".into(),
        prev_kv: true,
        ..Default::default()
    };
    let create = pb::WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    requests.send(create).await.unwrap();
    let mut answers = WatchClient::new(channel.clone())
        .watch(ReceiverStream::new(receiver))
        .await
        .unwrap()
        .into_inner();
    assert!(answers.next().await.unwrap().unwrap().created);
    let mut leases = LeaseClient::new(channel.clone());
    let granted = leases
        .lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 0 })
        .await
        .unwrap()
        .into_inner();
    assert!(granted.id > 0 && granted.ttl == 60);
    let mut kv = KvClient::new(channel.clone());
    kv.put(pb::PutRequest {
        lease: granted.id,
        ..put("k", "1")
    })
    .await
    .unwrap();
    leases
        .lease_revoke(pb::LeaseRevokeRequest { id: granted.id })
        .await
        .unwrap();
    let made = answers.next().await.unwrap().unwrap().events.remove(0);
    assert_eq!(made.kv.unwrap().lease, granted.id);
    let gone = answers.next().await.unwrap().unwrap().events.remove(0);
    assert_eq!((gone.r#type, gone.prev_kv.unwrap().value.as_ref()), (1, b"1".as_ref()));
    let beats = tokio_stream::iter([7, granted.id].map(|id| pb::LeaseKeepAliveRequest { id }));
    let beats: Vec<_> = leases
        .lease_keep_alive(beats)
        .await
        .unwrap()
        .into_inner()
        .collect()
        .await;
    assert!(beats.iter().all(|beat| beat.as_ref().unwrap().ttl == 0));
    let again = leases
        .lease_revoke(pb::LeaseRevokeRequest { id: granted.id })
        .await
        .unwrap_err();
    assert_eq!(
        (again.code(), again.message()),
        (Code::NotFound, "etcdserver: requested lease not found")
    );

    let status = MaintenanceClient::new(channel.clone())
        .status(pb::StatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (status.version.as_str(), status.leader),
        ("3.7.3", status.header.unwrap().member_id)
    );
    assert!(status.raft_applied_index > 0 && status.raft_index >= status.raft_applied_index);
    let mut cluster = ClusterClient::new(channel.clone());
    let members = cluster.member_list(pb::MemberListRequest { linearizable: true });
    let members = members.await.unwrap().into_inner();
    assert_eq!((members.members.len(), members.header.unwrap().revision), (1, 0));
    let health = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    let mut health_client = HealthClient::new(channel.clone());
    assert_eq!(health_client.check(health("")).await.unwrap().into_inner().status, 1);
    let unknown = health_client.check(health("nobody")).await.unwrap_err();
    assert_eq!((unknown.code(), unknown.message()), (Code::NotFound, "unknown service"));
    let mut maintenance = MaintenanceClient::new(channel.clone());
    assert!(
        maintenance
            .defragment(pb::DefragmentRequest {})
            .await
            .unwrap()
            .into_inner()
            .header
            .is_none()
    );
    let hash = maintenance
        .hash_kv(pb::HashKvRequest { revision: 0 })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (hash.compact_revision, hash.hash_revision),
        (-1, hash.header.unwrap().revision)
    );
    assert_eq!(
        maintenance
            .hash_kv(pb::HashKvRequest { revision: 99 })
            .await
            .unwrap_err()
            .code(),
        Code::OutOfRange
    );
    let pieces = maintenance.snapshot(pb::SnapshotRequest {}).await.unwrap().into_inner();
    let pieces: Vec<_> = pieces.collect().await;
    assert!(pieces.iter().all(Result::is_ok), "{pieces:?}");
    assert_eq!(pieces.last().unwrap().as_ref().unwrap().remaining_bytes, 0);
    let mut locks = keelson_proto::v3lockpb::lock_client::LockClient::new(channel);
    let lock = locks
        .lock(keelson_proto::v3lockpb::LockRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(lock.key.starts_with(b"/"), "{lock:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn plain_http_answers_health_and_version() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(options(dir.path())).await.unwrap();
    let mut bodies = Vec::new();
    for path in ["/health", "/version", "/nothing"] {
        let mut socket = tokio::net::TcpStream::connect(server.client_addr().unwrap())
            .await
            .unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        socket.read_to_string(&mut response).await.unwrap();
        bodies.push(response);
    }
    assert!(bodies[0].starts_with("HTTP/1.1 200") && bodies[0].ends_with(r#"{"health":"true","reason":""}"#));
    assert!(bodies[1].contains(r#""etcdserver":"3.7.3""#));
    assert!(bodies[2].starts_with("HTTP/1.1 404"));
    server.shutdown().await;
}

#[tokio::test]
async fn everything_is_there_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(options(dir.path())).await.unwrap();
    let kv = server.kv();
    kv.lease_grant(pb::LeaseGrantRequest { ttl: 100, id: 42 })
        .await
        .unwrap();
    kv.put(pb::PutRequest {
        lease: 42,
        ..put("leased", "1")
    })
    .await
    .unwrap();
    kv.put(put("a", "1")).await.unwrap();
    kv.put(put("a", "2")).await.unwrap();
    kv.compact(pb::CompactionRequest {
        revision: 3,
        physical: true,
    })
    .await
    .unwrap();
    let before = kv.range(everything()).await.unwrap();
    server.shutdown().await;

    let server = Server::start(options(dir.path())).await.unwrap();
    let kv = server.kv();
    let after = kv.range(everything()).await.unwrap();
    assert_eq!((&after.kvs, after.count), (&before.kvs, before.count));
    let ids = |r: &pb::RangeResponse| r.header.map(|h| (h.cluster_id, h.member_id, h.revision));
    assert_eq!(ids(&after), ids(&before));
    let left = kv
        .lease_time_to_live(pb::LeaseTimeToLiveRequest { id: 42, keys: true })
        .await
        .unwrap();
    assert_eq!((left.granted_ttl, left.keys.len()), (100, 1));
    assert!(left.ttl >= 98, "a restart begins the TTL anew");
    let old = kv
        .range(pb::RangeRequest {
            revision: 2,
            ..everything()
        })
        .await
        .unwrap_err();
    assert_eq!(old.code(), Code::OutOfRange);
    let at_three = kv
        .range(pb::RangeRequest {
            revision: 3,
            ..everything()
        })
        .await
        .unwrap();
    assert_eq!(at_three.count, 2);
    server.shutdown().await;
}

/// A CA, and a certificate it signed for both sides.
fn certificates() -> (rcgen::Certificate, rcgen::Certificate, rcgen::KeyPair) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_cert = ca.clone().self_signed(&ca_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let cert = leaf.signed_by(&key, &rcgen::Issuer::new(ca, ca_key)).unwrap();
    (ca_cert, cert, key)
}

#[tokio::test]
async fn without_a_certificate_nobody_is_served() {
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
    let (ca, cert, key) = certificates();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![cert.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new("default", dir.path()).serve_at("127.0.0.1:0".parse().unwrap(), Some(tls.into()));
    let server = Server::start(options).await.unwrap();
    let url = format!("https://{}", server.client_addr().unwrap());
    let trust = || {
        ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca.pem()))
            .domain_name("localhost")
    };
    let known = trust().identity(Identity::from_pem(cert.pem(), key.serialize_pem()));
    let channel = Endpoint::from_shared(url.clone())
        .unwrap()
        .tls_config(known)
        .unwrap()
        .connect()
        .await
        .unwrap();
    KvClient::new(channel).put(put("a", "1")).await.unwrap();
    let stranger = Endpoint::from_shared(url)
        .unwrap()
        .tls_config(trust())
        .unwrap()
        .connect_lazy();
    assert!(KvClient::new(stranger).range(everything()).await.is_err());
    server.shutdown().await;
}
