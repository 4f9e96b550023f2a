//! The runtime's streaming server: an HTTP upgrade to SPDY/3.1, and the bytes after it.
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

/// What both sides call the version of their use of streams.
pub const PROTOCOL_VERSION: &str = "x-stream-protocol-version";
pub const SPDY: &str = "SPDY/3.1";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ERROR_BYTES_MAX: usize = 4096;

/// An upgraded connection and the headers that the runtime answered.
pub struct Upstream {
    pub io: TokioIo<Upgraded>,
    pub headers: HeaderMap,
}

/// Upgrades to the runtime's `url`, offering `protocols` in order.
pub async fn connect(url: &str, protocols: &[HeaderValue]) -> Result<Upstream, String> {
    match tokio::time::timeout(CONNECT_TIMEOUT, upgrade(url, protocols)).await {
        Ok(r) => r,
        Err(_) => Err("the runtime's streaming server does not answer".to_owned()),
    }
}

async fn upgrade(url: &str, protocols: &[HeaderValue]) -> Result<Upstream, String> {
    let uri: http::Uri = url.parse().map_err(|e| format!("the runtime's URL {url:?}: {e}"))?;
    let authority = uri
        .authority()
        .ok_or_else(|| format!("the runtime's URL {url:?} has no host"))?;
    let port = authority.port_u16().unwrap_or(80);
    let tcp = TcpStream::connect((authority.host().trim_matches(['[', ']']), port))
        .await
        .map_err(|e| format!("connect to the runtime's streaming server {authority}: {e}"))?;
    let _ = tcp.set_nodelay(true);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp))
        .await
        .map_err(|e| e.to_string())?;
    tokio::spawn(connection.with_upgrades());
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let mut request = Request::post(path)
        .header(header::HOST, authority.as_str())
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, SPDY)
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    for p in protocols {
        request.headers_mut().append(PROTOCOL_VERSION, p.clone());
    }
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), ERROR_BYTES_MAX)
            .collect()
            .await;
        let why = body
            .map(|b| String::from_utf8_lossy(&b.to_bytes()).into_owned())
            .unwrap_or_default();
        return Err(format!("the runtime's streaming server answered {status}: {why}"));
    }
    let headers = response.headers().clone();
    let io = hyper::upgrade::on(response).await.map_err(|e| e.to_string())?;
    Ok(Upstream {
        io: TokioIo::new(io),
        headers,
    })
}
