//! Calls as frames, which no well-behaved client would send so: in pieces, cut, too large, out of time.
#![allow(clippy::unwrap_used)]

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use keelson_kvstore::{Options, Server};
use keelson_proto::{etcdserverpb as pb, v3lockpb};
use pb::watch_request::RequestUnion;
use prost::Message;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

const BOUND: Duration = Duration::from_secs(30);
const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const WATCH: &str = "/etcdserverpb.Watch/Watch";
const KEEPALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
const LOCK: &str = "/v3lockpb.Lock/Lock";

struct Client {
    _dir: tempfile::TempDir,
    server: Server,
    requests: SendRequest<Bytes>,
}

/// What came of a call: its messages, and its status with the words of it.
#[derive(Debug, PartialEq)]
struct Told {
    messages: Vec<Bytes>,
    status: i32,
    words: String,
}

async fn client() -> Client {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new("default", dir.path()).serve_at("127.0.0.1:0".parse().unwrap(), None);
    let server = Server::start(options).await.unwrap();
    let socket = TcpStream::connect(server.client_addr().unwrap()).await.unwrap();
    let (requests, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    Client {
        _dir: dir,
        server,
        requests,
    }
}

fn framed(message: &impl Message) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(0);
    out.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut out).unwrap();
    out.freeze()
}

impl Client {
    async fn open(&mut self, path: &str, timeout: Option<&str>) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        let uri = format!("http://{}{path}", self.server.client_addr().unwrap());
        let request = Request::post(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let request = match timeout {
            Some(timeout) => request.header("grpc-timeout", timeout),
            None => request,
        };
        std::future::poll_fn(|cx| self.requests.poll_ready(cx)).await.unwrap();
        self.requests.send_request(request.body(()).unwrap(), false).unwrap()
    }

    /// One call whose body is sent in these pieces.
    async fn call(&mut self, path: &str, timeout: Option<&str>, pieces: Vec<Bytes>) -> Told {
        let (answer, mut body) = self.open(path, timeout).await;
        for piece in pieces {
            body.send_data(piece, false).unwrap();
            // Each in a segment of its own, or nearly.
            tokio::task::yield_now().await;
        }
        body.send_data(Bytes::new(), true).unwrap();
        told(answer).await
    }
}

fn status_of(headers: &HeaderMap) -> Option<(i32, String)> {
    let status = headers.get("grpc-status")?.to_str().unwrap().parse().unwrap();
    let words = headers.get("grpc-message").map_or("", |m| m.to_str().unwrap());
    Some((status, words.replace("%20", " ")))
}

async fn next(body: &mut RecvStream, unread: &mut BytesMut) -> Option<Bytes> {
    loop {
        if let Some(length) = unread.get(1..5) {
            let whole = 5 + u32::from_be_bytes(length.try_into().unwrap()) as usize;
            if unread.len() >= whole {
                return Some(unread.split_to(whole).freeze().slice(5..));
            }
        }
        let data = tokio::time::timeout(BOUND, body.data()).await.unwrap()?.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        unread.extend_from_slice(&data);
    }
}

async fn told(answer: h2::client::ResponseFuture) -> Told {
    let answer = tokio::time::timeout(BOUND, answer).await.unwrap().unwrap();
    if let Some((status, words)) = status_of(answer.headers()) {
        return Told {
            messages: Vec::new(),
            status,
            words,
        };
    }
    let (mut body, mut unread, mut messages) = (answer.into_body(), BytesMut::new(), Vec::new());
    while let Some(message) = next(&mut body, &mut unread).await {
        messages.push(message);
    }
    let trailers = body.trailers().await.unwrap().unwrap();
    let (status, words) = status_of(&trailers).unwrap();
    Told {
        messages,
        status,
        words,
    }
}

fn refused(status: i32, words: &str) -> Told {
    Told {
        messages: Vec::new(),
        status,
        words: words.to_owned(),
    }
}

fn put(key: &str, value: Vec<u8>) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into(),
        value: value.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_request_is_one_message_however_it_is_cut() {
    let mut client = client().await;
    let request = framed(&put("key", vec![7; 300]));
    for size in [1, 4, 5, 6, 100, request.len() - 1, request.len()] {
        let pieces = request.chunks(size).map(Bytes::copy_from_slice).collect();
        let told = client.call(PUT, None, pieces).await;
        assert_eq!((told.status, told.messages.len()), (0, 1), "pieces of {size}: {told:?}");
    }
    // A megabyte, which never comes in one frame.
    let large = framed(&put("large", vec![7; 1 << 20]));
    assert_eq!(client.call(PUT, None, vec![large]).await.status, 0);
}

