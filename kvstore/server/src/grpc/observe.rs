//! Stands before every call, whether it came by the socket or through the gateway: counts it, and refuses what a member
//! without a leader, or without a vote, cannot serve.

use crate::core::Core;
use crate::facts;
use crate::grpc::leader::LeaderLost;
use crate::grpc::{deadline, unknown};
use crate::listener::Remote;
use crate::metrics::{Call, Metrics};
use crate::slow::CallStats;
use crate::status;
use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tonic::{Code, Status};
use tower::{Layer, Service};

/// The header that says: only with a leader.
pub const REQUIRE_LEADER: &str = "hasleader";
pub const CLIENT_VERSION: &str = "client-api-version";
/// Length of what precedes each gRPC message: a flag and the message's length.
const PREFIX_BYTES: usize = 5;

const SNAPSHOT: &str = "/etcdserverpb.Maintenance/Snapshot";

/// What a learner serves: these, and serializable ranges, which the call itself judges.
const FOR_LEARNERS: &[&str] = &["/etcdserverpb.Maintenance/Status", SNAPSHOT, "/etcdserverpb.KV/Range"];

#[derive(Clone)]
pub struct Observe {
    pub core: Arc<Core>,
    pub lost: Arc<LeaderLost>,
    /// Calls that take longer are logged; zero: none.
    pub warning_unary: Duration,
}

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;
    fn layer(&self, inner: S) -> Observed<S> {
        Observed {
            inner,
            with: self.clone(),
        }
    }
}

/// Open streams of clients that need a leader end when it has been lost for a while, and any with its time.
pub fn end_of_stream(lost: &Arc<LeaderLost>, admission: &Admission<'_>, deadline: Option<Instant>) -> Option<Over> {
    if !admission.is_stream {
        return None;
    }
    let lost = admission.requires_leader.then(|| lost.clone().wait());
    match (lost, deadline) {
        (None, None) => None,
        (Some(lost), None) => Some(Box::pin(async move {
            lost.await;
            status::no_leader()
        })),
        (lost, Some(deadline)) => Some(Box::pin(async move {
            let lost = async {
                match lost {
                    Some(lost) => lost.await,
                    None => std::future::pending().await,
                }
            };
            match tokio::time::timeout_at(deadline.into(), lost).await {
                Ok(()) => status::no_leader(),
                Err(_) => deadline::exceeded(),
            }
        })),
    }
}

#[derive(Clone)]
pub struct Observed<S> {
    inner: S,
    with: Observe,
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S, R> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = R, Error = Infallible>,
    S::Future: Send + 'static,
    R: IntoResponse + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Answering {
        let core = &self.with.core;
        let path = request.uri().path();
        let Some(at) = core.metrics.calls.find(path) else {
            // The generated services know no such method either, but not how to say it.
            let metrics = core.metrics.clone();
            return Box::pin(async move { Ok(unknown::answer(metrics, request).await) });
        };
        let mut counted = Counted::begin(core.metrics.clone(), at);
        counted.is_snapshot = path == SNAPSHOT;
        let is_stream = counted.is_stream();
        let slow = (!is_stream && !self.with.warning_unary.is_zero()).then(|| Slow {
            limit: self.with.warning_unary,
            path: path.to_owned(),
            remote: request.extensions().get::<Remote>().cloned(),
            begun: counted.begun,
        });
        let headers = request.headers();
        let admission = Admission {
            for_learners: FOR_LEARNERS.contains(&path),
            requires_leader: requires_leader(headers),
            version: headers.get(CLIENT_VERSION),
            is_stream,
        };
        let timeout = headers.get(deadline::HEADER).map(|t| deadline::read(t.as_bytes()));
        let admitted = timeout.transpose().and_then(|t| admit(core, &admission).map(|()| t));
        let timeout = match admitted {
            Ok(timeout) => timeout.map(|timeout| counted.begun + timeout),
            Err(refused) => {
                let response = refused.into_http::<Body>();
                return Box::pin(async move { Ok(counted.wrap(response, None)) });
            }
        };
        let over = end_of_stream(&self.with.lost, &admission, timeout);
        // A stream's time ends its answers, not its beginning.
        let timeout = timeout.filter(|_| !is_stream);
        let metrics = core.metrics.clone();
        let answering = self.inner.call(request.map(|body| {
            Body::new(Metered {
                inner: body,
                frames: Frames::default(),
                metrics,
                at,
                sent: false,
            })
        }));
        Box::pin(async move {
            let response = match timeout {
                None => answering.await?.into_response(),
                Some(deadline) => match tokio::time::timeout_at(deadline.into(), answering).await {
                    Ok(response) => response?.into_response(),
                    Err(_) => deadline::exceeded().into_http(),
                },
            };
            if let Some(slow) = slow {
                slow.tell(response.extensions().get::<CallStats>());
            }
            Ok(counted.wrap(response, over))
        })
    }
}

