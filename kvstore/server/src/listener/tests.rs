//! Clients that take their time.
#![allow(clippy::unwrap_used)]

use super::connection::Patience;
use super::*;
use crate::{ClientListener, Limits, ListenAddr, Serves};
use axum::Router;
use std::net::SocketAddr;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Short here, and far enough apart to be told from each other.
const HANDSHAKE: Duration = Duration::from_millis(200);
const FIRST_BYTES: Duration = Duration::from_millis(300);
const HEADER: Duration = Duration::from_millis(900);
/// A byte each, so that no silence is as long as any of them.
const DRIP: Duration = Duration::from_millis(30);

struct Port {
    addr: SocketAddr,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

async fn port(tls: Option<Arc<rustls::ServerConfig>>) -> Port {
    let wanted = ClientListener {
        addr: ListenAddr::Tcp("127.0.0.1:0".parse().unwrap()),
        tls,
        serves: Serves::All,
        reuse_port: false,
    };
    let bound = Bound::open(wanted).await.unwrap();
    let addr = bound.tcp_addr().unwrap();
    let http = Router::new().route("/here", axum::routing::get(|| async { "yes" }));
    let service = Split::of(Router::new(), http);
    let mut limits = ConnectionLimits::new(&Limits::default());
    limits.patience = Patience {
        handshake: HANDSHAKE,
        first_bytes: FIRST_BYTES,
        header: HEADER,
    };
    let stop = CancellationToken::new();
    let serving = tokio::spawn(run(bound, service, limits, Audience::Clients, stop.clone()));
    Port { addr, stop, serving }
}

impl Port {
    async fn still_serves(&self) {
        let mut socket = TcpStream::connect(self.addr).await.unwrap();
        let request = b"GET /here HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        socket.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        assert!(answer.ends_with(b"yes"), "{}", answer.escape_ascii());
    }

    async fn end(self) {
        self.stop.cancel();
        self.serving.await.unwrap();
    }
}

/// How long the server bears with a client that says `bytes`, one by one, and then nothing.
async fn borne(port: &Port, bytes: &[u8]) -> Duration {
    let begun = Instant::now();
    let (mut reads, mut writes) = TcpStream::connect(port.addr).await.unwrap().into_split();
    let bytes = bytes.to_vec();
    let dripping = tokio::spawn(async move {
        for byte in bytes {
            tokio::time::sleep(DRIP).await;
            if writes.write_all(&[byte]).await.is_err() {
                return;
            }
        }
        std::future::pending().await
    });
    // A reset is an end as well: it had not read everything.
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(HEADER * 20, reads.read_to_end(&mut answer))
        .await
        .expect("the server hangs up");
    dripping.abort();
    begun.elapsed()
}

#[tokio::test]
async fn who_says_nothing_or_very_little_is_dropped() {
    let port = port(None).await;
    let silent = borne(&port, b"").await;
    assert!(silent >= FIRST_BYTES && silent < HEADER, "{silent:?}");
    // The beginning of what an HTTP/2 client says: the time is for all of it.
    let slow = borne(&port, b"PRI * HTTP/2.0\r\n\r\nSM").await;
    assert!(slow >= FIRST_BYTES && slow < HEADER, "{slow:?}");
    // Once it is clear what is spoken, the time is that of a request's head.
    let head = borne(
        &port,
        &[b"GET /here HTTP/1.1\r\nhost: a\r\nx: ".as_slice(), &[b'y'; 300]].concat(),
    )
    .await;
    assert!(head >= HEADER && head < HEADER * 5, "{head:?}");
    port.still_serves().await;
    port.end().await;
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_not_waited_for() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let port = port(Some(Arc::new(tls))).await;
    for hello in [&[] as &[u8], &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]] {
        let took = borne(&port, hello).await;
        assert!(took >= HANDSHAKE && took < HEADER, "{took:?}");
    }
    port.end().await;
}

#[test]
fn connections_leave_descriptors_to_the_store() {
    let both = |descriptors| [Audience::Clients, Audience::Members(None)].map(|a| connections_max(descriptors, &a));
    assert_eq!(both(1 << 20), [16_384, 4_096]);
    assert_eq!(both(20_000), [11_816, 3_938]);
    assert_eq!(both(1_024), [272, 90]);
    for few in [0, 100, 300] {
        assert_eq!(both(few), [16, 16]);
    }
}
