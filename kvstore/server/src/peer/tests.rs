//! Three members over real sockets: TCP, unix, TLS with certificates on both sides; and what does not belong on the port.
#![allow(clippy::unwrap_used)]
use super::{from_status, to_status};
use crate::{Bootstrap, ListenAddr, Options, Peers, Server};
use keelson_proto::etcdserverpb as pb;
use keelson_proto::peer as peerpb;
use keelson_raft::TransportError;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(30);

#[path = "../../tests/free/mod.rs"]
mod free;

fn free_ports(count: usize) -> Vec<SocketAddr> {
    (0..count)
        .map(|_| SocketAddr::from(([127, 0, 0, 1], free::port())))
        .collect()
}

struct Place {
    url: String,
    listener: ListenAddr,
}

fn options(dir: &Path, name: &str, places: &BTreeMap<String, Place>, tls: Option<&Tls>) -> Options {
    let mut o = Options::new(name, dir.join(name));
    let members = places.iter().map(|(n, p)| (n.clone(), vec![p.url.clone()])).collect();
    o.bootstrap = Bootstrap::New {
        members,
        token: "tkn".into(),
    };
    o.raft.heartbeat = Duration::from_millis(50);
    o.raft.election = Duration::from_millis(500);
    let place = &places[name];
    o.peers = Peers {
        listeners: vec![place.listener.clone()],
        advertise_urls: vec![place.url.clone()],
        server_tls: tls.map(|t| t.server.clone()),
        client_tls: tls.map(|t| t.client.clone()),
        ..Peers::default()
    };
    o
}

async fn start(dir: &Path, places: &BTreeMap<String, Place>, tls: Option<&Tls>) -> Vec<Server> {
    let starting = places.keys().map(|name| Server::start(options(dir, name, places, tls)));
    let started = futures::future::join_all(starting).await;
    started.into_iter().map(Result::unwrap).collect()
}

fn leader(servers: &[Server]) -> Option<usize> {
    servers.iter().position(|s| s.core.log.is_leader())
}

async fn wait(what: &str, until: impl Fn() -> bool) {
    let begun = Instant::now();
    while !until() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A put by each member, read at each member.
async fn works(servers: &[Server]) {
    for (i, s) in servers.iter().enumerate() {
        let key = format!("k{i}");
        let put = pb::PutRequest {
            key: key.clone().into(),
            value: vec![7; 100_000].into(),
            ..Default::default()
        };
        s.kv().put(put).await.unwrap();
        for reader in servers {
            let range = pb::RangeRequest {
                key: key.clone().into(),
                ..Default::default()
            };
            let read = reader.kv().range(range).await;
            let view = |s: &Server| (s.core.name.clone(), s.core.log.leader(), s.core.log.applied_index());
            let views: Vec<_> = servers.iter().map(view).collect();
            assert_eq!(
                read.as_ref().map(|r| r.count).ok(),
                Some(1),
                "{read:?} by {} among {views:?}",
                reader.core.name
            );
        }
    }
}

fn tcp_places() -> BTreeMap<String, Place> {
    let place = |(i, addr): (usize, SocketAddr)| {
        let place = Place {
            url: format!("http://{addr}"),
            listener: ListenAddr::Tcp(addr),
        };
        (format!("m{i}"), place)
    };
    free_ports(3).into_iter().enumerate().map(place).collect()
}

async fn stop(servers: Vec<Server>) {
    for s in servers {
        s.shutdown().await;
    }
}

#[tokio::test]
async fn three_members_over_tcp() {
    let dir = tempfile::tempdir().unwrap();
    let places = tcp_places();
    let mut servers = start(dir.path(), &places, None).await;
    works(&servers).await;
    wait("nobody leads", || leader(&servers).is_some()).await;
    let first = leader(&servers).unwrap();
    let (name, term) = (servers[first].core.name.clone(), servers[first].core.log.term());
    // One that stops hands over.
    servers.remove(first).shutdown().await;
    wait("nobody took over", || leader(&servers).is_some()).await;
    assert_eq!(servers[leader(&servers).unwrap()].core.log.term(), term + 1);
    works(&servers).await;
    // And comes back to what it missed.
    servers.push(Server::start(options(dir.path(), &name, &places, None)).await.unwrap());
    works(&servers).await;
    stop(servers).await;
}

#[tokio::test]
async fn three_members_over_unix_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let place = |i: usize| {
        let path = dir.path().join(format!("s{i}"));
        let place = Place {
            url: format!("unix://{}", path.display()),
            listener: ListenAddr::Unix(path),
        };
        (format!("m{i}"), place)
    };
    let places = (0..3).map(place).collect();
    let servers = start(dir.path(), &places, None).await;
    works(&servers).await;
    stop(servers).await;
}

