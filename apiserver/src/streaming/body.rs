//! Bodies that hold their place until they end or are dropped, and end when the server stops.

use super::Lease;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use keelson_client::Body;
use keelson_client::transport::BoxError;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

struct Held {
    body: Incoming,
    stopped: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    _lease: Lease,
}

/// Passes a backend's body on as it comes.
pub(super) fn held(body: Incoming, lease: Lease) -> Body {
    let stopped = Box::pin(lease.stop.clone().cancelled_owned());
    Held {
        body,
        stopped,
        _lease: lease,
    }
    .boxed()
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err("the server is stopping".into())));
        }
        Pin::new(&mut self.body).poll_frame(cx).map_err(Into::into)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
