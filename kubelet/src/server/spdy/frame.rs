//! Frames to and from bytes (SPDY/3.1, section 2.2).
use super::headers::Compressor;
use bytes::{Buf, BufMut, Bytes, BytesMut};

const HEADER_BYTES: usize = 8;
const CONTROL_BIT: u8 = 0x80;
const VERSION: u16 = 3;
const FLAG_FIN: u8 = 0x01;
/// Payload of a control frame; ours and theirs are a few dozen bytes.
const CONTROL_BYTES_MAX: usize = 64 << 10;
/// Payload of a data frame that we send.
pub const DATA_BYTES_MAX: usize = 32 << 10;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// RST_STREAM's status for a stream that nobody asked for.
pub const REFUSED_STREAM: u32 = 3;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("spdy: {0}")]
    Protocol(&'static str),
    #[error("spdy: {0}")]
    Io(#[from] std::io::Error),
}

/// What a peer says. Header blocks are not looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    SynStream {
        stream: u32,
        fin: bool,
    },
    SynReply {
        stream: u32,
        fin: bool,
    },
    Headers {
        stream: u32,
        fin: bool,
    },
    Reset {
        stream: u32,
        status: u32,
    },
    Ping {
        id: u32,
    },
    GoAway,
    /// SETTINGS, WINDOW_UPDATE, and what later versions may add.
    Other,
    /// A piece of a data frame; `fin` comes with its last one.
    Data {
        stream: u32,
        bytes: Bytes,
        fin: bool,
    },
}

/// Bytes in, frames out. Data frames are given out in the pieces they arrive in, so that their size costs nothing.
#[derive(Default)]
pub struct Decoder {
    pub buffer: BytesMut,
    /// The data frame under way: stream, bytes to come, whether it ends the stream.
    data: Option<(u32, usize, bool)>,
}

impl Decoder {
    /// The next frame, when enough of it is there.
    pub fn next(&mut self) -> Result<Option<Frame>, Error> {
        if let Some((stream, left, fin)) = self.data {
            return Ok(self.piece(stream, left, fin));
        }
        let Some(&[first, b1, b2, b3, flags, l1, l2, l3]) = self.buffer.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let fin = flags & FLAG_FIN != 0;
        let length = u32::from_be_bytes([0, l1, l2, l3]) as usize;
        if first & CONTROL_BIT == 0 {
            self.buffer.advance(HEADER_BYTES);
            let stream = u32::from_be_bytes([first, b1, b2, b3]);
            if length == 0 {
                let bytes = Bytes::new();
                return Ok(Some(Frame::Data { stream, bytes, fin }));
            }
            self.data = Some((stream, length, fin));
            return Ok(self.piece(stream, length, fin));
        }
        if u16::from_be_bytes([first & !CONTROL_BIT, b1]) != VERSION {
            return Err(Error::Protocol("a frame of another version"));
        }
        if length > CONTROL_BYTES_MAX {
            return Err(Error::Protocol("a control frame is too long"));
        }
        if self.buffer.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(HEADER_BYTES);
        let payload = self.buffer.split_to(length).freeze();
        control(u16::from_be_bytes([b2, b3]), fin, payload).map(Some)
    }

    fn piece(&mut self, stream: u32, left: usize, fin: bool) -> Option<Frame> {
        if self.buffer.is_empty() {
            return None;
        }
        let take = left.min(self.buffer.len());
        let bytes = self.buffer.split_to(take).freeze();
        self.data = (take < left).then_some((stream, left - take, fin));
        let fin = fin && self.data.is_none();
        Some(Frame::Data { stream, bytes, fin })
    }
}

fn control(kind: u16, fin: bool, mut payload: Bytes) -> Result<Frame, Error> {
    let mut number = || {
        let n = payload.try_get_u32();
        n.map_err(|_| Error::Protocol("a control frame is too short"))
    };
    let stream = |n: u32| n & 0x7fff_ffff;
    Ok(match kind {
        SYN_STREAM => Frame::SynStream {
            stream: stream(number()?),
            fin,
        },
        SYN_REPLY => Frame::SynReply {
            stream: stream(number()?),
            fin,
        },
        HEADERS => Frame::Headers {
            stream: stream(number()?),
            fin,
        },
        RST_STREAM => Frame::Reset {
            stream: stream(number()?),
            status: number()?,
        },
        PING => Frame::Ping { id: number()? },
        GOAWAY => Frame::GoAway,
        _ => Frame::Other,
    })
}

fn control_frame(kind: u16, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER_BYTES + payload.len());
    out.put_u16(u16::from(CONTROL_BIT) << 8 | VERSION);
    out.put_u16(kind);
    // No flags; the length has 24 bits.
    out.put_u32(u32::try_from(payload.len()).unwrap_or(0) & 0x00ff_ffff);
    out.put_slice(payload);
    out.freeze()
}

