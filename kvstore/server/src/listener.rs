//! The client port: accepts connections, with TLS or without, and serves gRPC and plain HTTP on each.

use crate::core::MESSAGE_BYTES_MAX;
use axum::Router;
use http::HeaderValue;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Connections served at once.
const CONNECTIONS_MAX: usize = 16_384;
/// A client that has not finished its TLS handshake by then is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls under way on one connection: etcd has no limit; this one only guards memory.
const STREAMS_MAX: u32 = 100_000;
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// A silent connection is asked for a sign of life this often, and dropped without an answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(7200);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// After a failed accept (out of file descriptors) the next one waits a little.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// How long open connections may go on when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves until `stop`; then waits a moment for calls under way.
pub async fn run(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    router: Router,
    stop: CancellationToken,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = slots.clone().acquire_owned() => slot,
        };
        let Ok(slot) = slot else { break };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept a client connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let (acceptor, router, stop) = (acceptor.clone(), router.clone(), stop.clone());
        connections.spawn(async move {
            let _slot = slot;
            if let Err(error) = serve(socket, acceptor, router, stop).await {
                tracing::debug!(%peer, error, "rejected connection on client endpoint");
            }
        });
    }
    connections.close();
    // Each is bounded by its own wait.
    connections.wait().await;
}

async fn serve(
    socket: TcpStream,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    stop: CancellationToken,
) -> Result<(), String> {
    let _ = socket.set_nodelay(true);
    match acceptor {
        None => serve_http(socket, router, stop).await,
        Some(acceptor) => {
            let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket));
            let stream = tokio::select! {
                stream = handshake => stream.map_err(|_| "TLS handshake timed out".to_owned())?,
                () = stop.cancelled() => return Ok(()),
            };
            serve_http(stream.map_err(|e| e.to_string())?, router, stop).await
        }
    }
}

async fn serve_http(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
    stop: CancellationToken,
) -> Result<(), String> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder.http1().timer(TokioTimer::new());
    type Request = http::Request<hyper::body::Incoming>;
    let service = TowerToHyperService::new(ServiceExt::<Request>::map_response(router, say_too_large_as_etcd));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(io), service);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN_TIMEOUT, connection).await.unwrap_or(Ok(()))
        }
    };
    outcome.map_err(|e| e.to_string())
}

/// tonic calls a message over the cap OutOfRange; etcd, ResourceExhausted, in grpc-go's words.
fn say_too_large_as_etcd<B>(mut response: http::Response<B>) -> http::Response<B> {
    const OUT_OF_RANGE: &str = "11";
    const RESOURCE_EXHAUSTED: &str = "8";
    let headers = response.headers();
    if headers.get("grpc-status").is_none_or(|status| status != OUT_OF_RANGE) {
        return response;
    }
    let Some(found) = headers
        .get("grpc-message")
        .and_then(|m| m.to_str().ok())
        .and_then(too_large_bytes)
    else {
        return response;
    };
    let message = format!("grpc: received message larger than max ({found} vs. {MESSAGE_BYTES_MAX})");
    if let Ok(message) = HeaderValue::from_str(&message) {
        response
            .headers_mut()
            .insert("grpc-status", HeaderValue::from_static(RESOURCE_EXHAUSTED));
        response.headers_mut().insert("grpc-message", message);
    }
    response
}

/// The size in tonic's message, percent-encoded as it is in the header.
fn too_large_bytes(message: &str) -> Option<u64> {
    let (_, rest) = message.split_once("decoded%20message%20length%20too%20large:%20found%20")?;
    let digits = rest.split_once('%').map_or(rest, |(digits, _)| digits);
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_message_over_the_cap_is_told_in_etcds_words() {
        let tonics = tonic::Status::out_of_range(
            "Error, decoded message length too large: found 2200010 bytes, the limit is: 2097152 bytes",
        );
        let response = say_too_large_as_etcd(tonics.into_http::<tonic::body::Body>());
        assert_eq!(response.headers()["grpc-status"], "8");
        let message = "grpc: received message larger than max (2200010 vs. 2097152)";
        assert_eq!(response.headers()["grpc-message"], message);
        let other = tonic::Status::out_of_range("etcdserver: mvcc: required revision has been compacted");
        let response = say_too_large_as_etcd(other.into_http::<tonic::body::Body>());
        assert_eq!(response.headers()["grpc-status"], "11");
    }
}