fn requires_leader(headers: &HeaderMap) -> bool {
    headers.get(REQUIRE_LEADER).is_some_and(|v| v == "true")
}

/// What a member looks at before it serves a call.
pub struct Admission<'a> {
    pub for_learners: bool,
    pub requires_leader: bool,
    pub version: Option<&'a HeaderValue>,
    pub is_stream: bool,
}

pub fn admit(core: &Core, of: &Admission<'_>) -> Result<(), Status> {
    if !of.for_learners && facts::is_learner(core) {
        return Err(status::not_for_learners());
    }
    let version = match of.version {
        None => "unknown",
        Some(value) => value.to_str().map_err(|_| status::invalid_client_version())?,
    };
    core.metrics.calls.count_client(version, of.is_stream);
    if of.requires_leader && core.log.leader().is_none() {
        return Err(status::no_leader());
    }
    Ok(())
}

/// A unary call that took long, for the log.
struct Slow {
    limit: Duration,
    path: String,
    remote: Option<Remote>,
    begun: Instant,
}

impl Slow {
    fn tell(self, stats: Option<&CallStats>) {
        if self.begun.elapsed() > self.limit {
            tell_slow(&self.path, self.remote.as_ref(), self.begun, stats);
        }
    }
}

/// etcd's fields; -1 stands for what is not known of this kind of call.
pub fn tell_slow(path: &str, remote: Option<&Remote>, begun: Instant, stats: Option<&CallStats>) {
    let took = begun.elapsed();
    let size = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
    let begun_at = jiff::SignedDuration::try_from(took).and_then(|took| jiff::Timestamp::now().checked_sub(took));
    tracing::warn!(
        "time spent" = ?took,
        remote = remote.map_or("", |r| &*r.0),
        "start time" = %begun_at.unwrap_or_else(|_| jiff::Timestamp::now()),
        "response type" = path,
        "request count" = stats.map_or(-1, |s| s.request_count),
        "request size" = stats.map_or(-1, |s| size(s.request_bytes)),
        "response count" = stats.map_or(-1, |s| s.response_count),
        "response size" = stats.map_or(-1, |s| size(s.response_bytes)),
        "request content" = stats.map_or("", |s| s.content.as_str()),
        "request stats"
    );
}

/// One call, counted as handled exactly once, whatever becomes of it.
pub struct Counted {
    metrics: Arc<Metrics>,
    at: usize,
    pub begun: Instant,
    is_snapshot: bool,
    done: bool,
}

impl Counted {
    /// Counts the call as started.
    pub fn begin(metrics: Arc<Metrics>, at: usize) -> Counted {
        let counted = Counted {
            metrics,
            at,
            begun: Instant::now(),
            is_snapshot: false,
            done: false,
        };
        if let Some(call) = counted.call() {
            call.started.inc();
        }
        counted
    }

    fn call(&self) -> Option<&Call> {
        self.metrics.calls.get(self.at)
    }

    fn is_stream(&self) -> bool {
        self.call().is_some_and(|call| call.is_stream)
    }

    /// Where its messages are counted.
    pub fn tally(&self) -> Tally {
        Tally {
            metrics: self.metrics.clone(),
            at: self.at,
        }
    }

