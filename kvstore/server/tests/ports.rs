//! What clients may do to a port, good and bad: sockets of both kinds, TLS, too much, too slow, nonsense.
#![allow(clippy::unwrap_used)]

mod beside;
mod plain;

use keelson_kvstore::{ClientListener, ListenAddr, Options, Server, Serves};
use keelson_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use plain::BOUND;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

fn options(dir: &Path) -> Options {
    Options::new("default", dir).serve_at("127.0.0.1:0".parse().unwrap(), None)
}

fn url(server: &Server) -> String {
    format!("http://{}", server.client_addr().unwrap())
}

async fn connect(server: &Server) -> Channel {
    Endpoint::from_shared(url(server)).unwrap().connect().await.unwrap()
}

fn put(key: &str, value: Vec<u8>) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into(),
        value: value.into(),
        ..Default::default()
    }
}

/// Everything up to the end that the server makes.
async fn until_closed(mut socket: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut all = Vec::new();
    let read = tokio::time::timeout(BOUND, socket.read_to_end(&mut all)).await;
    match read.expect("the server hangs up") {
        Ok(_) => {}
        Err(e) => assert_eq!(e.kind(), io::ErrorKind::ConnectionReset, "{e}"),
    }
    all
}

async fn still_serves(server: &Server) {
    let mut kv = KvClient::new(connect(server).await);
    kv.put(put("still", b"here".to_vec())).await.unwrap();
    assert_eq!(plain::get(&url(server), "/health").await.status, 200);
}

struct Keys {
    server: Arc<rustls::ServerConfig>,
    client: Arc<rustls::ClientConfig>,
}

fn keys() -> Keys {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Keys {
        server: Arc::new(server),
        client: Arc::new(client),
    }
}

