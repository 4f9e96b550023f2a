//! A client of one Kubernetes API server: JSON over HTTP/1.1 and TLS, one request at a time, nothing is retried.

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// For a connection with its handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// For an answer; a server may wait for its store for longer, and then nobody knows.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);
/// Largest line of a watch, bytes.
const LINE_BYTES_MAX: usize = 8 << 20;

/// How the API servers are reached: all with one authority and one token.
#[derive(Clone)]
pub struct Access {
    /// Addresses of the servers; server N is at N - 1.
    pub servers: Vec<SocketAddr>,
    tls: Arc<rustls::ClientConfig>,
    token: String,
}

/// Certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("use the API servers' authority: {0}")]
pub struct AccessError(String);

impl Access {
    /// `ca` is the authority of the servers' certificates, PEM.
    ///
    /// # Errors
    /// An authority that is none.
    pub fn new(servers: Vec<SocketAddr>, ca: &str, token: &str) -> Result<Access, AccessError> {
        let bad = |e: &dyn std::fmt::Display| AccessError(e.to_string());
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(ca.as_bytes()).map_err(|e| bad(&e))?;
        roots.add(ca).map_err(|e| bad(&e))?;
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| bad(&e))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Access {
            servers,
            tls: Arc::new(tls),
            token: token.to_owned(),
        })
    }

    /// The numbers of the servers.
    pub fn numbers(&self) -> std::ops::RangeInclusive<usize> {
        1..=self.servers.len()
    }
}

/// An answer with its body.
#[derive(Clone, Debug)]
pub struct Answer {
    pub code: StatusCode,
    pub body: Value,
}

/// No answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// Certainly without effect.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It may have taken effect, or may yet do so.
    #[error("no answer: {0}")]
    Unknown(String),
}

/// A client of one server. It connects when it has something to send.
pub struct Api {
    access: Access,
    server: usize,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Api {
    pub fn new(access: &Access, server: usize) -> Api {
        Api {
            access: access.clone(),
            server,
            connection: None,
        }
    }

    /// Sends a request and waits for the whole answer. The connection is kept only after an answer.
    ///
    /// # Errors
    /// [`NoAnswer`] tells whether it can have taken effect.
    pub async fn call(
        &mut self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> Result<Answer, NoAnswer> {
        let request = self.request(method, path, content_type, body)?;
        let mut connection = self.connection().await?;
        let exchange = async {
            let response = connection.send_request(request).await?;
            let code = response.status();
            let bytes = response.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>((code, bytes, connection))
        };
        let unknown = |e: &dyn std::fmt::Display| NoAnswer::Unknown(e.to_string());
        let (code, bytes, connection) = tokio::time::timeout(REQUEST_TIMEOUT, exchange)
            .await
            .map_err(|_| unknown(&format!("nothing within {REQUEST_TIMEOUT:?}")))?
            .map_err(|e| unknown(&e))?;
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| {
            // Health and a server that is going down answer in text.
            Value::String(String::from_utf8_lossy(&bytes).into_owned())
        });
        self.connection = Some(connection);
        Ok(Answer { code, body })
    }

    /// GET.
    ///
    /// # Errors
    /// Those of [`Api::call`].
    pub async fn get(&mut self, path: &str) -> Result<Answer, NoAnswer> {
        self.call(Method::GET, path, "", None).await
    }

    /// Opens a stream of lines, on a connection of its own.
    ///
    /// # Errors
    /// A refusal by the server is an answer, in the inner `Err`.
    pub async fn stream(&self, path: &str) -> Result<Result<Lines, Answer>, NoAnswer> {
        let request = self.request(Method::GET, path, "", None)?;
        let mut connection = self.connect().await?;
        let open = async {
            let response = connection.send_request(request).await?;
            if response.status() == StatusCode::OK {
                return Ok(Ok(Lines {
                    body: response.into_body(),
                    held: Vec::new(),
                    _connection: connection,
                }));
            }
            let code = response.status();
            let bytes = response.into_body().collect().await?.to_bytes();
            let body = serde_json::from_slice(&bytes).unwrap_or_default();
            Ok::<_, hyper::Error>(Err(Answer { code, body }))
        };
        let unknown = |e: &dyn std::fmt::Display| NoAnswer::Unknown(e.to_string());
        tokio::time::timeout(REQUEST_TIMEOUT, open)
            .await
            .map_err(|_| unknown(&format!("nothing within {REQUEST_TIMEOUT:?}")))?
            .map_err(|e| unknown(&e))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, NoAnswer> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.access.servers[self.server - 1].to_string())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.access.token))
            .header(header::ACCEPT, "application/json");
        if !content_type.is_empty() {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        request
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| NoAnswer::NotSent(format!("{path}: {e}")))
    }

    async fn connection(&mut self) -> Result<SendRequest<Full<Bytes>>, NoAnswer> {
        if let Some(mut held) = self.connection.take()
            && held.ready().await.is_ok()
        {
            return Ok(held);
        }
        self.connect().await
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, NoAnswer> {
        let address = self.access.servers[self.server - 1];
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::from(address.ip());
            let stream = tokio_rustls::TlsConnector::from(self.access.tls.clone())
                .connect(name, stream)
                .await?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream))
                .await
                .map_err(std::io::Error::other)?;
            // Its end is seen by whoever waits for an answer.
            tokio::spawn(connection);
            Ok::<_, std::io::Error>(sender)
        };
        let not_sent = |e: &dyn std::fmt::Display| NoAnswer::NotSent(format!("connect to {address}: {e}"));
        tokio::time::timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| not_sent(&"timed out"))?
            .map_err(|e| not_sent(&e))
    }
}

/// A stream of JSON values, one a line.
pub struct Lines {
    body: Incoming,
    held: Vec<u8>,
    /// The stream ends with it.
    _connection: SendRequest<Full<Bytes>>,
}

impl Lines {
    /// The next value; `None` when the server ended the stream in order. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// The stream broke, or a line is no JSON.
    pub async fn next(&mut self) -> Result<Option<Value>, String> {
        loop {
            if let Some(end) = self.held.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.held.drain(..=end).collect();
                return serde_json::from_slice(&line).map(Some).map_err(|e| e.to_string());
            }
            if self.held.len() > LINE_BYTES_MAX {
                return Err(format!("a line of more than {LINE_BYTES_MAX} bytes"));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.held.extend(frame.into_data().unwrap_or_default()),
                Some(Err(e)) => return Err(e.to_string()),
                None if self.held.is_empty() => return Ok(None),
                None => return Err("the stream ended within a line".to_owned()),
            }
        }
    }
}
