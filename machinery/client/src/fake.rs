//! A scripted [`Transport`] for tests: each request is handed to the test, which answers it.
#![allow(clippy::unwrap_used)]
use crate::Client;
use crate::transport::{Body, BoxError, Transport, full};
use async_trait::async_trait;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc, oneshot};

type Answer = Result<http::Response<Body>, BoxError>;

pub struct Fake {
    requests: Mutex<mpsc::UnboundedReceiver<Exchange>>,
    transport: Arc<Pipe>,
}

struct Pipe(mpsc::UnboundedSender<Exchange>);

/// One request, and where its answer goes.
pub struct Exchange {
    pub method: String,
    /// Without the query.
    pub path: String,
    pub query: String,
    pub headers: http::HeaderMap,
    pub body: Bytes,
    reply: oneshot::Sender<Answer>,
}

#[async_trait]
impl Transport for Pipe {
    async fn send(&self, req: http::Request<Body>) -> Answer {
        let (parts, body) = req.into_parts();
        let (reply, answer) = oneshot::channel();
        let e = Exchange {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or("").to_owned(),
            headers: parts.headers,
            body: body.collect().await?.to_bytes(),
            reply,
        };
        self.0.send(e).map_err(|_| "the test is over")?;
        answer.await?
    }
}

impl Fake {
    pub fn new() -> Self {
        let (tx, rx) = mpsc::unbounded_channel();
        Fake {
            requests: Mutex::new(rx),
            transport: Arc::new(Pipe(tx)),
        }
    }
    pub fn client(&self) -> Client {
        Client::new(self.transport.clone(), "test")
    }
    pub async fn next(&self) -> Exchange {
        self.requests.lock().await.recv().await.unwrap()
    }
    /// True when nothing is asked now.
    pub async fn is_quiet(&self) -> bool {
        tokio::task::yield_now().await;
        self.requests.lock().await.try_recv().is_err()
    }
}

/// The far end of a watch.
pub struct WatchEnd(mpsc::UnboundedSender<Result<Frame<Bytes>, BoxError>>);
impl WatchEnd {
    pub fn send(&self, kind: &str, object: Value) {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        self.0.send(Ok(Frame::data(line.into()))).unwrap();
    }
    pub fn bookmark(&self, rv: &str, end: bool) {
        let a = if end {
            json!({"k8s.io/initial-events-end": "true"})
        } else {
            json!({})
        };
        self.send(
            "BOOKMARK",
            json!({"metadata": {"resourceVersion": rv, "annotations": a}}),
        );
    }
    pub fn error(&self, code: u16, reason: &str) {
        self.send("ERROR", status(code, reason));
    }
    pub fn is_open(&self) -> bool {
        !self.0.is_closed()
    }
}

fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason})
}

impl Exchange {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
    pub fn param(&self, key: &str) -> Option<&str> {
        self.query
            .split('&')
            .find_map(|p| p.strip_prefix(key)?.strip_prefix('='))
    }
    pub fn answer(self, code: u16, body: Value) {
        let r = http::Response::builder()
            .status(code)
            .body(full(body.to_string()))
            .unwrap();
        let _ = self.reply.send(Ok(r));
    }
    pub fn respond(self, r: http::Response<Body>) {
        let _ = self.reply.send(Ok(r));
    }
    pub fn status(self, code: u16, reason: &str) {
        self.answer(code, status(code, reason));
    }
    pub fn fail(self, why: &str) {
        let _ = self.reply.send(Err(why.to_owned().into()));
    }
    /// Answers with a stream that the test feeds.
    pub fn stream(self) -> WatchEnd {
        let (tx, rx) = mpsc::unbounded_channel();
        let body = http_body_util::StreamBody::new(tokio_stream::wrappers::UnboundedReceiverStream::new(rx));
        let r = http::Response::new(BodyExt::boxed(body));
        let _ = self.reply.send(Ok(r));
        WatchEnd(tx)
    }
}