#[tokio::test]
async fn what_is_no_message_is_refused_and_the_connection_goes_on() {
    let mut client = client().await;
    let cut = framed(&put("key", vec![7; 30])).slice(..20);
    let garbage = Bytes::from_static(b"\0\0\0\0\x02\xff\xff");
    let cases = [
        (vec![], 13, "Missing request message."),
        (vec![cut], 13, "Unexpected EOF decoding stream."),
        (
            vec![Bytes::from_static(b"\0\x7f\xff\xff\xff")],
            8,
            "grpc: received message larger than max (2147483647 vs. 2097152)",
        ),
        (
            vec![Bytes::from_static(b"\x01\0\0\0\0")],
            13,
            "protocol error: received message with compressed-flag but no grpc-encoding was specified",
        ),
    ];
    for (pieces, status, words) in cases {
        let told = client.call(PUT, None, pieces.clone()).await;
        assert_eq!(told, refused(status, words), "{pieces:?}");
    }
    assert_eq!(client.call(PUT, None, vec![garbage]).await.status, 13);
    assert_eq!(
        client.call(PUT, None, vec![framed(&put("key", vec![]))]).await.status,
        0
    );
}

#[tokio::test]
async fn a_call_ends_with_its_time() {
    let mut client = client().await;
    let exceeded = refused(4, "context deadline exceeded");
    let watch = pb::WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(pb::WatchCreateRequest {
            key: "k".into(),
            ..Default::default()
        })),
    };
    let begun = Instant::now();
    let told = client.call(WATCH, Some("300m"), vec![framed(&watch)]).await;
    assert_eq!(
        (told.messages.len(), told.status, told.words),
        (1, 4, exceeded.words.clone())
    );
    assert!(begun.elapsed() >= Duration::from_millis(300));
    // A body that does not come, and a lock that somebody else has.
    let (answer, body) = client.open(RANGE, Some("50m")).await;
    assert_eq!(self::told(answer).await, exceeded);
    drop(body);
    let lock = v3lockpb::LockRequest {
        name: "l".into(),
        lease: 0,
    };
    assert_eq!(client.call(LOCK, None, vec![framed(&lock)]).await.status, 0);
    assert_eq!(client.call(LOCK, Some("50m"), vec![framed(&lock)]).await, exceeded);
    let told = client.call(RANGE, Some("5x"), vec![]).await;
    assert_eq!(told.status, 13);
    assert!(told.words.starts_with("malformed grpc-timeout"), "{}", told.words);
    // Time enough is no matter.
    let range = pb::RangeRequest {
        key: "k".into(),
        ..Default::default()
    };
    assert_eq!(client.call(RANGE, Some("10S"), vec![framed(&range)]).await.status, 0);
}

#[tokio::test]
async fn a_large_answer_comes_whole_to_a_client_with_a_small_window() {
    let mut client = client().await;
    for n in 0..40 {
        let request = framed(&put(&format!("key{n:02}"), vec![n; 100_000]));
        assert_eq!(client.call(PUT, None, vec![request]).await.status, 0);
    }
    let range = pb::RangeRequest {
        key: "key".into(),
        range_end: "kez".into(),
        ..Default::default()
    };
    let told = client.call(RANGE, None, vec![framed(&range)]).await;
    assert_eq!((told.status, told.messages.len()), (0, 1));
    let response = pb::RangeResponse::decode(told.messages[0].clone()).unwrap();
    assert_eq!((response.count, response.kvs.len(), response.more), (40, 40, false));
    for (n, kv) in (0u8..).zip(&response.kvs) {
        assert!(kv.value.len() == 100_000 && kv.value.iter().all(|b| *b == n));
    }
}

#[tokio::test]
async fn streams_take_messages_however_they_are_cut() {
    let mut client = client().await;
    let (answer, mut body) = client.open(KEEPALIVE, None).await;
    let mut both = framed(&pb::LeaseKeepAliveRequest { id: 5 }).to_vec();
    both.extend(framed(&pb::LeaseKeepAliveRequest { id: 6 }));
    for byte in both {
        body.send_data(Bytes::from(vec![byte]), false).unwrap();
    }
    body.send_data(Bytes::new(), true).unwrap();
    let told = told(answer).await;
    let ids = told
        .messages
        .iter()
        .map(|m| pb::LeaseKeepAliveResponse::decode(m.clone()).unwrap());
    let ids: Vec<_> = ids.map(|r| (r.id, r.ttl)).collect();
    assert_eq!((told.status, ids), (0, vec![(5, 0), (6, 0)]));
    // A request that is none ends a stream of keepalives.
    let told = client
        .call(KEEPALIVE, None, vec![Bytes::from_static(b"\x09\0\0\0\0")])
        .await;
    assert_eq!(told.status, 13);
}
