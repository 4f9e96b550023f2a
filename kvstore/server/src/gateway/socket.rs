//! Calls over a WebSocket: each text message in is a request, each out is one line of the answer. Browsers cannot send
//! a body while they read the answer; this is how they watch.

use super::{Gateway, metadata};
use crate::listener::Remote;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::IntoResponse;
use bytes::{Bytes, BytesMut};
use futures::{FutureExt, SinkExt, StreamExt};
use http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Requests of one socket that wait for the call.
const REQUESTS_WAITING_MAX: usize = 16;
/// The sub-protocol by which a browser brings a token: it can set no header.
const BEARER: &str = "Bearer";
/// The cookie that may carry a token too.
const TOKEN_COOKIE: &str = "token";

/// What is needed to take a request over, if it asks for that.
pub fn upgrade(request: &mut Request<Body>) -> Option<WebSocketUpgrade> {
    request.headers().get(UPGRADE)?;
    let (mut parts, body) = std::mem::take(request).into_parts();
    // Ready at once: it only looks at the head.
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).now_or_never();
    *request = Request::from_parts(parts, body);
    upgrade?.ok()
}

pub fn serve(gateway: Gateway, request: Request<Body>, upgrade: WebSocketUpgrade) -> Response<Body> {
    let (mut parts, _) = request.into_parts();
    let wants_bearer = protocols(&parts.headers).is_some_and(|p| p.starts_with(BEARER));
    if let Some(token) = token(&parts.headers) {
        parts.headers.insert(AUTHORIZATION, token);
    }
    let upgrade = upgrade.max_message_size(gateway.request_bytes_max);
    let upgrade = if wants_bearer {
        upgrade.protocols([BEARER])
    } else {
        upgrade
    };
    upgrade
        .on_upgrade(move |socket| async move {
            let remote = parts.extensions.get::<Remote>().cloned();
            run(gateway, parts.uri.path(), &parts.headers, remote, socket).await;
        })
        .into_response()
}

fn protocols(headers: &HeaderMap) -> Option<&str> {
    headers.get(SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()
}

/// From the sub-protocol `Bearer, <token>`, or from the cookie, which wins.
fn token(headers: &HeaderMap) -> Option<HeaderValue> {
    let of_protocol = protocols(headers)
        .and_then(|p| p.split_once("Bearer,"))
        .map(|(_, t)| t.trim());
    let cookies = headers.get_all(COOKIE).iter().filter_map(|c| c.to_str().ok());
    let of_cookie = cookies
        .flat_map(|line| line.split(';'))
        .find_map(|pair| pair.trim().split_once('=').filter(|(name, _)| *name == TOKEN_COOKIE))
        .map(|(_, value)| value);
    let token = of_cookie.or(of_protocol)?;
    HeaderValue::from_str(&format!("Bearer {token}")).ok()
}

async fn run(gateway: Gateway, path: &str, headers: &HeaderMap, remote: Option<Remote>, socket: WebSocket) {
    let (mut out, mut from_client) = socket.split();
    let (requests, body) = mpsc::channel::<Result<Bytes, ()>>(REQUESTS_WAITING_MAX);
    let reading = async move {
        while let Some(Ok(message)) = from_client.next().await {
            let bytes = match message {
                Message::Text(text) => Bytes::from(text),
                Message::Binary(bytes) => bytes,
                Message::Close(_) => return,
                Message::Ping(_) | Message::Pong(_) => continue,
            };
            if requests.send(Ok(bytes)).await.is_err() {
                // The call takes no more; the client may go on listening.
                while let Some(Ok(message)) = from_client.next().await {
                    if matches!(message, Message::Close(_)) {
                        return;
                    }
                }
            }
        }
    };
    let answering = async {
        let response = match gateway.find(path, &Method::POST) {
            Ok(method) => {
                let metadata = metadata::from_headers(headers);
                gateway.call(method, metadata, remote, ReceiverStream::new(body)).await
            }
            Err(refused) => *refused,
        };
        let mut body = response.into_body().into_data_stream();
        let mut line = BytesMut::new();
        while let Some(Ok(bytes)) = body.next().await {
            line.extend_from_slice(&bytes);
            while let Some(end) = line.iter().position(|b| *b == b'\n') {
                let whole = line.split_to(end + 1);
                if send(&mut out, whole.get(..end).unwrap_or_default()).await.is_err() {
                    return;
                }
            }
        }
        if !line.is_empty() && send(&mut out, &line).await.is_err() {
            return;
        }
        if let Err(error) = out.close().await {
            tracing::debug!(%error, "close a WebSocket");
        }
    };
    tokio::select! {
        () = reading => {}
        () = answering => {}
    }
}

async fn send(out: &mut (impl SinkExt<Message, Error = axum::Error> + Unpin), line: &[u8]) -> Result<(), ()> {
    let text = String::from_utf8_lossy(line).into_owned();
    out.send(Message::Text(text.into())).await.map_err(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_comes_by_protocol_or_cookie() {
        let mut headers = HeaderMap::new();
        assert_eq!(token(&headers), None);
        headers.insert(SEC_WEBSOCKET_PROTOCOL, "Bearer, abc.1".parse().unwrap());
        assert_eq!(token(&headers).unwrap(), "Bearer abc.1");
        headers.insert(COOKIE, "x=1; token=def.2".parse().unwrap());
        assert_eq!(token(&headers).unwrap(), "Bearer def.2");
    }
}
