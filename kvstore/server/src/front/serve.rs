//! Drives one connection from its settings to its end.

use super::body::{self, Received};
use super::gather::{Gather, Gathered, gather};
use super::keepalive::Keepalive;
use crate::http::Split;
use crate::listener::{PeerCertificate, Remote, Secure};
use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{Request, Response};
use http_body::Body;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::{BoxError, Service};

/// Calls begun on one connection before others get their turn, and how long they may take together.
const CALLS_PER_TURN_MAX: usize = 128;
const TURN_MAX: Duration = Duration::from_millis(1);

/// What a connection may do.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Calls under way.
    pub streams_max: u32,
    pub header_list_bytes_max: u32,
    pub stream_window_bytes: u32,
    pub connection_window_bytes: u32,
    /// Silence before a ping, and before the end after it.
    pub keepalive: Option<(Duration, Duration)>,
    /// How long calls may go on when the server stops.
    pub drain: Duration,
}

/// Whom a connection is with.
#[derive(Clone, Debug)]
pub struct Client {
    pub remote: Remote,
    pub secure: bool,
    pub certificate: Option<PeerCertificate>,
}

/// Ends with the connection.
pub async fn serve<T>(
    io: T,
    client: Client,
    service: Split,
    terms: Terms,
    stop: CancellationToken,
) -> Result<(), BoxError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (io, gathered) = gather(io);
    let handshake = h2::server::Builder::new()
        .max_concurrent_streams(terms.streams_max)
        .max_header_list_size(terms.header_list_bytes_max)
        .initial_window_size(terms.stream_window_bytes)
        .initial_connection_window_size(terms.connection_window_bytes)
        .handshake::<_, Bytes>(io);
    let arrivals = gathered.clone();
    let mut serving = pin!(async move {
        let stopped = Box::pin(stop.cancelled_owned());
        let mut connection = handshake.await?;
        let keepalive = match (terms.keepalive, connection.ping_pong()) {
            (Some((interval, timeout)), Some(pings)) => Some(Keepalive::new(pings, interval, timeout)),
            _ => None,
        };
        let mut serving = Serving {
            connection,
            arrivals,
            client: Arc::new(client),
            service,
            keepalive,
            stopped,
            drain: terms.drain,
            draining: None,
        };
        poll_fn(|cx| serving.poll(cx)).await
    });
    poll_fn(|cx| {
        let outcome = serving.as_mut().poll(cx);
        // Whatever became of it, what it said goes out now.
        match (outcome, gathered.poll_push(cx)) {
            (Poll::Ready(outcome), _) => Poll::Ready(outcome),
            (Poll::Pending, Poll::Ready(Err(e))) => Poll::Ready(Err(e.into())),
            (Poll::Pending, _) => Poll::Pending,
        }
    })
    .await
}

struct Serving<T> {
    connection: Connection<Gather<T>, Bytes>,
    arrivals: Gathered<T>,
    client: Arc<Client>,
    service: Split,
    keepalive: Option<Keepalive>,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    drain: Duration,
    draining: Option<Pin<Box<Sleep>>>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Serving<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if let Some(draining) = &mut self.draining {
            if draining.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
        } else if self.stopped.as_mut().poll(cx).is_ready() {
            self.connection.graceful_shutdown();
            let draining = self.draining.insert(Box::pin(tokio::time::sleep(self.drain)));
            if draining.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
        }
        if let Some(keepalive) = &mut self.keepalive
            && keepalive.poll_gone(cx, self.arrivals.arrivals()).is_ready()
        {
            return Poll::Ready(Err("the client no longer answers".into()));
        }
        let turn = Instant::now();
        for _ in 0..CALLS_PER_TURN_MAX {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.begin(request, respond, cx),
                Poll::Ready(Some(Err(e))) => return Poll::Ready(Err(e.into())),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
            if turn.elapsed() > TURN_MAX {
                break;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn begin(&self, request: Request<RecvStream>, respond: SendResponse<Bytes>, cx: &mut Context<'_>) {
        let begun = match self.service.direct() {
            Some(direct) => direct.begin(request, respond, &self.client),
            None => Err(Box::new((request, respond))),
        };
        let (request, respond) = match begun {
            Ok(mut answering) => {
                // Most are answered here and now. A task wakes up by itself: what was registered in vain does no harm.
                if answering.as_mut().poll(cx).is_pending() {
                    tokio::spawn(answering);
                }
                return;
            }
            Err(back) => *back,
        };
        tokio::spawn(route(self.service.clone(), self.client.clone(), request, respond));
    }
}

/// Has a router answer.
async fn route(
    mut service: Split,
    client: Arc<Client>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let mut request = request.map(Received::new);
    let extensions = request.extensions_mut();
    extensions.insert(client.remote.clone());
    if client.secure {
        extensions.insert(Secure);
    }
    if let Some(certificate) = &client.certificate {
        extensions.insert(certificate.clone());
    }
    let mut answering = pin!(service.call(request));
    let answer = poll_fn(|cx| match answering.as_mut().poll(cx) {
        Poll::Ready(Ok(answer)) => Poll::Ready(Some(answer)),
        Poll::Ready(Err(never)) => match never {},
        Poll::Pending if respond.poll_reset(cx).is_ready() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    let Some(answer) = answer.await else { return };
    let (head, answer) = answer.into_parts();
    let mut head = Response::from_parts(head, ());
    complete(&mut head, &answer);
    let ends = answer.is_end_stream();
    let Ok(mut stream) = respond.send_response(head, ends) else {
        respond.send_reset(Reason::INTERNAL_ERROR);
        return;
    };
    if ends {
        return;
    }
    match body::send(answer, &mut stream).await {
        Ok(()) | Err(body::Cut::Gone) => {}
        Err(body::Cut::Body(error)) => {
            tracing::debug!(error, "an answer was cut");
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

/// What HTTP/2 does not allow goes, and what HTTP wants comes.
fn complete(head: &mut Response<()>, body: &impl Body) {
    let headers = head.headers_mut();
    for unwanted in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(unwanted);
    }
    if !headers.contains_key(CONTENT_LENGTH)
        && !body.is_end_stream()
        && let Some(bytes) = body.size_hint().exact()
    {
        headers.insert(CONTENT_LENGTH, bytes.into());
    }
    if !headers.contains_key(DATE)
        && let Ok(now) = HeaderValue::from_str(&httpdate::fmt_http_date(SystemTime::now()))
    {
        headers.insert(DATE, now);
    }
}
