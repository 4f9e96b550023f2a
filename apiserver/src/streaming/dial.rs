//! One connection to a backend, HTTP/1.1, for one request.

use super::tls::{Tls, Trust};
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use keelson_client::Body;
use rustls_pki_types::ServerName;
use std::time::Duration;
use tokio::net::TcpStream;
use tower::ServiceExt;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a backend may take to answer a request to upgrade. Plain requests may take as long as their client waits.
pub(super) const UPGRADE_TIMEOUT: Duration = Duration::from_secs(60);
/// Idle connections are probed, so that a follower of logs learns that its node is gone.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES_MAX: u32 = 4;
/// Largest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 256 << 10;

/// Where a request goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backend {
    /// An address or a name, without brackets.
    pub host: String,
    pub port: u16,
    /// `None` is plain HTTP.
    pub trust: Option<Trust>,
}

/// Why there is no answer; what is already known to the reader (what was asked, of whom) is not in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("dial tcp {0}: {1}")]
    Dial(String, String),
    #[error("dial tcp {0}: i/o timeout")]
    DialTimeout(String),
    #[error("tls: {0}")]
    Tls(String),
    #[error("net/http: TLS handshake timeout")]
    TlsTimeout,
    #[error("{0}")]
    Http(String),
}

impl Backend {
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    pub fn scheme(&self) -> &'static str {
        if self.trust.is_some() { "https" } else { "http" }
    }

    async fn tcp(&self) -> Result<TcpStream, Error> {
        let authority = self.authority();
        let failed = |e: &dyn std::fmt::Display| Error::Dial(authority.clone(), e.to_string());
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_keepalive(Some(KEEPALIVE_IDLE));
        connector.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
        connector.set_keepalive_retries(Some(KEEPALIVE_RETRIES_MAX));
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(Authority::try_from(authority.as_str()).map_err(|e| failed(&e))?)
            .path_and_query("/")
            .build()
            .map_err(|e| failed(&e))?;
        match tokio::time::timeout(CONNECT_TIMEOUT, connector.oneshot(uri)).await {
            Ok(Ok(io)) => Ok(io.into_inner()),
            Ok(Err(e)) => Err(failed(&plain(&e))),
            Err(_) => Err(Error::DialTimeout(authority)),
        }
    }

    async fn connect(&self, tls: &Tls) -> Result<http1::SendRequest<Body>, Error> {
        let tcp = self.tcp().await?;
        let Some(trust) = self.trust else {
            return handshake(tcp).await;
        };
        let name = ServerName::try_from(self.host.clone()).map_err(|e| Error::Tls(e.to_string()))?;
        let connector = tokio_rustls::TlsConnector::from(tls.config(trust));
        match tokio::time::timeout(TLS_TIMEOUT, connector.connect(name, tcp)).await {
            Ok(Ok(stream)) => handshake(stream).await,
            Ok(Err(e)) => Err(Error::Tls(e.to_string())),
            Err(_) => Err(Error::TlsTimeout),
        }
    }

    /// Sends a request whose URI is a path and query. The connection lasts as long as the answer's body, or as
    /// what it is upgraded to.
    pub async fn send(&self, tls: &Tls, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        let mut sender = self.connect(tls).await?;
        sender.send_request(request).await.map_err(|e| Error::Http(chain(&e)))
    }
}

async fn handshake<T>(io: T) -> Result<http1::SendRequest<Body>, Error>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|e| Error::Http(chain(&e)))?;
    tokio::spawn(async move {
        if let Err(e) = connection.with_upgrades().await {
            tracing::debug!(error = %e, "a connection to a backend ended");
        }
    });
    Ok(sender)
}

/// Why a connection was not made, in the words that clients look for (Go's).
fn plain(e: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = Some(e);
    while let Some(c) = cause {
        match c.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
            Some(std::io::ErrorKind::ConnectionRefused) => return "connect: connection refused".into(),
            Some(std::io::ErrorKind::HostUnreachable) => return "connect: no route to host".into(),
            Some(std::io::ErrorKind::NetworkUnreachable) => return "connect: network is unreachable".into(),
            _ => cause = c.source(),
        }
    }
    chain(e)
}

/// An error with its causes, which is where hyper says what happened.
fn chain(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(c) = cause {
        let c_text = c.to_string();
        if !text.ends_with(&c_text) {
            text = format!("{text}: {c_text}");
        }
        cause = c.source();
    }
    text
}