    pub fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        let Some(call) = self.call() else { return };
        call.handled(code);
        if code == Code::Ok && self.is_snapshot {
            self.metrics
                .store
                .snapshot_seconds
                .observe_seconds(self.begun.elapsed());
        }
        // The middleware counts the answer of a unary call that failed too.
        if !call.is_stream && code != Code::Ok {
            call.messages_sent.inc();
        }
        if let Some(seconds) = &call.seconds {
            seconds.observe_seconds(self.begun.elapsed());
        }
    }

    fn wrap(mut self, response: Response<Body>, over: Option<Over>) -> Response<Body> {
        // An answer of a status alone has it in its head.
        if let Some(code) = code_in(response.headers()) {
            self.end(code);
        }
        let (metrics, at) = (self.metrics.clone(), self.at);
        response.map(|inner| {
            Body::new(Watched {
                inner: Metered {
                    inner,
                    frames: Frames::default(),
                    metrics,
                    at,
                    sent: true,
                },
                counted: self,
                over,
            })
        })
    }
}

/// Counts the messages of a call.
pub struct Tally {
    metrics: Arc<Metrics>,
    at: usize,
}

impl Tally {
    /// One of so many bytes came in.
    pub fn received(&self, bytes: usize) {
        if let Some(call) = self.metrics.calls.get(self.at) {
            call.messages_received.inc();
            self.metrics.calls.bytes_received.add(bytes as u64);
        }
    }

    /// One of so many bytes goes out.
    pub fn sent(&self, bytes: usize) {
        if let Some(call) = self.metrics.calls.get(self.at) {
            call.messages_sent.inc();
            self.metrics.calls.bytes_sent.add(bytes as u64);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // The client went away.
        self.end(Code::Cancelled);
    }
}

fn code_in(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|v| Code::from_bytes(v.as_bytes()))
}

/// Finds where messages begin in the bytes of a body.
#[derive(Default)]
struct Frames {
    prefix: [u8; PREFIX_BYTES],
    prefix_len: usize,
    left: usize,
}

impl Frames {
    /// Messages that begin in these bytes, and their payload.
    fn read(&mut self, mut bytes: &[u8]) -> (u64, u64) {
        let (mut messages, mut payload) = (0, 0);
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            if let Some(slot) = self.prefix.get_mut(self.prefix_len) {
                *slot = *first;
            }
            self.prefix_len += 1;
            bytes = rest;
            if self.prefix_len == PREFIX_BYTES {
                self.prefix_len = 0;
                let [_, a, b, c, d] = self.prefix;
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                messages += 1;
                payload += self.left as u64;
            }
        }
        (messages, payload)
    }
}

/// A body whose messages are counted.
struct Metered {
    inner: Body,
    frames: Frames,
    metrics: Arc<Metrics>,
    at: usize,
    sent: bool,
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let (messages, payload) = this.frames.read(data);
            if messages > 0
                && let Some(call) = this.metrics.calls.get(this.at)
            {
                let calls = &this.metrics.calls;
                let (count, bytes) = if this.sent {
                    (&call.messages_sent, &calls.bytes_sent)
                } else {
                    (&call.messages_received, &calls.bytes_received)
                };
                count.add(messages);
                bytes.add(payload);
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Resolves with why a stream ends before its time.
pub type Over = Pin<Box<dyn Future<Output = Status> + Send>>;

/// The body of an answer: its end is the end of the call.
struct Watched {
    inner: Metered,
    counted: Counted,
    over: Option<Over>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.counted.done && this.over.is_none() && this.inner.inner.is_end_stream() {
            return Poll::Ready(None);
        }
        if let Some(over) = &mut this.over
            && let Poll::Ready(status) = over.as_mut().poll(cx)
        {
            this.over = None;
            // What feeds the stream sees that nobody listens.
            this.inner.inner = Body::empty();
            this.counted.end(status.code());
            let mut trailers = HeaderMap::new();
            return match status.add_header(&mut trailers) {
                Ok(()) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Err(error) => Poll::Ready(Some(Err(axum::Error::new(error)))),
            };
        }
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(code_in) {
                    this.counted.end(code);
                }
            }
            Poll::Ready(Some(Err(_))) => this.counted.end(Code::Unknown),
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn messages_are_found_however_the_bytes_are_cut() {
        let mut bytes = Vec::new();
        for payload in [&b"abc"[..], b"", b"defgh"] {
            bytes.push(0);
            bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(payload);
        }
        for size in 1..bytes.len() {
            let mut frames = Frames::default();
            let counted = bytes.chunks(size).map(|piece| frames.read(piece));
            let total = counted.fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
            assert_eq!(total, (3, 8), "pieces of {size}");
        }
    }
}
