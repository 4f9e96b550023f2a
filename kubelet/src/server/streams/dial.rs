//! The runtime's streaming server: a plain HTTP/1.1 address with a token in it, good for one upgrade.
use crate::server::answer::Refusal;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use keelson_client::Body;
use keelson_client::transport::empty;
use std::time::Duration;
use tokio::net::TcpStream;

const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// The runtime answers an upgrade when it has found the container.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A refusal's text beyond this is cut off.
const ERROR_BYTES_MAX: usize = 4096;

/// Upgrades a connection of its own to the runtime's `url`. Returns the 101 for the client, and the connection.
pub async fn upgrade(
    url: &str,
    method: Method,
    headers: HeaderMap,
) -> Result<(Response<Body>, TokioIo<Upgraded>), Refusal> {
    let uri: Uri = url.parse().map_err(|e| Refusal::internal(format!("{url:?}: {e}")))?;
    let authority = match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(a)) => a.clone(),
        _ => {
            let message = format!("the container runtime streams at {url:?}, which is not plain HTTP");
            return Err(Refusal::internal(message));
        }
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(80);
    let connect = tokio::time::timeout(DIAL_TIMEOUT, TcpStream::connect((host, port))).await;
    let stream = match connect {
        Ok(Ok(s)) => s,
        Ok(Err(e)) => return Err(Refusal::internal(format!("error dialing backend: {e}"))),
        Err(_) => return Err(Refusal::internal("error dialing backend: i/o timeout")),
    };
    // Interactive streams are made of small writes.
    stream.set_nodelay(true).map_err(Refusal::internal)?;
    let mut request = Request::new(empty());
    *request.method_mut() = method;
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    *request.uri_mut() = path.parse().map_err(Refusal::internal)?;
    *request.headers_mut() = headers;
    let host = HeaderValue::from_str(authority.as_str()).map_err(Refusal::internal)?;
    request.headers_mut().insert(header::HOST, host);
    let exchange = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await
    };
    let mut answer = match tokio::time::timeout(ANSWER_TIMEOUT, exchange).await {
        Ok(a) => a.map_err(|e| Refusal::internal(format!("error dialing backend: {e}")))?,
        Err(_) => return Err(Refusal::internal("the container runtime did not answer the upgrade")),
    };
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ERROR_BYTES_MAX).collect().await;
        let text = body.map(|b| b.to_bytes()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        return Err(Refusal::new(status, text));
    }
    let mut told = Response::new(empty());
    *told.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *told.headers_mut() = answer.headers().clone();
    let runtime = hyper::upgrade::on(&mut answer).await.map_err(Refusal::internal)?;
    Ok((told, TokioIo::new(runtime)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::server::streams::upgrade::spdy_headers;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers one request with `answer`, then sends back what comes.
    async fn runtime(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/exec/token", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            let (mut s, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(s.read_u8().await.unwrap());
            }
            s.write_all(answer.as_bytes()).await.unwrap();
            let (mut r, mut w) = s.split();
            let _ = tokio::io::copy(&mut r, &mut w).await;
            String::from_utf8(request).unwrap()
        });
        (url, task)
    }

    #[tokio::test]
    async fn an_upgrade_and_bytes_behind_it() {
        let (url, task) = runtime(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
             X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\nearly",
        )
        .await;
        let (answer, mut io) = upgrade(&url, Method::POST, spdy_headers("v4.channel.k8s.io"))
            .await
            .unwrap();
        assert_eq!(answer.headers()["x-stream-protocol-version"], "v4.channel.k8s.io");
        let mut early = [0; 5];
        io.read_exact(&mut early).await.unwrap();
        assert_eq!(&early, b"early");
        io.write_all(b"later").await.unwrap();
        io.read_exact(&mut early).await.unwrap();
        assert_eq!(&early, b"later");
        drop(io);
        let request = task.await.unwrap();
        assert!(request.starts_with("POST /exec/token HTTP/1.1\r\n"), "{request}");
        assert!(request.to_lowercase().contains("upgrade: spdy/3.1"), "{request}");
    }

    #[tokio::test]
    async fn a_refusal_is_passed_on() {
        let (url, task) = runtime("HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nno token\n").await;
        let refused = upgrade(&url, Method::POST, spdy_headers("x")).await.err().unwrap();
        assert_eq!((refused.status.as_u16(), refused.message.as_str()), (404, "no token"));
        task.await.unwrap();
        let refused = upgrade("https://127.0.0.1:1/x", Method::POST, spdy_headers("x")).await;
        assert_eq!(refused.err().unwrap().status.as_u16(), 500);
    }
}
