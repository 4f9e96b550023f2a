//! The client's half of SPDY/3.1, as far as remote command streams need it (draft-mbelshe-httpbis-spdy-00).
//!
//! Header blocks are compressed by zlib in the protocol, with a preset dictionary. We emit zlib's stored blocks and
//! name no dictionary: a decoder that has one ready uses it only when the stream asks for it (Go's does), and a
//! stored block needs none. Nothing in the answers' headers is of use here, so we decompress nothing.
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The peer's frames are at most this long; containerd writes 32 KiB.
const FRAME_BYTES_MAX: u32 = 16 << 20;
/// What one of our data frames carries.
const DATA_BYTES_MAX: usize = 32 << 10;

const VERSION: u16 = 0x8003;
const SYN_STREAM: u16 = 1;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FLAG_FIN: u8 = 1;

/// Zlib's header: deflate, 32 KiB window, no dictionary. `0x7801` is a multiple of 31, as its check wants.
const ZLIB_HEADER: [u8; 2] = [0x78, 0x01];
/// An empty stored block: what flushes all before it out of a decoder.
const SYNC_FLUSH: [u8; 5] = [0, 0, 0, 0xff, 0xff];

/// A frame of interest.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Data {
        stream: u32,
        fin: bool,
        bytes: Vec<u8>,
    },
    Reset {
        stream: u32,
    },
    Ping {
        id: u32,
    },
    GoAway,
    /// Settings, window updates, replies: nothing to do.
    Other,
}

/// Writes frames. Compression has state, so one connection has one of these.
pub struct Writer<W> {
    io: W,
    next_stream: u32,
    header_sent: bool,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub fn new(io: W) -> Self {
        Writer {
            io,
            next_stream: 1,
            header_sent: false,
        }
    }

    /// Opens a stream and returns its id. Names must be lower case.
    pub async fn open(&mut self, headers: &[(&str, &str)]) -> io::Result<u32> {
        let id = self.next_stream;
        self.next_stream = self.next_stream.saturating_add(2);
        let block = self.compressed(&header_block(headers));
        let length = u32::try_from(10 + block.len()).map_err(io::Error::other)?;
        let mut frame = Vec::with_capacity(18 + block.len());
        frame.extend_from_slice(&VERSION.to_be_bytes());
        frame.extend_from_slice(&SYN_STREAM.to_be_bytes());
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&id.to_be_bytes());
        // No associated stream, highest priority, no slot.
        frame.extend_from_slice(&[0; 6]);
        frame.extend_from_slice(&block);
        self.io.write_all(&frame).await?;
        self.io.flush().await?;
        Ok(id)
    }

    fn compressed(&mut self, block: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(block.len() + 16);
        if !self.header_sent {
            out.extend_from_slice(&ZLIB_HEADER);
            self.header_sent = true;
        }
        for part in block.chunks(usize::from(u16::MAX)) {
            let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
            out.push(0);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&(!length).to_le_bytes());
            out.extend_from_slice(part);
        }
        out.extend_from_slice(&SYNC_FLUSH);
        out
    }

    pub async fn data(&mut self, stream: u32, bytes: &[u8], fin: bool) -> io::Result<()> {
        if bytes.is_empty() {
            if fin {
                self.frame(stream, &[], FLAG_FIN).await?;
                self.io.flush().await?;
            }
            return Ok(());
        }
        let count = bytes.len().div_ceil(DATA_BYTES_MAX);
        for (i, part) in bytes.chunks(DATA_BYTES_MAX).enumerate() {
            let last = i + 1 == count;
            self.frame(stream, part, if fin && last { FLAG_FIN } else { 0 }).await?;
        }
        self.io.flush().await
    }

    async fn frame(&mut self, stream: u32, part: &[u8], flags: u8) -> io::Result<()> {
        let length = u32::try_from(part.len()).map_err(io::Error::other)?;
        let mut head = [0u8; 8];
        head[..4].copy_from_slice(&stream.to_be_bytes());
        head[4..].copy_from_slice(&length.to_be_bytes());
        head[4] = flags;
        self.io.write_all(&head).await?;
        self.io.write_all(part).await
    }

    pub async fn pong(&mut self, id: u32) -> io::Result<()> {
        let mut frame = Vec::with_capacity(12);
        frame.extend_from_slice(&VERSION.to_be_bytes());
        frame.extend_from_slice(&PING.to_be_bytes());
        frame.extend_from_slice(&4u32.to_be_bytes());
        frame.extend_from_slice(&id.to_be_bytes());
        self.io.write_all(&frame).await?;
        self.io.flush().await
    }
}

