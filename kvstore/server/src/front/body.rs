//! Bodies of calls that are served by a router: what arrives on a stream as `http_body` has it, and the other way.

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use http_body::{Body, Frame};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tower::BoxError;

/// The body of a request.
pub struct Received {
    stream: RecvStream,
    data_done: bool,
}

impl Received {
    pub fn new(stream: RecvStream) -> Received {
        Received {
            stream,
            data_done: false,
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = self.get_mut();
        if !this.data_done {
            match ready!(this.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // It fails for a stream that is gone, which the next read tells.
                    let _ = this.stream.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                // The client wants no more of it: that ends the body and is no failure of it.
                Some(Err(e)) if matches!(e.reason(), Some(Reason::NO_ERROR | Reason::CANCEL)) => {
                    return Poll::Ready(None);
                }
                Some(Err(e)) => return Poll::Ready(Some(Err(e))),
                None => this.data_done = true,
            }
        }
        match ready!(this.stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(None) => Poll::Ready(None),
            Err(e) => Poll::Ready(Some(Err(e))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}

/// Why an answer did not reach its end.
#[derive(Debug)]
pub enum Cut {
    /// The client reset the stream, or the connection ended.
    Gone,
    Body(BoxError),
}

impl From<h2::Error> for Cut {
    fn from(_: h2::Error) -> Cut {
        Cut::Gone
    }
}

/// Resolves when the client takes something more.
pub async fn room(stream: &mut SendStream<Bytes>) -> Result<(), Cut> {
    // How much there is to send is not known: any room will do, the rest waits in the connection.
    stream.reserve_capacity(1);
    poll_fn(|cx| {
        while stream.capacity() == 0 {
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(Cut::Gone)),
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

/// The next frame, unless the client goes before it comes.
async fn next_frame<B: Body<Data = Bytes>>(
    body: &mut Pin<&mut B>,
    stream: &mut SendStream<Bytes>,
) -> Result<Option<Frame<Bytes>>, Cut>
where
    B::Error: Into<BoxError>,
{
    poll_fn(|cx| {
        if stream.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(Cut::Gone));
        }
        match ready!(body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => Poll::Ready(Ok(Some(frame))),
            Some(Err(e)) => Poll::Ready(Err(Cut::Body(e.into()))),
            None => Poll::Ready(Ok(None)),
        }
    })
    .await
}

/// Sends a body to its end, no faster than the client takes it.
pub async fn send<B>(body: B, stream: &mut SendStream<Bytes>) -> Result<(), Cut>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut body = pin!(body);
    loop {
        room(stream).await?;
        match next_frame(&mut body, stream).await? {
            None => return Ok(stream.send_data(Bytes::new(), true)?),
            Some(frame) => match frame.into_data() {
                Ok(data) => {
                    let end = body.is_end_stream();
                    stream.send_data(data, end)?;
                    if end {
                        return Ok(());
                    }
                }
                Err(frame) => {
                    stream.reserve_capacity(0);
                    return Ok(stream.send_trailers(frame.into_trailers().unwrap_or_else(|_| HeaderMap::new()))?);
                }
            },
        }
    }
}
