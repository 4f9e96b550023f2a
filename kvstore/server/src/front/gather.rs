//! Collects what HTTP/2 writes, so that all answers that are ready leave in one system call.
//!
//! The codec above writes each larger frame by itself: a write, and a packet, for every answer. Here a write only goes into
//! a buffer; whoever drives the connection empties it when the connection has nothing more to say for the moment.

use parking_lot::Mutex;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are collected before they are written whatever happens.
const GATHERED_BYTES_MAX: usize = 64 << 10;
/// A write of so many bytes is worth a system call of its own: it is not copied.
const LARGE_BYTES: usize = 16 << 10;
/// An idle connection keeps no more room than this.
const KEPT_BYTES_MAX: usize = 16 << 10;

struct Inner<T> {
    io: T,
    collected: Vec<u8>,
    /// How much of it is written.
    written: usize,
    /// Something was written that may still be in a buffer of `io`: TLS has one.
    unflushed: bool,
    /// How often something arrived.
    arrivals: u64,
}

/// The codec's side.
pub struct Gather<T>(Arc<Mutex<Inner<T>>>);

/// The driver's side.
pub struct Gathered<T>(Arc<Mutex<Inner<T>>>);

pub fn gather<T>(io: T) -> (Gather<T>, Gathered<T>) {
    let inner = Arc::new(Mutex::new(Inner {
        io,
        collected: Vec::new(),
        written: 0,
        unflushed: false,
        arrivals: 0,
    }));
    (Gather(inner.clone()), Gathered(inner))
}

impl<T: AsyncWrite + Unpin> Inner<T> {
    /// Writes until nothing is left, here and in `io`.
    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.collected.is_empty() {
            while let Some(rest) = self.collected.get(self.written..).filter(|rest| !rest.is_empty()) {
                match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    more => self.written += more,
                }
                self.unflushed = true;
            }
            self.written = 0;
            if self.collected.capacity() > KEPT_BYTES_MAX {
                self.collected = Vec::new();
            } else {
                self.collected.clear();
            }
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T> Clone for Gathered<T> {
    fn clone(&self) -> Self {
        Gathered(self.0.clone())
    }
}

impl<T: AsyncWrite + Unpin> Gathered<T> {
    /// Ready when everything has been written.
    pub fn poll_push(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_push(cx)
    }

    /// Grows whenever something arrives.
    pub fn arrivals(&self) -> u64 {
        self.0.lock().arrivals
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gather<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.lock();
        let before = buf.filled().len();
        ready!(Pin::new(&mut inner.io).poll_read(cx, buf))?;
        inner.arrivals += u64::from(buf.filled().len() > before);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gather<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let inner = &mut *self.0.lock();
        let bytes: usize = bufs.iter().map(|b| b.len()).sum();
        if inner.collected.len() + bytes > GATHERED_BYTES_MAX || bytes >= LARGE_BYTES {
            ready!(inner.poll_push(cx))?;
        }
        if bytes >= LARGE_BYTES {
            inner.unflushed = true;
            return Pin::new(&mut inner.io).poll_write_vectored(cx, bufs);
        }
        bufs.iter().for_each(|b| inner.collected.extend_from_slice(b));
        Poll::Ready(Ok(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The driver does it: the codec flushes after every larger frame.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.lock();
        ready!(inner.poll_push(cx))?;
        Pin::new(&mut inner.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn small_writes_wait_for_the_push_and_all_bytes_come_in_order() {
        let (mut far, near) = tokio::io::duplex(GATHERED_BYTES_MAX * 4);
        let (mut io, gathered) = gather(near);
        let mut sent = Vec::new();
        for n in 0..100u8 {
            // Some are large, one is larger than everything.
            let size = if n == 50 {
                GATHERED_BYTES_MAX + 1
            } else {
                usize::from(n) * 10
            };
            let piece = vec![n; size];
            io.write_all(&piece).await.unwrap();
            io.flush().await.unwrap();
            sent.extend(piece);
            if n == 10 {
                let nothing = tokio::time::timeout(std::time::Duration::from_millis(5), far.read_u8()).await;
                assert!(nothing.is_err(), "nothing leaves before the push");
            }
        }
        poll_fn(|cx| gathered.poll_push(cx)).await.unwrap();
        let mut got = vec![0; sent.len()];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(got, sent);
    }

    /// Buffers what is written, as TLS does, and has no room for it at the first flush.
    #[derive(Default)]
    struct Buffering {
        buffered: usize,
        flushed: usize,
        refused: bool,
    }

    impl AsyncWrite for Buffering {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.buffered += buf.len();
            Poll::Ready(Ok(buf.len()))
        }
        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            if !std::mem::replace(&mut self.refused, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.flushed = self.buffered;
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_is_buffered_below_is_flushed_to_the_end() {
        for size in [10, LARGE_BYTES] {
            let (mut io, gathered) = gather(Buffering::default());
            io.write_all(&vec![0; size]).await.unwrap();
            poll_fn(|cx| gathered.poll_push(cx)).await.unwrap();
            assert_eq!(gathered.0.lock().io.flushed, size);
        }
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_holds_up_the_writer() {
        let (_far, near) = tokio::io::duplex(16);
        let (mut io, gathered) = gather(near);
        let piece = vec![0; 1024];
        let written = tokio::time::timeout(std::time::Duration::from_millis(20), async {
            for _ in 0..GATHERED_BYTES_MAX {
                io.write_all(&piece).await.unwrap();
            }
        });
        assert!(written.await.is_err());
        assert!(gathered.0.lock().collected.len() <= GATHERED_BYTES_MAX);
    }
}
