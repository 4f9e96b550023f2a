//! Answers: bytes, streams, and refusals as plain text, as upstream's kubelet gives them.
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use keelson_client::Body;
use keelson_client::transport::{BoxError, full};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

/// A status and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub status: StatusCode,
    pub message: String,
}

impl Refusal {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Refusal {
            status,
            message: message.into(),
        }
    }
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message.to_string())
    }

    pub fn response(&self) -> Response<Body> {
        let mut r = typed("text/plain; charset=utf-8", format!("{}\n", self.message));
        *r.status_mut() = self.status;
        r
    }
}

/// The runtime's refusal (upstream: kubelet's streaming.WriteError).
impl From<crate::Error> for Refusal {
    fn from(e: crate::Error) -> Self {
        let status = match &e {
            crate::Error::Cri(s) => match s.code() {
                tonic::Code::NotFound => StatusCode::NOT_FOUND,
                tonic::Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refusal::new(status, e.to_string())
    }
}

pub fn typed(content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut r = Response::new(full(body));
    r.headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Browsers must not guess: logs are anybody's bytes.
    r.headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    r
}

pub fn text(body: impl Into<Bytes>) -> Response<Body> {
    typed("text/plain; charset=utf-8", body)
}

pub fn json<T: serde::Serialize>(value: &T) -> Result<Response<Body>, Refusal> {
    let bytes = serde_json::to_vec(value).map_err(Refusal::internal)?;
    Ok(typed("application/json", bytes))
}

/// Chunks as they come.
pub fn stream(chunks: mpsc::Receiver<std::io::Result<Bytes>>) -> Response<Body> {
    let frames = ReceiverStream::new(chunks).map(|c| match c {
        Ok(bytes) => Ok(Frame::data(bytes)),
        Err(e) => Err::<_, BoxError>(Box::new(e)),
    });
    let mut r = text(Bytes::new());
    *r.body_mut() = StreamBody::new(frames).boxed();
    r
}
