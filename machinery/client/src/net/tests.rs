#![allow(clippy::unwrap_used)]
use super::*;
use crate::config::{Auth, Source};
use crate::transport::{empty, full};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

struct Ca {
    pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

fn ca() -> Ca {
    let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    Ca {
        pem: cert.pem(),
        issuer: rcgen::Issuer::new(params, key),
    }
}

/// Certificate and key, PEM.
fn leaf(ca: &Ca, name: &str) -> (String, String) {
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, &ca.issuer).unwrap();
    (cert.pem(), key.serialize_pem())
}

struct Server {
    url: String,
    ca: Ca,
    connections: Arc<AtomicUsize>,
    /// Cancelled and made anew to break what is connected.
    live: Arc<Mutex<CancellationToken>>,
    _stop: DropGuard,
}

/// Tells what it was asked: version, path, authorization, whether a client certificate came.
async fn answer(mut req: http::Request<Incoming>, peer: bool) -> Result<http::Response<Full<Bytes>>, Infallible> {
    if req.headers().contains_key(header::UPGRADE) {
        tokio::spawn(async move {
            let io = hyper::upgrade::on(&mut req).await.unwrap();
            let mut io = TokioIo::new(io);
            let mut word = [0; 4];
            io.read_exact(&mut word).await.unwrap();
            io.write_all(&word).await.unwrap();
        });
        let r = http::Response::builder()
            .status(101)
            .header("upgrade", "echo")
            .header("connection", "upgrade");
        return Ok(r.body(Full::default()).unwrap());
    }
    let auth = req
        .headers()
        .get(header::AUTHORIZATION)
        .map_or("-", |v| v.to_str().unwrap());
    let host = req.headers().contains_key(header::HOST) || req.uri().authority().is_some();
    let text = format!(
        "{:?} {} auth={auth} peer={peer} host={host}",
        req.version(),
        req.uri().path_and_query().unwrap()
    );
    Ok(http::Response::new(Full::from(text)))
}

async fn serve(alpn: &[&str]) -> Server {
    let ca = ca();
    let (cert, key) = leaf(&ca, "localhost");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    roots
        .add(CertificateDer::from_pem_slice(ca.pem.as_bytes()).unwrap())
        .unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .unwrap();
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    tls.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let connections = Arc::new(AtomicUsize::new(0));
    let live = Arc::new(Mutex::new(CancellationToken::new()));
    let stop = CancellationToken::new();
    let (count, current, end) = (connections.clone(), live.clone(), stop.clone());
    tokio::spawn(end.run_until_cancelled_owned(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let (acceptor, token) = (acceptor.clone(), current.lock().clone());
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(token.run_until_cancelled_owned(async move {
                let Ok(io) = acceptor.accept(tcp).await else { return };
                let peer = io.get_ref().1.peer_certificates().is_some();
                let service = service_fn(move |r| answer(r, peer));
                let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                    .serve_connection_with_upgrades(TokioIo::new(io), service)
                    .await;
            }));
        }
    }));
    Server {
        url,
        ca,
        connections,
        live,
        _stop: stop.drop_guard(),
    }
}

impl Server {
    fn config(&self) -> Config {
        let mut c = Config::new(&self.url);
        c.ca = Some(Source::Bytes(self.ca.pem.clone().into_bytes()));
        c
    }
    fn break_connections(&self) {
        std::mem::take(&mut *self.live.lock()).cancel();
    }
}

fn get(path: &str) -> http::Request<Body> {
    http::Request::get(path).body(empty()).unwrap()
}