#[tokio::test]
async fn unix_sockets_serve_both_and_go_with_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let keys = keys();
    let (open, secure) = (dir.path().join("open"), dir.path().join("secure"));
    let mut options = options(&dir.path().join("data"));
    for (path, tls) in [(&open, None), (&secure, Some(keys.server.clone()))] {
        options.clients.push(ClientListener {
            addr: ListenAddr::Unix(path.clone()),
            tls,
            serves: Serves::All,
            reuse_port: false,
        });
    }
    let server = Server::start(options).await.unwrap();
    let path = open.clone();
    let connector = tower::service_fn(move |_: http::Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://unix");
    let channel = endpoint.connect_with_connector(connector);
    KvClient::new(channel.await.unwrap())
        .put(put("a", b"1".to_vec()))
        .await
        .unwrap();
    let mut socket = UnixStream::connect(&open).await.unwrap();
    let request = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    socket.write_all(request).await.unwrap();
    let answer = String::from_utf8(until_closed(socket).await).unwrap();
    assert!(answer.ends_with(r#"{"health":"true","reason":""}"#), "{answer}");
    let connector = tokio_rustls::TlsConnector::from(keys.client);
    let socket = UnixStream::connect(&secure).await.unwrap();
    let mut socket = connector
        .connect("localhost".try_into().unwrap(), socket)
        .await
        .unwrap();
    socket.write_all(request).await.unwrap();
    let answer = String::from_utf8(until_closed(socket).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.shutdown().await;
    assert!(!open.exists() && !secure.exists());
}

#[tokio::test]
async fn the_wrong_kind_of_client_is_hung_up_on() {
    let dir = tempfile::tempdir().unwrap();
    let keys = keys();
    let mut options = options(dir.path());
    let secure = format!("127.0.0.1:{}", beside::free::port());
    options = options.serve_at(secure.parse().unwrap(), Some(keys.server));
    let server = Server::start(options).await.unwrap();
    let plain = server.client_addr().unwrap();
    // Plain HTTP where TLS is spoken, TLS where it is not, and nothing that anybody speaks.
    let mut socket = TcpStream::connect(&secure).await.unwrap();
    socket
        .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let said = until_closed(socket).await;
    assert!(!said.starts_with(b"HTTP/1.1 200"), "{said:?}");
    let socket = TcpStream::connect(plain).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(keys.client);
    connector
        .connect("localhost".try_into().unwrap(), socket)
        .await
        .unwrap_err();
    for garbage in [
        &b"\x00\x01\x02\x03\xff\xfe\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        for addr in [plain.to_string(), secure.clone()] {
            let mut socket = TcpStream::connect(addr).await.unwrap();
            socket.write_all(garbage).await.unwrap();
            until_closed(socket).await;
        }
    }
    // A header without end.
    let mut socket = TcpStream::connect(plain).await.unwrap();
    let endless = vec![b'a'; 4 << 20];
    let _ = socket.write_all(b"GET / HTTP/1.1\r\nX: ").await;
    let _ = socket.write_all(&endless).await;
    until_closed(socket).await;
    still_serves(&server).await;
    server.shutdown().await;
}

#[tokio::test]
async fn each_port_serves_what_it_is_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    let mut port = |serves| {
        let addr = format!("127.0.0.1:{}", beside::free::port());
        options.clients.push(ClientListener {
            addr: ListenAddr::Tcp(addr.parse().unwrap()),
            tls: None,
            serves,
            reuse_port: false,
        });
        format!("http://{addr}")
    };
    let (grpc, http, metrics) = (port(Serves::Grpc), port(Serves::Http), port(Serves::Metrics));
    let server = Server::start(options).await.unwrap();
    let channel = Endpoint::from_shared(grpc.clone()).unwrap().connect().await.unwrap();
    KvClient::new(channel).put(put("a", b"1".to_vec())).await.unwrap();
    let mut socket = TcpStream::connect(grpc.strip_prefix("http://").unwrap()).await.unwrap();
    socket
        .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    assert!(until_closed(socket).await.is_empty());
    assert_eq!(plain::get(&http, "/version").await.status, 200);
    assert_eq!(
        plain::post(&http, "/v3/kv/range", r#"{"key":"YQ=="}"#).await.status,
        200
    );
    let channel = Endpoint::from_shared(http).unwrap().connect().await.unwrap();
    KvClient::new(channel).put(put("a", b"1".to_vec())).await.unwrap_err();
    assert_eq!(plain::get(&metrics, "/metrics").await.status, 200);
    assert_eq!(plain::get(&metrics, "/health").await.status, 200);
    assert_eq!(plain::get(&metrics, "/version").await.status, 404);
    assert_eq!(plain::post(&metrics, "/v3/kv/range", "{}").await.status, 404);
    server.shutdown().await;
}

type Answers = tonic::Streaming<pb::WatchResponse>;

async fn watch(channel: &Channel, key: &str) -> (mpsc::Sender<pb::WatchRequest>, Answers) {
    let (requests, receiver) = mpsc::channel(4);
    let create = pb::WatchCreateRequest {
        key: key.to_owned().into(),
        ..Default::default()
    };
    let request = pb::WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    requests.send(request).await.unwrap();
    let mut client = WatchClient::new(channel.clone()).max_decoding_message_size(64 << 20);
    let mut answers = client.watch(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().unwrap().created);
    (requests, answers)
}

#[tokio::test]
async fn streams_of_one_connection_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.limits.concurrent_streams = 3;
    let server = Server::start(options).await.unwrap();
    let channel = connect(&server).await;
    let mut open = Vec::new();
    for n in 0..3 {
        open.push(watch(&channel, &format!("k{n}")).await);
    }
    let fourth = watch(&channel, "k4");
    tokio::pin!(fourth);
    tokio::select! {
        _ = fourth.as_mut() => panic!("a fourth stream"),
        () = still_serves(&server) => {}
    }
    open.pop();
    tokio::time::timeout(BOUND, fourth)
        .await
        .expect("a place for the fourth");
    server.shutdown().await;
}

#[tokio::test]
async fn a_watcher_that_does_not_read_blocks_nobody_and_loses_nothing() {
    const EVENTS: usize = 300;
    const VALUE_BYTES: usize = 256 << 10;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(options(dir.path())).await.unwrap();
    let (_requests, mut answers) = watch(&connect(&server).await, "slow").await;
    let mut kv = KvClient::new(connect(&server).await);
    let (_more, mut quick) = watch(&connect(&server).await, "slow").await;
    let mut revisions = Vec::new();
    for _ in 0..EVENTS {
        let written = tokio::time::timeout(BOUND, kv.put(put("slow", vec![7; VALUE_BYTES])));
        let header = written.await.expect("no writer waits").unwrap().into_inner().header;
        revisions.push(header.unwrap().revision);
        // One that reads has every event at once.
        let event = tokio::time::timeout(BOUND, quick.message())
            .await
            .expect("an event in time");
        assert_eq!(event.unwrap().unwrap().events.len(), 1);
    }
    // 75 MiB have been written; what waits for the slow one is bounded by its queue.
    let metrics = plain::get(&url(&server), "/metrics").await.body;
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find(|l| l.starts_with(&format!("{name} "))).unwrap();
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    assert_eq!(value("etcd_debugging_mvcc_slow_watcher_total"), 1.0);
    assert!(value("etcd_debugging_mvcc_pending_events_total") * VALUE_BYTES as f64 <= (8 << 20) as f64);
    let mut seen = Vec::new();
    while seen.len() < EVENTS {
        let answer = tokio::time::timeout(BOUND, answers.message())
            .await
            .expect("an event in time");
        seen.extend(
            answer
                .unwrap()
                .unwrap()
                .events
                .iter()
                .map(|e| e.kv.as_ref().unwrap().mod_revision),
        );
    }
    assert_eq!(seen, revisions, "in order, each once");
    server.shutdown().await;
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.limits.keepalive_interval = Duration::from_millis(200);
    options.limits.keepalive_timeout = Duration::from_millis(200);
    let server = Server::start(options).await.unwrap();
    let mut half_open = TcpStream::connect(server.client_addr().unwrap()).await.unwrap();
    // The preface and empty settings; then silence.
    half_open
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    until_closed(half_open).await;
    still_serves(&server).await;
    server.shutdown().await;
}

/// Where the process that holds the other ends of the connections finds the server.
const HOLD_AT: &str = "KEELSON_TEST_HOLD_CONNECTIONS_AT";
const CONNECTIONS: usize = 10_000;

/// Opens all connections, has an answer on each, says so, and holds them until its input ends.
async fn hold_connections(addr: &str) {
    let mut sockets = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut socket = TcpStream::connect(addr).await.unwrap();
        let request = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n";
        socket.write_all(request).await.unwrap();
        let mut first = [0; 12];
        let read = tokio::time::timeout(BOUND, socket.read_exact(&mut first)).await;
        read.expect("an answer in time").unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        sockets.push(socket);
    }
    println!("\nholding");
    tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink())
        .await
        .unwrap();
}

#[tokio::test]
async fn ten_thousand_connections_are_served_at_once() {
    if let Ok(addr) = std::env::var(HOLD_AT) {
        return hold_connections(&addr).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(options(dir.path())).await.unwrap();
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
    };
    let before = resident();
    // One process may not open enough files for both ends.
    let mut holder = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["ten_thousand_connections_are_served_at_once", "--exact", "--nocapture"])
        .env(HOLD_AT, server.client_addr().unwrap().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(holder.stdout.take().unwrap()).lines();
    let holding = async {
        while let Some(line) = said.next_line().await.unwrap() {
            if line == "holding" {
                return;
            }
        }
        panic!("the connections were not served");
    };
    tokio::time::timeout(BOUND * 4, holding)
        .await
        .expect("the connections in time");
    let each = resident().saturating_sub(before) / CONNECTIONS;
    assert!(each < 64 << 10, "{each} bytes a connection");
    still_serves(&server).await;
    drop(holder.stdin.take());
    assert!(holder.wait().await.unwrap().success());
    still_serves(&server).await;
    server.shutdown().await;
}
