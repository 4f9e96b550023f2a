//! How a client wants to go on after HTTP: SPDY, or WebSocket with a subprotocol (RFC 6455).
use crate::server::answer::Refusal;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use keelson_client::Body;
use keelson_client::transport::empty;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// As upstream's server side: larger messages end the stream.
const MESSAGE_BYTES_MAX: usize = 32 << 20;
const READ_BUFFER_BYTES: usize = 32 << 10;
pub const STREAM_PROTOCOL_VERSION: &str = "x-stream-protocol-version";
const SPDY: HeaderValue = HeaderValue::from_static("SPDY/3.1");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

pub enum Asked {
    /// Something that the runtime speaks itself; with the headers to be said again to it.
    Runtimes(HeaderMap),
    WebSocket(Accepted),
}

/// A WebSocket handshake that fits.
pub struct Accepted {
    key: HeaderValue,
    protocol: &'static str,
}

/// Headers of an upgrade that mean something to the runtime.
const PASSED_ON: [&str; 5] = [
    STREAM_PROTOCOL_VERSION,
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
];

/// Refuses what is neither. Of WebSockets we speak those of which a subprotocol is in `protocols` (the first one is
/// preferred); older ones, such as `v4.channel.k8s.io` of port-forward, are the runtime's.
pub fn asked(headers: &HeaderMap, protocols: &[&'static str]) -> Result<Asked, Refusal> {
    let tokens = |name: header::HeaderName| -> Vec<&str> {
        let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
        values.flat_map(|v| v.split(',')).map(str::trim).collect()
    };
    let has = |list: &[&str], token: &str| list.iter().any(|t| t.eq_ignore_ascii_case(token));
    let to = tokens(header::UPGRADE);
    if !has(&tokens(header::CONNECTION), "upgrade") {
        return Err(Refusal::bad_request("Upgrade request required"));
    }
    if has(&to, "SPDY/3.1") {
        return Ok(Asked::Runtimes(passed_on(headers, SPDY)));
    }
    if !has(&to, "websocket") {
        return Err(Refusal::bad_request("Upgrade request required"));
    }
    let offered = tokens(header::SEC_WEBSOCKET_PROTOCOL);
    let Some(protocol) = protocols.iter().find(|p| offered.contains(*p)) else {
        return Ok(Asked::Runtimes(passed_on(headers, WEBSOCKET)));
    };
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let key = key.ok_or_else(|| Refusal::bad_request("the WebSocket handshake has no key"))?;
    if !has(&tokens(header::SEC_WEBSOCKET_VERSION), "13") {
        return Err(Refusal::bad_request("the WebSocket version must be 13"));
    }
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(Refusal::internal)?;
    Ok(Asked::WebSocket(Accepted { key: accept, protocol }))
}

fn passed_on(headers: &HeaderMap, to: HeaderValue) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in PASSED_ON {
        for v in headers.get_all(name) {
            kept.append(name, v.clone());
        }
    }
    connection_headers(&mut kept, to);
    kept
}

fn connection_headers(headers: &mut HeaderMap, to: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, to);
}

/// Of a SPDY upgrade of our own.
pub fn spdy_headers(protocol: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(STREAM_PROTOCOL_VERSION, HeaderValue::from_static(protocol));
    connection_headers(&mut headers, SPDY);
    headers
}

impl Accepted {
    pub fn answer(&self) -> Response<Body> {
        let mut r = Response::new(empty());
        *r.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let h = r.headers_mut();
        h.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        h.insert(header::UPGRADE, WEBSOCKET);
        h.insert(header::SEC_WEBSOCKET_ACCEPT, self.key.clone());
        h.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(self.protocol));
        r
    }

    /// The server's end, on the client's upgraded connection.
    pub async fn socket(&self, client: TokioIo<Upgraded>) -> Socket {
        WebSocketStream::from_raw_socket(client, Role::Server, Some(config())).await
    }
}

pub fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        // Everything is flushed as it comes.
        .write_buffer_size(0)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut h = HeaderMap::new();
        for (k, v) in pairs {
            h.append(*k, HeaderValue::from_str(v).unwrap());
        }
        h
    }

    #[test]
    fn negotiation() {
        let of = |pairs: &[(&'static str, &str)]| asked(&headers(pairs), &["v5", "v4"]);
        let refused = |pairs: &[(&'static str, &str)]| of(pairs).err().unwrap();
        assert_eq!(refused(&[]).message, "Upgrade request required");
        assert_eq!(
            refused(&[("connection", "Upgrade"), ("upgrade", "h2c")])
                .status
                .as_u16(),
            400
        );
        let spdy = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
            ("x-stream-protocol-version", "v3.channel.k8s.io"),
            ("authorization", "Bearer x"),
        ];
        let Ok(Asked::Runtimes(kept)) = of(&spdy) else {
            panic!("not SPDY")
        };
        assert_eq!(kept.get_all("x-stream-protocol-version").iter().count(), 2);
        assert!(!kept.contains_key("authorization"), "credentials are for us");
        let mut socket = vec![
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let Ok(Asked::Runtimes(kept)) = of(&socket) else {
            panic!("not the runtime's")
        };
        assert_eq!(kept["upgrade"], "websocket");
        assert!(kept.contains_key("sec-websocket-key"));
        socket.push(("sec-websocket-protocol", "v4, v5"));
        let Ok(Asked::WebSocket(a)) = of(&socket) else {
            panic!("not a WebSocket")
        };
        let answer = a.answer();
        // The example of RFC 6455, section 1.3.
        assert_eq!(answer.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(answer.headers()["sec-websocket-protocol"], "v5");
    }
}
