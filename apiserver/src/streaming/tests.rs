#![allow(clippy::unwrap_used)]
use super::*;
use crate::objects::memory::Memory;
use http_body_util::Full;
use hyper::service::service_fn;
use keelson_client::transport::full;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use std::convert::Infallible;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

struct World {
    streaming: Streaming,
    objects: Arc<Memory>,
    _dir: tempfile::TempDir,
}

/// A kubelet on a port of its own that answers with what it was asked, refuses `bad` and echoes upgrades.
async fn kubelet(config: Option<Arc<rustls::ServerConfig>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let config = config.clone();
            tokio::spawn(async move {
                match config {
                    None => serve(stream).await,
                    Some(c) => {
                        if let Ok(s) = tokio_rustls::TlsAcceptor::from(c).accept(stream).await {
                            serve(s).await;
                        }
                    }
                }
            });
        }
    });
    port
}

async fn serve<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static>(stream: S) {
    let answer = service_fn(|mut request: Request<Incoming>| async move {
        let path = request.uri().to_string();
        if is_upgrade(request.headers()) {
            let on = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut io = TokioIo::new(on.await.unwrap());
                io.write_all(b"hello ").await.unwrap();
                let mut buffer = [0; 64];
                while let Ok(n) = io.read(&mut buffer).await {
                    if n == 0 || io.write_all(&buffer[..n]).await.is_err() {
                        return;
                    }
                }
            });
            let mut r = Response::new(Full::new(Bytes::new()));
            *r.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            r.headers_mut().insert("x-path", path.parse().unwrap());
            for h in [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_PROTOCOL] {
                if let Some(v) = request.headers().get(&h) {
                    r.headers_mut().insert(h, v.clone());
                }
            }
            return Ok::<_, Infallible>(r);
        }
        let mut r = Response::new(Full::new(Bytes::from(format!("{} {path}", request.method()))));
        if path.contains("/bad/") {
            *r.status_mut() = StatusCode::BAD_REQUEST;
        }
        if request.headers().contains_key(header::AUTHORIZATION) {
            *r.status_mut() = StatusCode::IM_A_TEAPOT;
        }
        Ok(r)
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades()
        .await;
}

