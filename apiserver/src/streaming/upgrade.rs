//! Requests that leave HTTP: sent on as they came, and after the answer bytes are copied both ways.

use super::dial::{Backend, UPGRADE_TIMEOUT};
use super::tls::Tls;
use super::{Lease, body, headers, unknown};
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use keelson_client::Body;
use keelson_client::transport::empty;
use keelson_machinery::status::ApiError;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// How long the last bytes may take to leave when one side has ended.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long both sides may take to switch once the backend has agreed.
const SWITCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks the backend for what the client asks, and connects the two if it agrees. A refusal is the client's answer.
pub(super) async fn pass(
    tls: &Tls,
    backend: &Backend,
    path: &str,
    mut request: Request<Body>,
    lease: Lease,
) -> Result<Response<Body>, ApiError> {
    if request.extensions().get::<OnUpgrade>().is_none() {
        return Err(ApiError::bad_request(
            "this connection cannot be upgraded: HTTP/1.1 is needed",
        ));
    }
    let client = hyper::upgrade::on(&mut request);
    let forwarded = forward(backend, path, request)?;
    let answer = tokio::time::timeout(UPGRADE_TIMEOUT, backend.send(tls, forwarded)).await;
    let mut answer = match answer {
        Ok(Ok(a)) => a,
        Ok(Err(e)) => return Err(unknown(500, format!("error dialing backend: {e}"))),
        Err(_) => {
            return Err(unknown(
                500,
                "error dialing backend: no answer to the request to upgrade",
            ));
        }
    };
    let status = answer.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        if status.as_u16() < 400 {
            return Err(unknown(
                500,
                format!("invalid upgrade response: status code {}", status.as_u16()),
            ));
        }
        let (mut head, rest) = answer.into_parts();
        headers::drop_hop_by_hop(&mut head.headers);
        return Ok(Response::from_parts(head, body::held(rest, lease)));
    }
    let server = hyper::upgrade::on(&mut answer);
    tokio::spawn(relay(client, server, lease));
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(response)
}

/// The same request, at the backend's path, without what is this server's business.
fn forward(backend: &Backend, path: &str, request: Request<Body>) -> Result<Request<Body>, ApiError> {
    let (head, _) = request.into_parts();
    let mut out = Request::builder()
        .method(head.method)
        .uri(path)
        .body(empty())
        .map_err(ApiError::internal)?;
    let wanted = head.headers.get(header::UPGRADE).cloned();
    *out.headers_mut() = head.headers;
    headers::drop_hop_by_hop(out.headers_mut());
    headers::drop_credentials(out.headers_mut());
    out.headers_mut().remove(header::CONTENT_LENGTH);
    out.headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Some(v) = wanted {
        out.headers_mut().insert(header::UPGRADE, v);
    }
    if !out.headers().contains_key(header::HOST) {
        let host = HeaderValue::from_str(&backend.authority()).map_err(ApiError::internal)?;
        out.headers_mut().insert(header::HOST, host);
    }
    Ok(out)
}

async fn relay(client: OnUpgrade, server: OnUpgrade, lease: Lease) {
    let both = async { tokio::try_join!(client, server) };
    let (client, server) = match tokio::time::timeout(SWITCH_TIMEOUT, both).await {
        Ok(Ok(both)) => both,
        Ok(Err(e)) => return tracing::debug!(error = %e, "switching protocols"),
        Err(_) => return tracing::debug!("switching protocols: one side did not"),
    };
    copy(client, server, &lease).await;
}

/// Copies until either side ends: neither WebSocket nor SPDY closes by halves, and a client that is gone must not
/// keep a process in a container attached to nobody.
async fn copy(client: Upgraded, server: Upgraded, lease: &Lease) {
    let (mut client_read, mut client_write) = tokio::io::split(TokioIo::new(client));
    let (mut server_read, mut server_write) = tokio::io::split(TokioIo::new(server));
    let ended = tokio::select! {
        r = tokio::io::copy(&mut client_read, &mut server_write) => r,
        r = tokio::io::copy(&mut server_read, &mut client_write) => r,
        () = lease.stop.cancelled() => Ok(0),
    };
    if let Err(e) = ended {
        tracing::debug!(error = %e, "an upgraded connection ended");
    }
    // TLS says goodbye, so that the other side can tell an end from a cut.
    let close = async { tokio::join!(client_write.shutdown(), server_write.shutdown()) };
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, close).await;
}
