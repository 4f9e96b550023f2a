//! Calling others: a byte stream to a URL, plain or with TLS, and on it a gRPC channel or one HTTP request.

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint};

/// Largest body that is read of an answer, bytes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What a connection is to its user.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}
type BoxedIo = Pin<Box<dyn Io>>;
pub type Tls = Option<Arc<rustls::ClientConfig>>;

fn invalid(what: impl Into<String>) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidInput, what.into())
}

/// How one calls others.
#[derive(Clone, Default)]
pub struct Caller {
    pub tls: Tls,
    /// The address to call from, if it matters.
    pub local: Option<IpAddr>,
    pub connect_timeout: Duration,
}

/// A call to a port of this machine that nobody listens on can be answered by itself, when the kernel gives it that very
/// port to leave from; held, it would keep the port's owner from coming back.
async fn connect_tcp(authority: &str, local: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let stream = connect_to(authority, local).await?;
    if stream.local_addr()? == stream.peer_addr()? {
        // Without this the port would stay taken for a minute.
        stream.set_zero_linger()?;
        return Err(std::io::Error::new(
            std::io::ErrorKind::ConnectionRefused,
            format!("nobody listens on {authority}"),
        ));
    }
    Ok(stream)
}

async fn connect_to(authority: &str, local: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let Some(local) = local else {
        return TcpStream::connect(authority).await;
    };
    let mut failure = invalid(format!("{authority} has no address that can be called from {local}"));
    for addr in tokio::net::lookup_host(authority).await? {
        if addr.is_ipv4() != local.is_ipv4() {
            continue;
        }
        let socket = if addr.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.bind(SocketAddr::new(local, 0))?;
        match socket.connect(addr).await {
            Ok(stream) => return Ok(stream),
            Err(e) => failure = e,
        }
    }
    Err(failure)
}

/// `http`, `https`, `unix` and `unixs` URLs. The protocols are what TLS offers (ALPN).
async fn connect(url: &str, tls: &Tls, local: Option<IpAddr>, protocol: &[u8]) -> std::io::Result<BoxedIo> {
    let (scheme, rest) = url
        .split_once("://")
        .ok_or_else(|| invalid(format!("{url} is no URL")))?;
    let (socket, host): (BoxedIo, &str) = match scheme {
        "http" | "https" => {
            let authority = rest.split(['/', '?']).next().unwrap_or_default();
            let socket = connect_tcp(authority, local).await?;
            socket.set_nodelay(true)?;
            let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
            (Box::pin(socket), host.trim_matches(['[', ']']))
        }
        "unix" | "unixs" => (Box::pin(UnixStream::connect(rest).await?), "localhost"),
        _ => return Err(invalid(format!("{url}: the scheme is not supported"))),
    };
    if !scheme.ends_with('s') {
        return Ok(socket);
    }
    let config = tls
        .as_ref()
        .ok_or_else(|| invalid(format!("{url}: no certificates are configured for TLS")))?;
    let mut config = rustls::ClientConfig::clone(config);
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from(host.to_owned()).map_err(|e| invalid(format!("{url}: {e}")))?;
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await?;
    Ok(Box::pin(stream))
}

/// A gRPC channel that connects when it is used, and again when the connection is lost.
pub fn channel(url: &str, tls: &Tls, connect_timeout: Duration) -> Result<Channel, String> {
    let caller = Caller {
        tls: tls.clone(),
        local: None,
        connect_timeout,
    };
    channel_with(url, &caller, |endpoint| endpoint)
}

/// The same, with settings of its own.
pub fn channel_with(url: &str, caller: &Caller, tune: impl FnOnce(Endpoint) -> Endpoint) -> Result<Channel, String> {
    // The connector knows where to go; this names the authority only.
    let endpoint = Endpoint::from_static("http://member.invalid").connect_timeout(caller.connect_timeout);
    let endpoint = tune(endpoint);
    let endpoint = match url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) {
        Some(authority) => {
            let origin: Uri = format!("http://{authority}")
                .parse()
                .map_err(|e| format!("{url}: {e}"))?;
            endpoint.origin(origin)
        }
        None => endpoint,
    };
    let (url, tls, local) = (url.to_owned(), caller.tls.clone(), caller.local);
    let connector = tower::service_fn(move |_: Uri| {
        let (url, tls) = (url.clone(), tls.clone());
        async move { connect(&url, &tls, local, b"h2").await.map(TokioIo::new) }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// The answer to a plain GET.
pub struct Answer {
    pub status: http::StatusCode,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

/// One HTTP/1.1 request on a connection of its own.
pub async fn get(url: &str, path: &str, tls: &Tls, timeout: Duration) -> Result<Answer, String> {
    let asked = async {
        let io = connect(url, tls, None, b"http/1.1").await.map_err(|e| e.to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io))
            .await
            .map_err(|e| e.to_string())?;
        let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
        let request = http::Request::get(path)
            .header(http::header::HOST, authority)
            .body(Empty::<Bytes>::new())
            .map_err(|e| e.to_string())?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, BODY_BYTES_MAX)
                .collect()
                .await
                .map_err(|e| e.to_string())?;
            Ok(Answer {
                status: parts.status,
                headers: parts.headers,
                body: body.to_bytes(),
            })
        };
        // The connection moves bytes only while it is polled; it ends with this call.
        tokio::pin!(answered);
        tokio::pin!(connection);
        tokio::select! {
            answer = &mut answered => answer,
            ended = &mut connection => match ended {
                Ok(()) => answered.await,
                Err(e) => Err(e.to_string()),
            },
        }
    };
    tokio::time::timeout(timeout, asked)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {timeout:?}")))
}
