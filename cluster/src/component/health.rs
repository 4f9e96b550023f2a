//! Health of a component that serves nothing else: `ok` on `/healthz`, `/livez` and `/readyz`, by TLS.

use crate::fail::{Context, Result};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may last: a probe is short.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// A certificate for this life only, as upstream makes one when none is given.
fn tls() -> Result<Arc<rustls::ServerConfig>> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).context(|| "make a certificate")?;
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context(|| "choose TLS versions")?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .context(|| "use the certificate")?;
    Ok(Arc::new(config))
}

/// Listens at once and serves until `stop`.
pub async fn serve(addr: SocketAddr, stop: CancellationToken) -> Result<()> {
    let acceptor = tokio_rustls::TlsAcceptor::from(tls()?);
    let listener = TcpListener::bind(addr).await.context(|| format!("listen on {addr}"))?;
    tokio::spawn(stop.run_until_cancelled_owned(accept(listener, acceptor)));
    Ok(())
}

async fn accept(listener: TcpListener, acceptor: tokio_rustls::TlsAcceptor) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let _place = place;
            // A probe that goes away is no matter of ours.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection(stream, acceptor)).await;
        });
    }
}

async fn connection(stream: TcpStream, acceptor: tokio_rustls::TlsAcceptor) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let service = hyper_util::service::TowerToHyperService::new(tower::service_fn(answer));
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer<B>(request: Request<B>) -> Result<Response<http_body_util::Full<Bytes>>, Infallible> {
    let known = matches!(request.uri().path(), "/healthz" | "/livez" | "/readyz");
    let (status, text) = if known {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::NOT_FOUND, "404 page not found\n")
    };
    let mut response = Response::new(http_body_util::Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    Ok(response)
}
