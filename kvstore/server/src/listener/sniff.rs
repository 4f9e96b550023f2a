//! What a client speaks, by its first bytes.

use super::socket::Stream;
use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What every HTTP/2 client sends first (RFC 9113, 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The first byte of a TLS handshake record (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    Http1,
    Http2,
    /// On a port without TLS, or inside of TLS.
    Tls,
    /// The client hung up before it said enough.
    Nothing,
}

/// Judges what has arrived; `None`: more is needed.
fn judge(bytes: &[u8]) -> Option<Spoken> {
    let first = bytes.first()?;
    if *first == TLS_HANDSHAKE {
        return Some(Spoken::Tls);
    }
    if bytes.starts_with(HTTP2_PREFACE) {
        return Some(Spoken::Http2);
    }
    // A method name that begins as the preface does is told from it at the first difference.
    (!HTTP2_PREFACE.starts_with(bytes)).then_some(Spoken::Http1)
}

/// Reads until it is clear; the stream that comes back begins with what was read.
pub async fn sniff(mut io: Stream) -> io::Result<(Spoken, Rewound)> {
    let mut unread = BytesMut::with_capacity(HTTP2_PREFACE.len());
    loop {
        if let Some(spoken) = judge(&unread) {
            let unread = unread.freeze();
            return Ok((spoken, Rewound { unread, io }));
        }
        if io.read_buf(&mut unread).await? == 0 {
            let unread = unread.freeze();
            return Ok((Spoken::Nothing, Rewound { unread, io }));
        }
    }
}

/// A stream whose first bytes were read before.
pub struct Rewound {
    unread: Bytes,
    io: Stream,
}

impl AsyncRead for Rewound {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unread.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let part = this.unread.split_to(this.unread.len().min(buf.remaining()));
        buf.put_slice(part.chunk());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell() {
        assert_eq!(judge(b""), None);
        assert_eq!(judge(b"PRI * HTTP"), None);
        assert_eq!(judge(HTTP2_PREFACE), Some(Spoken::Http2));
        assert_eq!(judge(b"PROPFIND /"), Some(Spoken::Http1));
        assert_eq!(judge(b"GET / HTTP/1.1"), Some(Spoken::Http1));
        assert_eq!(judge(b"\x16\x03\x01"), Some(Spoken::Tls));
        assert_eq!(judge(b"\xff\xff"), Some(Spoken::Http1));
    }
}
