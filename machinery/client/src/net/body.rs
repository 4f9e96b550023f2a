//! Answers' bodies, which hold their place on a connection until they end or are dropped.
use super::{H1, IDLE_HTTP1_MAX};
use crate::transport::{Body, BoxError};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// What happens to the connection's place when the body is gone.
pub(super) enum Keep {
    Stream(Arc<AtomicUsize>),
    Idle(Option<H1>, Arc<Mutex<Vec<H1>>>),
    Connection(#[allow(dead_code)] H1),
}

impl Keep {
    pub fn stream(streams: &Arc<AtomicUsize>) -> Self {
        streams.fetch_add(1, Ordering::Relaxed);
        Keep::Stream(streams.clone())
    }
    pub fn idle(sender: H1, pool: &Arc<Mutex<Vec<H1>>>) -> Self {
        Keep::Idle(Some(sender), pool.clone())
    }
    pub fn connection(sender: H1) -> Self {
        Keep::Connection(sender)
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        match self {
            Keep::Stream(n) => {
                n.fetch_sub(1, Ordering::Relaxed);
            }
            Keep::Idle(sender, pool) => {
                if let Some(s) = sender.take().filter(|s| !s.is_closed()) {
                    let mut pool = pool.lock();
                    if pool.len() < IDLE_HTTP1_MAX {
                        pool.push(s);
                    }
                }
            }
            Keep::Connection(_) => {}
        }
    }
}

pub(super) struct Guarded {
    body: Incoming,
    _keep: Keep,
}

impl Guarded {
    pub fn boxed(body: Incoming, keep: Keep) -> Body {
        BodyExt::boxed(Guarded { body, _keep: keep })
    }
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = BoxError;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx).map_err(Into::into)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