fn header_block(headers: &[(&str, &str)]) -> Vec<u8> {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes();
    let mut out = number(headers.len()).to_vec();
    for (name, value) in headers {
        out.extend_from_slice(&number(name.len()));
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&number(value.len()));
        out.extend_from_slice(value.as_bytes());
    }
    out
}

/// Reads the next frame; `None` at the connection's end.
pub async fn read<R: AsyncRead + Unpin>(io: &mut R) -> io::Result<Option<Frame>> {
    let mut head = [0u8; 8];
    match io.read_exact(&mut head).await {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let (flags, length) = (head[4], u32::from_be_bytes([0, head[5], head[6], head[7]]));
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::other(format!("a SPDY frame of {length} bytes")));
    }
    let mut body = vec![0u8; length as usize];
    io.read_exact(&mut body).await?;
    if first & 0x8000_0000 == 0 {
        return Ok(Some(Frame::Data {
            stream: first,
            fin: flags & FLAG_FIN != 0,
            bytes: body,
        }));
    }
    let word = body
        .get(..4)
        .and_then(|b| <[u8; 4]>::try_from(b).ok())
        .map(u32::from_be_bytes);
    let kind = u16::try_from(first & 0xffff).unwrap_or(0);
    Ok(Some(match (kind, word) {
        (RST_STREAM, Some(id)) => Frame::Reset {
            stream: id & 0x7fff_ffff,
        },
        (PING, Some(id)) => Frame::Ping { id },
        (GOAWAY, _) => Frame::GoAway,
        _ => Frame::Other,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn frames_both_ways() {
        let mut buffer = Vec::new();
        let mut w = Writer::new(&mut buffer);
        assert_eq!(w.open(&[("streamtype", "stdin")]).await.unwrap(), 1);
        assert_eq!(w.open(&[("streamtype", "stdout")]).await.unwrap(), 3);
        w.data(1, b"hello", false).await.unwrap();
        w.data(1, b"", true).await.unwrap();
        w.pong(2).await.unwrap();
        let mut r = buffer.as_slice();
        assert_eq!(read(&mut r).await.unwrap(), Some(Frame::Other));
        assert_eq!(read(&mut r).await.unwrap(), Some(Frame::Other));
        let data = |bytes: &[u8], fin| Frame::Data {
            stream: 1,
            fin,
            bytes: bytes.to_vec(),
        };
        assert_eq!(read(&mut r).await.unwrap(), Some(data(b"hello", false)));
        assert_eq!(read(&mut r).await.unwrap(), Some(data(b"", true)));
        assert_eq!(read(&mut r).await.unwrap(), Some(Frame::Ping { id: 2 }));
        assert_eq!(read(&mut r).await.unwrap(), None);
    }

    #[test]
    fn a_header_block_is_stored_and_flushed() {
        let mut w = Writer::new(Vec::new());
        let first = w.compressed(b"abc");
        assert_eq!(
            first,
            [&[0x78, 0x01, 0, 3, 0, 0xfc, 0xff], &b"abc"[..], &SYNC_FLUSH].concat()
        );
        assert_eq!(
            w.compressed(b"d"),
            [&[0, 1, 0, 0xfe, 0xff], &b"d"[..], &SYNC_FLUSH].concat()
        );
    }
}