/// The client learns of a closed connection from its own task; until then a request may still fail.
async fn reconnected(t: &NetTransport) {
    let again = async {
        while t.send(get("/again")).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    let bound = std::time::Duration::from_secs(10);
    tokio::time::timeout(bound, again).await.unwrap();
}

async fn text(t: &NetTransport, path: &str) -> String {
    let r = t.send(get(path)).await.unwrap();
    String::from_utf8(r.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn http2_with_a_client_certificate_on_one_connection() {
    let s = serve(&["h2", "http/1.1"]).await;
    let (cert, key) = leaf(&s.ca, "me");
    let mut c = s.config();
    c.server = format!("{}/prefix/", s.url);
    c.auth = Auth::ClientCertificate {
        certificate: Source::Bytes(cert.into_bytes()),
        key: Source::Bytes(key.into_bytes()),
    };
    let t = Arc::new(NetTransport::new(c).unwrap());
    let all = (0..20).map(|_| {
        let t = t.clone();
        async move { text(&t, "/api?x=%20y").await }
    });
    for got in futures::future::join_all(all).await {
        assert_eq!(got, "HTTP/2.0 /prefix/api?x=%20y auth=- peer=true host=true");
    }
    assert_eq!(s.connections.load(Ordering::SeqCst), 1, "a burst opens one connection");
    s.break_connections();
    reconnected(&t).await;
    assert_eq!(s.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn many_streams_take_more_connections() {
    let s = serve(&["h2"]).await;
    let t = NetTransport::new(s.config()).unwrap();
    let mut held = vec![];
    for _ in 0..=STREAMS_PER_CONNECTION_MAX {
        held.push(t.send(get("/")).await.unwrap());
    }
    assert_eq!(s.connections.load(Ordering::SeqCst), 2);
    held.clear();
    text(&t, "/").await;
    assert_eq!(s.connections.load(Ordering::SeqCst), 2, "places are given back");
}

#[tokio::test]
async fn http1_and_tokens_reuse_idle_connections() {
    let s = serve(&["http/1.1"]).await;
    let mut c = s.config();
    c.auth = Auth::Token(Source::Bytes(b"secret\n".to_vec()));
    let t = NetTransport::new(c).unwrap();
    for _ in 0..3 {
        assert_eq!(
            text(&t, "/a").await,
            "HTTP/1.1 /a auth=Bearer secret peer=false host=true"
        );
    }
    assert_eq!(s.connections.load(Ordering::SeqCst), 1);
    s.break_connections();
    reconnected(&t).await;
}

#[tokio::test]
async fn upgrades_go_over_http1() {
    let s = serve(&["h2", "http/1.1"]).await;
    let t = NetTransport::new(s.config()).unwrap();
    text(&t, "/warm").await;
    let req = http::Request::get("/exec")
        .header("connection", "upgrade")
        .header("upgrade", "echo")
        .body(full(""))
        .unwrap();
    let mut r = t.send(req).await.unwrap();
    assert_eq!(r.status(), 101);
    let mut io = TokioIo::new(hyper::upgrade::on(&mut r).await.unwrap());
    io.write_all(b"ping").await.unwrap();
    let mut word = [0; 4];
    io.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"ping");
}

#[tokio::test]
async fn trust_is_checked() {
    let s = serve(&["h2"]).await;
    let mut other = s.config();
    other.ca = Some(Source::Bytes(ca().pem.into_bytes()));
    let e = NetTransport::new(other.clone())
        .unwrap()
        .send(get("/"))
        .await
        .unwrap_err();
    assert!(e.to_string().contains("invalid peer certificate"), "{e}");
    other.insecure_skip_tls_verify = true;
    text(&NetTransport::new(other).unwrap(), "/").await;
    let mut named = s.config();
    named.server = s.url.replace("localhost", "127.0.0.1");
    assert!(NetTransport::new(named.clone()).unwrap().send(get("/")).await.is_err());
    named.tls_server_name = Some("localhost".into());
    text(&NetTransport::new(named).unwrap(), "/").await;
    let mut bad = s.config();
    bad.ca = Some(Source::Bytes(b"no pem".to_vec()));
    assert!(NetTransport::new(bad).is_err());
    bad = s.config();
    bad.server = "ftp://x".into();
    assert!(NetTransport::new(bad).is_err());
}