pub fn syn_stream(stream: u32, compressor: &mut Compressor, headers: &[(&str, &str)]) -> Bytes {
    let mut payload = stream.to_be_bytes().to_vec();
    // No associated stream, highest priority, no credential slot.
    payload.extend_from_slice(&[0; 6]);
    payload.extend_from_slice(&compressor.block(headers));
    control_frame(SYN_STREAM, &payload)
}

pub fn reset(stream: u32, status: u32) -> Bytes {
    control_frame(RST_STREAM, &[stream.to_be_bytes(), status.to_be_bytes()].concat())
}

pub fn ping(id: u32) -> Bytes {
    control_frame(PING, &id.to_be_bytes())
}

#[cfg(test)]
pub fn go_away() -> Bytes {
    control_frame(GOAWAY, &[0; 8])
}

/// `bytes` holds at most [`DATA_BYTES_MAX`].
pub fn data(stream: u32, bytes: &[u8], fin: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER_BYTES + bytes.len());
    out.put_u32(stream & 0x7fff_ffff);
    let flags = if fin { u32::from(FLAG_FIN) << 24 } else { 0 };
    out.put_u32(flags | u32::try_from(bytes.len()).unwrap_or(0) & 0x00ff_ffff);
    out.put_slice(bytes);
    out.freeze()
}

#[cfg(test)]
pub fn syn_reply(stream: u32) -> Bytes {
    let mut payload = stream.to_be_bytes().to_vec();
    payload.extend_from_slice(&[0x78, 0xbb]);
    control_frame(SYN_REPLY, &payload)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn decode(bytes: &[u8], piece: usize) -> Vec<Frame> {
        let mut d = Decoder::default();
        let mut out = Vec::new();
        for part in bytes.chunks(piece) {
            d.buffer.extend_from_slice(part);
            while let Some(f) = d.next().unwrap() {
                out.push(f);
            }
        }
        out
    }

    #[test]
    fn there_and_back_in_any_pieces() {
        let mut c = Compressor::default();
        let mut wire = Vec::new();
        wire.extend_from_slice(&syn_stream(1, &mut c, &[("streamtype", "stdin")]));
        wire.extend_from_slice(&syn_reply(1));
        wire.extend_from_slice(&data(1, b"hello", false));
        wire.extend_from_slice(&data(1, b"", true));
        wire.extend_from_slice(&reset(3, 5));
        wire.extend_from_slice(&ping(7));
        wire.extend_from_slice(&control_frame(9, &[0; 8]));
        wire.extend_from_slice(&go_away());
        let whole = [
            Frame::SynStream { stream: 1, fin: false },
            Frame::SynReply { stream: 1, fin: false },
            Frame::Data {
                stream: 1,
                bytes: Bytes::from_static(b"hello"),
                fin: false,
            },
            Frame::Data {
                stream: 1,
                bytes: Bytes::new(),
                fin: true,
            },
            Frame::Reset { stream: 3, status: 5 },
            Frame::Ping { id: 7 },
            Frame::Other,
            Frame::GoAway,
        ];
        assert_eq!(decode(&wire, wire.len()), whole);
        for piece in [1, 3, 9] {
            let mut text = Vec::new();
            let mut others = 0;
            for f in decode(&wire, piece) {
                match f {
                    Frame::Data { bytes, .. } => text.extend_from_slice(&bytes),
                    _ => others += 1,
                }
            }
            assert_eq!((text.as_slice(), others), (&b"hello"[..], 6));
        }
    }

    #[test]
    fn the_end_comes_with_the_last_piece() {
        let wire = data(5, b"abc", true);
        let frames = decode(&wire, 9);
        assert_eq!(frames.len(), 2);
        assert!(matches!(&frames[0], Frame::Data { fin: false, bytes, .. } if bytes == "a"));
        assert!(matches!(&frames[1], Frame::Data { fin: true, bytes, .. } if bytes == "bc"));
    }

    #[test]
    fn nonsense_is_an_error() {
        let bad = |bytes: &[u8]| {
            let mut d = Decoder::default();
            d.buffer.extend_from_slice(bytes);
            d.next().is_err()
        };
        assert!(bad(&[0x80, 2, 0, 1, 0, 0, 0, 0]), "version 2");
        assert!(bad(&[0x80, 3, 0, 1, 0, 0xff, 0, 0]), "16 MiB of headers");
        assert!(
            bad(&[0x80, 3, 0, 3, 0, 0, 0, 4, 0, 0, 0, 1]),
            "a reset without a status"
        );
    }
}
