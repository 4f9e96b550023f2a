//! An HTTP GET: 200 to 399 is success (upstream: pkg/probe/http).
use super::{OUTPUT_BYTES_MAX, Outcome, clipped, tls};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

const REDIRECTS_MAX: usize = 10;
const USER_AGENT: &str = "kube-probe/1.35";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTarget {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    /// With its query.
    pub path: String,
    pub headers: Vec<(String, String)>,
}

impl HttpTarget {
    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
    fn url(&self) -> String {
        format!(
            "{}://{}{}",
            if self.tls { "https" } else { "http" },
            self.authority(),
            self.path
        )
    }
}

pub async fn probe(target: &HttpTarget, timeout: Duration) -> Outcome {
    match tokio::time::timeout(timeout, get(target)).await {
        Ok(Ok((code, _))) if (200..400).contains(&code) => Outcome::Success,
        Ok(Ok((code, _))) => Outcome::Failure(format!("HTTP probe failed with statuscode: {code}")),
        Ok(Err(why)) => Outcome::Failure(format!("Get {:?}: {why}", target.url())),
        Err(_) => Outcome::Failure(format!(
            "Get {:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
            target.url()
        )),
    }
}

/// Status and the first bytes of the body. Redirects are followed on the same host only; one elsewhere is the answer.
pub async fn get(target: &HttpTarget) -> Result<(u16, String), String> {
    let mut at = target.clone();
    for _ in 0..=REDIRECTS_MAX {
        let (code, location, body) = once(&at).await?;
        let next = location
            .filter(|_| (300..400).contains(&code))
            .and_then(|l| follow(&at, &l));
        match next {
            Some(next) => at = next,
            None => return Ok((code, body)),
        }
    }
    Err(format!("stopped after {REDIRECTS_MAX} redirects"))
}

fn follow(at: &HttpTarget, location: &str) -> Option<HttpTarget> {
    let uri: http::Uri = location.parse().ok()?;
    let mut next = at.clone();
    next.path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    if let Some(host) = uri.host() {
        if host.trim_matches(['[', ']']) != at.host {
            return None;
        }
        next.tls = uri.scheme_str() == Some("https");
        next.port = uri.port_u16().unwrap_or(if next.tls { 443 } else { 80 });
    }
    Some(next)
}

async fn once(t: &HttpTarget) -> Result<(u16, Option<String>, String), String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let tcp = TcpStream::connect((t.host.as_str(), t.port))
        .await
        .map_err(|e| format!("dial tcp {}: {e}", t.authority()))?;
    if !t.tls {
        return exchange(t, tcp).await;
    }
    let config = tls::config().ok_or("TLS is not available")?;
    let name = rustls::pki_types::ServerName::try_from(t.host.clone()).map_err(|e| text(&e))?;
    let stream = tokio_rustls::TlsConnector::from(config)
        .connect(name, tcp)
        .await
        .map_err(|e| text(&e))?;
    exchange(t, stream).await
}

async fn exchange<S>(t: &HttpTarget, stream: S) -> Result<(u16, Option<String>, String), String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    let driver = tokio::spawn(connection);
    let _end = AbortOnDrop(driver);
    let mut request = http::Request::get(&t.path);
    let named = |n: &str| t.headers.iter().any(|(k, _)| k.eq_ignore_ascii_case(n));
    if !named("host") {
        request = request.header("Host", t.authority());
    }
    if !named("user-agent") {
        request = request.header("User-Agent", USER_AGENT);
    }
    if !named("accept") {
        request = request.header("Accept", "*/*");
    }
    request = request.header("Connection", "close");
    for (k, v) in t
        .headers
        .iter()
        .filter(|(k, v)| !(k.eq_ignore_ascii_case("accept") && v.is_empty()))
    {
        request = request.header(k, v);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
    let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let code = answer.status().as_u16();
    let location = answer
        .headers()
        .get("location")
        .and_then(|l| l.to_str().ok())
        .map(str::to_owned);
    // A body that is longer than what is kept is no failure.
    let body = Limited::new(answer.into_body(), OUTPUT_BYTES_MAX).collect().await;
    let body = body.map(|b| clipped(&b.to_bytes())).unwrap_or_default();
    Ok((code, location, body))
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);
impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn server(answers: Vec<&'static str>) -> HttpTarget {
        let l = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = l.local_addr().unwrap().port();
        tokio::spawn(async move {
            for a in answers {
                let (mut s, _) = l.accept().await.unwrap();
                let mut buffer = [0u8; 2048];
                let _ = s.read(&mut buffer).await;
                s.write_all(a.as_bytes()).await.unwrap();
            }
        });
        HttpTarget {
            tls: false,
            host: "127.0.0.1".into(),
            port,
            path: "/x".into(),
            headers: vec![],
        }
    }

    #[tokio::test]
    async fn codes_and_redirects() {
        let t = server(vec!["HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n"]).await;
        assert_eq!(
            probe(&t, Duration::from_secs(5)).await,
            Outcome::Failure("HTTP probe failed with statuscode: 500".into())
        );
        let t = server(vec![
            "HTTP/1.1 302 x\r\nlocation: /y\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 x\r\ncontent-length: 2\r\n\r\nok",
        ])
        .await;
        assert_eq!(get(&t).await.unwrap(), (200, "ok".to_owned()));
        let t = server(vec![
            "HTTP/1.1 302 x\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n",
        ])
        .await;
        assert_eq!(probe(&t, Duration::from_secs(5)).await, Outcome::Success);
    }
}