async fn world() -> World {
    let mut p = CertificateParams::default();
    p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(p, KeyPair::generate().unwrap()).unwrap();
    let issue = |names: Vec<String>| {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
        (cert, key)
    };
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (client, client_key) = issue(vec!["apiserver".into()]);
    let (ca_file, cert_file, key_file) = (
        write("ca", ca.pem()),
        write("cert", client.pem()),
        write("key", client_key.serialize_pem()),
    );
    let (server, server_key) = issue(vec!["127.0.0.1".into()]);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(
            vec![server.der().clone()],
            rustls_pki_types::PrivateKeyDer::try_from(server_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let port = kubelet(Some(Arc::new(config))).await;
    let objects = Arc::new(Memory::default());
    objects.put(
        "",
        "nodes",
        json!({"metadata": {"name": "n"}, "status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}}),
    );
    for name in ["p", "bad"] {
        objects.put(
            "",
            "pods",
            json!({"metadata": {"name": name, "namespace": "a"}, "status": {"podIP": "127.0.0.1"},
                "spec": {"nodeName": "n", "containers": [{"name": "c"}]}}),
        );
    }
    let streaming = Streaming {
        objects: objects.clone(),
        kubelets: dial::kubelet_tls(&ca_file, &cert_file, &key_file).unwrap(),
        workloads: dial::workload_tls().unwrap(),
        stop: CancellationToken::new(),
    };
    World {
        streaming,
        objects,
        _dir: dir,
    }
}

fn target(plural: &str, name: &str, subresource: &str, path: &str) -> Target {
    Target {
        plural: plural.into(),
        namespace: "a".into(),
        name: name.into(),
        subresource: subresource.into(),
        path: path.into(),
    }
}

fn get(uri: &str) -> Request<Body> {
    let r = Request::get(uri).header(header::AUTHORIZATION, "Bearer x");
    r.body(empty()).unwrap()
}

async fn body(r: Response<Body>) -> String {
    String::from_utf8(r.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn logs_come_from_the_kubelet() {
    let w = world().await;
    let r = w
        .streaming
        .connect(&target("pods", "p", "log", ""), get("/x?follow=true&tailLines=1"))
        .await
        .unwrap();
    assert_eq!(
        (r.status(), r.headers()[header::CONTENT_TYPE].to_str().unwrap()),
        (StatusCode::OK, "text/plain")
    );
    assert_eq!(body(r).await, "GET /containerLogs/a/p/c?follow=true&tailLines=1");

    let e = w
        .streaming
        .connect(&target("pods", "bad", "log", ""), get("/x"))
        .await
        .unwrap_err();
    assert_eq!((e.code, e.reason), (400, "BadRequest"));
    let e = w
        .streaming
        .connect(&target("pods", "none", "log", ""), get("/x"))
        .await
        .unwrap_err();
    assert_eq!(e.message, "pods \"none\" not found");

    w.objects.put(
        "",
        "pods",
        json!({"metadata": {"name": "new", "namespace": "a"}, "spec": {"containers": [{"name": "c"}]}}),
    );
    let r = w
        .streaming
        .connect(&target("pods", "new", "log", ""), get("/x"))
        .await
        .unwrap();
    assert_eq!(r.status(), StatusCode::NO_CONTENT);
    let e = w
        .streaming
        .connect(&target("pods", "p", "exec", ""), get("/x?command=sh"))
        .await
        .unwrap_err();
    assert_eq!(e.message, "Upgrade request required");
}

/// A client, this server in between, and the kubelet: bytes pass both ways after the upgrade.
#[tokio::test]
async fn exec_is_passed_through() {
    let w = world().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let streaming = w.streaming.clone();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let answer = service_fn(move |request: Request<Incoming>| {
            let streaming = streaming.clone();
            async move {
                let request = request.map(|b| b.map_err(Into::into).boxed());
                streaming.connect(&target("pods", "p", "exec", ""), request).await
            }
        });
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), answer)
            .with_upgrades()
            .await;
    });
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    client
        .write_all(
            b"GET /exec?command=sh&stdin=true HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Protocol: v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.eA\r\n\r\n",
        )
        .await
        .unwrap();
    client.write_all(b"world").await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"hello world") {
        let mut buffer = [0; 1024];
        let n = client.read(&mut buffer).await.unwrap();
        assert_ne!(n, 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..n]);
    }
    let seen = String::from_utf8(seen).unwrap().to_lowercase();
    assert!(seen.starts_with("http/1.1 101 "));
    assert!(seen.contains("x-path: /exec/a/p/c?input=1&output=1&error=1&command=sh"));
    assert!(seen.contains("sec-websocket-protocol: v5.channel.k8s.io\r\n"));
}

#[tokio::test]
async fn proxies() {
    let w = world().await;
    let port = kubelet(None).await;
    let s = &w.streaming;
    let r = s
        .connect(&target("pods", &format!("p:{port}"), "proxy", "/a"), get("/x?q=1"))
        .await
        .unwrap();
    assert_eq!(body(r).await, "GET /a?q=1");
    let r = s
        .connect(&target("nodes", "n", "proxy", "/healthz"), get("/x"))
        .await
        .unwrap();
    assert_eq!(body(r).await, "GET /healthz");
    let r = s
        .connect(&target("nodes", "n", "proxy", ""), get("/nodes/n/proxy?x=1"))
        .await
        .unwrap();
    assert_eq!(r.status(), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(r.headers()[header::LOCATION], "/nodes/n/proxy/?x=1");

    let e = s
        .connect(&target("services", "s", "proxy", "/"), get("/x"))
        .await
        .unwrap_err();
    assert_eq!(e.code, 404);
    w.objects.put(
        "",
        "services",
        json!({"metadata": {"name": "s", "namespace": "a"}, "spec": {"ports": [{"port": 80}]}}),
    );
    w.objects.put(
        "",
        "endpoints",
        json!({"metadata": {"name": "s", "namespace": "a"},
        "subsets": [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": port}]}]}),
    );
    let mut post = get("/x");
    *post.method_mut() = Method::POST;
    *post.body_mut() = full("data");
    let r = s
        .connect(&target("services", "s:80", "proxy", "/b"), post)
        .await
        .unwrap();
    assert_eq!(body(r).await, "POST /b");
}