struct Tls {
    server: Arc<rustls::ServerConfig>,
    client: Arc<rustls::ClientConfig>,
}

fn tls() -> Tls {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let chain = vec![certificate.der().clone()];
    let secret = || rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(issuer.der().clone()).unwrap();
    let roots = Arc::new(roots);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
        .build()
        .unwrap();
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.clone(), secret())
        .unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, secret())
        .unwrap();
    Tls {
        server: Arc::new(server),
        client: Arc::new(client),
    }
}

#[tokio::test]
async fn three_members_with_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let mut places = tcp_places();
    for place in places.values_mut() {
        place.url = place.url.replace("http:", "https:");
    }
    let tls = tls();
    let servers = start(dir.path(), &places, Some(&tls)).await;
    works(&servers).await;
    // Whoever shows none is not spoken with.
    let ListenAddr::Tcp(addr) = places["m0"].listener else {
        panic!("a TCP port");
    };
    let mut plain = TcpStream::connect(addr).await.unwrap();
    plain
        .write_all(b"GET /members HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let end = tokio::time::timeout(PATIENCE, plain.read_to_end(&mut answer))
        .await
        .unwrap();
    assert!(end.is_err() || !answer.starts_with(b"HTTP"), "{answer:?}");
    stop(servers).await;
}

#[tokio::test]
async fn garbage_on_the_peer_port_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let places = tcp_places();
    let servers = start(dir.path(), &places, None).await;
    let ListenAddr::Tcp(addr) = places["m0"].listener else {
        panic!("a TCP port");
    };
    for garbage in [
        &b"\x16\x03\x01garbage"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let mut socket = TcpStream::connect(addr).await.unwrap();
        socket.write_all(garbage).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // Closed, one way or another.
        drop(
            tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer))
                .await
                .unwrap(),
        );
    }
    // Well-formed, and for another cluster.
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{addr}")).unwrap();
    let mut client = peerpb::peer_client::PeerClient::connect(channel).await.unwrap();
    let vote = peerpb::VoteRequest {
        head: Some(peerpb::Head {
            cluster_id: 1,
            from: 2,
            to: 3,
        }),
        ballot: Some(peerpb::BallotId {
            term: 1 << 40,
            node: 2,
            committed: false,
        }),
        ..Default::default()
    };
    let refused = client.vote(vote).await.unwrap_err();
    assert!(matches!(from_status(&refused), TransportError::Refused(_)), "{refused}");
    assert!(servers.iter().all(|s| s.core.log.term() < 1 << 40));
    works(&servers).await;
    stop(servers).await;
}

#[tokio::test]
async fn the_pages_are_etcds() {
    let dir = tempfile::tempdir().unwrap();
    let places = tcp_places();
    let servers = start(dir.path(), &places, None).await;
    works(&servers).await;
    let get = |path| crate::dial::get(&places["m1"].url, path, &None, PATIENCE);
    let members = get("/members").await.unwrap();
    let cluster = members.headers[crate::bootstrap::CLUSTER_ID_HEADER].to_str().unwrap();
    assert_eq!(cluster, format!("{:x}", servers[0].core.cluster_id));
    let shown: serde_json::Value = serde_json::from_slice(&members.body).unwrap();
    assert_eq!(shown.as_array().unwrap().len(), 3);
    assert!(
        shown[0]["peerURLs"][0]
            .as_str()
            .unwrap()
            .starts_with("http://127.0.0.1:")
    );
    let version: serde_json::Value = serde_json::from_slice(&get("/version").await.unwrap().body).unwrap();
    assert_eq!(version["etcdserver"], crate::core::VERSION);
    assert!(get("/health").await.unwrap().status.is_success());
    assert_eq!(get("/raft").await.unwrap().status, 404);
    stop(servers).await;
}

#[test]
fn causes_survive_the_way() {
    for error in [
        TransportError::Removed,
        TransportError::Refused("why".into()),
        TransportError::TimedOut,
    ] {
        assert_eq!(from_status(&to_status(error.clone())), error);
    }
    let gone = to_status(TransportError::Unreachable("gone".into()));
    assert!(matches!(from_status(&gone), TransportError::Unreachable(_)));
}
