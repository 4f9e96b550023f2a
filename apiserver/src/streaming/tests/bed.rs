//! What the tests stand on: certificates, a backend that does as a test says, and a server in front.

use crate::endpoints::Info;
use crate::objects::memory::Memory;
use crate::streaming::{Options, Streaming};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use keelson_client::Body;
use keelson_client::transport::empty;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// A bound on anything that a test waits for.
pub const SOON: Duration = Duration::from_secs(20);

pub async fn soon<T>(f: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, f).await.expect("took too long")
}

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    der: CertificateDer<'static>,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut p = CertificateParams::new(Vec::new()).unwrap();
        p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let cert = p.self_signed(&key).unwrap();
        Authority {
            pem: cert.pem(),
            der: cert.der().clone(),
            issuer: Issuer::new(p, key),
        }
    }
    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &self.issuer)
            .unwrap();
        (cert, key)
    }
    /// Writes what [`Options`] names, with a client certificate of this authority that trusts `servers`.
    pub fn write(&self, dir: &Path, servers: &Authority) -> Options {
        let (cert, key) = self.sign("kube-apiserver");
        let o = Options {
            kubelet_client_cert: dir.join("client.crt"),
            kubelet_client_key: dir.join("client.key"),
            kubelet_ca: dir.join("ca.crt"),
        };
        std::fs::write(&o.kubelet_client_cert, cert.pem()).unwrap();
        std::fs::write(&o.kubelet_client_key, key.serialize_pem()).unwrap();
        std::fs::write(&o.kubelet_ca, &servers.pem).unwrap();
        o
    }
    fn server(&self) -> ServerConfig {
        let (cert, key) = self.sign("127.0.0.1");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .unwrap();
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![cert.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap()
    }
}

pub type Handler = Arc<dyn Fn(Request<Incoming>) -> Response<Body> + Send + Sync>;

/// A backend on a free port of the loopback, and what it was asked.
pub struct Backend {
    pub port: u16,
    pub asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Backend {
    pub async fn start(tls: Option<ServerConfig>, handler: Handler) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let acceptor = tls.map(|t| TlsAcceptor::from(Arc::new(t)));
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, handler, log) = (acceptor.clone(), handler.clone(), log.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(tcp, handler, log).await,
                        Some(a) => {
                            if let Ok(s) = a.accept(tcp).await {
                                serve(s, handler, log).await;
                            }
                        }
                    }
                });
            }
        });
        Backend { port, asked, task }
    }
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}

async fn serve<T>(io: T, handler: Handler, log: Arc<Mutex<Vec<String>>>)
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |r: Request<Incoming>| {
        log.lock().push(format!("{} {}", r.method(), r.uri()));
        let answer = handler(r);
        async move { Ok::<_, Infallible>(answer) }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades()
        .await;
}

/// A streaming server over objects in memory, with the kubelet of node `one`.
pub struct Bed {
    pub objects: Arc<Memory>,
    pub streaming: Arc<Streaming>,
    pub stop: CancellationToken,
    pub kubelet: Backend,
    pub authority: Authority,
    pub options: Options,
    _dir: tempfile::TempDir,
}

impl Bed {
    pub async fn new(handler: impl Fn(Request<Incoming>) -> Response<Body> + Send + Sync + 'static) -> Self {
        let authority = Authority::new();
        let dir = tempfile::tempdir().unwrap();
        let objects = Arc::new(Memory::default());
        let stop = CancellationToken::new();
        let options = authority.write(dir.path(), &authority);
        let mut streaming = Streaming::new(&options, objects.clone(), stop.clone()).unwrap();
        streaming.may_dial = |_| true;
        let kubelet = Backend::start(Some(authority.server()), Arc::new(handler)).await;
        objects.put("", "nodes", node(kubelet.port));
        Bed {
            objects,
            streaming: Arc::new(streaming),
            stop,
            kubelet,
            authority,
            options,
            _dir: dir,
        }
    }

    /// The addresses that may be dialed are those of production from here on.
    pub fn strict(&mut self) {
        let streaming = Streaming::new(&self.options, self.objects.clone(), self.stop.clone()).unwrap();
        self.streaming = Arc::new(streaming);
    }

    pub fn pod(&self, name: &str, mut more: Value) {
        more["metadata"]["name"] = name.into();
        more["metadata"]["namespace"] = "n".into();
        self.objects.put("", "pods", more);
    }

    /// A running pod on node `one`, with one container `a`.
    pub fn running(&self, name: &str) {
        let spec = json!({"nodeName": "one", "containers": [{"name": "a"}]});
        self.pod(name, json!({"spec": spec, "status": {"phase": "Running"}}));
    }

    /// Sends a request over a connection of its own, as a client would.
    pub async fn send(&self, request: Request<Body>) -> Response<Incoming> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let streaming = self.streaming.clone();
        let service = service_fn(move |r: Request<Incoming>| {
            let streaming = streaming.clone();
            async move {
                let info = Info::parse(r.method(), r.uri());
                assert!(streaming.handles(&info), "{}", info.path);
                let r = r.map(|b| b.map_err(Into::into).boxed());
                Ok::<_, Infallible>(match streaming.serve(&info, r).await {
                    Ok(r) => r,
                    Err(e) => answer(e.code, &e.to_status().to_string()),
                })
            }
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(far), service)
                .with_upgrades(),
        );
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        soon(sender.send_request(request)).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        text(self.send(request(Method::GET, path)).await).await
    }

    /// Code, reason and message of the Status that the request gets.
    pub async fn refusal(&self, path: &str) -> (u16, String, String) {
        let (code, body) = self.get(path).await;
        let v: Value = serde_json::from_str(&body).unwrap();
        (
            code,
            v["reason"].as_str().unwrap().to_owned(),
            v["message"].as_str().unwrap().to_owned(),
        )
    }
}

pub fn node(port: u16) -> Value {
    json!({"metadata": {"name": "one"}, "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}})
}

pub fn request(method: Method, path: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "api:6443")
        .body(empty())
        .unwrap()
}

pub async fn text(r: Response<Incoming>) -> (u16, String) {
    let code = r.status().as_u16();
    let body: Bytes = soon(r.into_body().collect()).await.unwrap().to_bytes();
    (code, String::from_utf8(body.to_vec()).unwrap())
}

pub fn answer(code: u16, body: &str) -> Response<Body> {
    let mut r = Response::new(keelson_client::transport::full(body.to_owned()));
    *r.status_mut() = http::StatusCode::from_u16(code).unwrap();
    r
}
