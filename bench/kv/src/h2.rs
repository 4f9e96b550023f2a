//! The least of HTTP/2 (RFC 9113) and HPACK (RFC 7541) that a gRPC load needs: one connection, requests written as bytes, answers
//! told apart by stream. Header blocks of answers are not decoded: an answer with a message is a success, one with
//! trailers only is a failure.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER_BYTES: usize = 9;
/// What a peer may send before it hears from us: the largest window there is.
const WINDOW_BYTES: u32 = (1 << 31) - 1;
/// The connection's window is opened again after so many bytes.
const WINDOW_REFILL_BYTES: u64 = 1 << 30;
/// Most that is read at once.
const READ_BYTES: usize = 256 << 10;
/// Largest frame we accept, as announced.
const FRAME_BYTES_MAX: u32 = 1 << 20;
/// Room for the largest frame, with what came before its end was known; only touched where something arrives.
const INPUT_BYTES: usize = FRAME_BYTES_MAX as usize + FRAME_HEADER_BYTES + READ_BYTES;
/// Unsent bytes that may wait for the socket.
const UNSENT_BYTES_MAX: usize = 64 << 20;

mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
}
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// What came from the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Bytes of an answer's body.
    Data {
        stream: u32,
        bytes: &'a [u8],
        end: bool,
    },
    /// Headers that end the stream: trailers, or a refusal without a message.
    End {
        stream: u32,
    },
    Reset {
        stream: u32,
    },
}

pub struct Connection {
    socket: TcpStream,
    address: String,
    /// The header block of the first request, which fills the peer's table, and of the later ones, which point into it.
    first: Vec<u8>,
    later: [u8; 6],
    next_stream: u32,
    out: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
    /// How much of `input` is filled: the beginning of a frame.
    kept: usize,
    received_since_refill: u64,
    /// What the server still takes of bodies.
    send_window: i64,
}

/// A header field in full; lengths here fit seven bits. `kept` has the peer enter it into its table.
fn literal(out: &mut Vec<u8>, kept: bool, name_index: u8, name: &[u8], value: &[u8]) {
    match (kept, name_index) {
        (true, _) => out.push(0x40 | name_index),
        (false, 0..15) => out.push(name_index),
        (false, _) => out.extend_from_slice(&[15, name_index - 15]),
    }
    if name_index == 0 {
        out.push(name.len() as u8);
        out.extend_from_slice(name);
    }
    out.push(value.len() as u8);
    out.extend_from_slice(value);
}

/// The whole header block of a call.
fn block(address: &str, path: &str, kept: bool) -> Vec<u8> {
    let mut out = vec![0x83, 0x86];
    literal(&mut out, kept, 4, b"", path.as_bytes());
    literal(&mut out, kept, 1, b"", address.as_bytes());
    literal(&mut out, kept, 31, b"", b"application/grpc");
    literal(&mut out, kept, 0, b"te", b"trailers");
    out
}

fn frame_header(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, length: usize) {
    let [_, high, middle, low] = (length as u32).to_be_bytes();
    let [a, b, c, d] = stream.to_be_bytes();
    out.extend_from_slice(&[high, middle, low, kind, flags, a, b, c, d]);
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    frame_header(out, kind, flags, stream, payload.len());
    out.extend_from_slice(payload);
}

impl Connection {
    /// Connects and says hello. Requests go to one gRPC method unless they name another.
    pub fn open(address: &str, path: &str) -> io::Result<Connection> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        let first = block(address, path, true);
        let mut out = PREFACE.to_vec();
        let mut settings = Vec::new();
        for (id, value) in [(2u16, 0u32), (4, WINDOW_BYTES), (5, FRAME_BYTES_MAX)] {
            settings.extend_from_slice(&id.to_be_bytes());
            settings.extend_from_slice(&value.to_be_bytes());
        }
        frame(&mut out, kind::SETTINGS, 0, 0, &settings);
        frame(
            &mut out,
            kind::WINDOW_UPDATE,
            0,
            0,
            &(WINDOW_BYTES - 65_535).to_be_bytes(),
        );
        socket.set_nonblocking(true)?;
        Ok(Connection {
            socket,
            address: address.to_owned(),
            first,
            // The newest entry of the table has the lowest index: te, content-type, authority, path.
            later: [0x83, 0x86, 0xC1, 0xC0, 0xBF, 0xBE],
            next_stream: 1,
            out,
            sent: 0,
            input: vec![0; INPUT_BYTES],
            kept: 0,
            received_since_refill: 0,
            send_window: 65_535,
        })
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether the server's window has room for another message of this size.
    pub fn has_room(&self, message_bytes: usize) -> bool {
        self.send_window >= (message_bytes + 5) as i64 && self.out.len() < UNSENT_BYTES_MAX
    }

    /// Queues a call with one message; its stream. `open` leaves the request's side open for further messages.
    pub fn request(&mut self, message: &[u8], open: bool) -> u32 {
        self.request_to(None, message, open)
    }

    /// The same, to another method than the connection's if one is named.
    pub fn request_to(&mut self, path: Option<&str>, message: &[u8], open: bool) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        let full;
        let headers: &[u8] = match path {
            Some(path) => {
                full = block(&self.address, path, false);
                &full
            }
            None if self.first.is_empty() => &self.later,
            None => {
                full = std::mem::take(&mut self.first);
                &full
            }
        };
        frame(&mut self.out, kind::HEADERS, END_HEADERS, stream, headers);
        self.message(stream, message, open);
        stream
    }

    /// Queues one more message of a call.
    pub fn message(&mut self, stream: u32, message: &[u8], open: bool) {
        let length = 5 + message.len();
        self.send_window -= length as i64;
        let flags = if open { 0 } else { END_STREAM };
        frame_header(&mut self.out, kind::DATA, flags, stream, length);
        self.out.push(0);
        self.out.extend_from_slice(&(message.len() as u32).to_be_bytes());
        self.out.extend_from_slice(message);
    }

    /// Whether something waits for the socket.
    pub fn is_pending(&self) -> bool {
        self.sent < self.out.len()
    }

    /// Writes what the socket takes.
    pub fn flush(&mut self) -> io::Result<()> {
        while let Some(rest) = self.out.get(self.sent..).filter(|r| !r.is_empty()) {
            match (&self.socket).write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads what is there and hands on what it says. False: the server closed the connection.
    pub fn receive(&mut self, mut on: impl FnMut(Event<'_>)) -> io::Result<bool> {
        let room = self.kept..(self.kept + READ_BYTES).min(INPUT_BYTES);
        let read = match (&self.socket).read(self.input.get_mut(room).unwrap_or_default()) {
            Ok(n) => n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(true),
            Err(e) => return Err(e),
        };
        let input = std::mem::take(&mut self.input);
        let filled = self.kept + read;
        let mut rest = input.get(..filled).unwrap_or_default();
        while let Some((header, body)) = rest.split_at_checked(FRAME_HEADER_BYTES) {
            let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
            if length > FRAME_BYTES_MAX as usize {
                return Err(io::Error::other("a frame larger than announced"));
            }
            let Some((payload, after)) = body.split_at_checked(length) else {
                break;
            };
            let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]) & 0x7fff_ffff;
            self.handle(header[3], header[4], stream, payload, &mut on)?;
            rest = after;
        }
        self.kept = rest.len();
        self.input = input;
        self.input.copy_within(filled - self.kept..filled, 0);
        Ok(read > 0)
    }

    fn handle(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
        on: &mut impl FnMut(Event<'_>),
    ) -> io::Result<()> {
        let end = flags & END_STREAM != 0;
        match kind {
            kind::DATA => {
                self.received_since_refill += payload.len() as u64;
                if self.received_since_refill >= WINDOW_REFILL_BYTES {
                    let increment = (self.received_since_refill as u32).to_be_bytes();
                    frame(&mut self.out, kind::WINDOW_UPDATE, 0, 0, &increment);
                    self.received_since_refill = 0;
                }
                on(Event::Data {
                    stream,
                    bytes: payload,
                    end,
                });
            }
            kind::HEADERS if end => on(Event::End { stream }),
            kind::RST_STREAM => on(Event::Reset { stream }),
            kind::SETTINGS if flags & ACK == 0 => frame(&mut self.out, kind::SETTINGS, ACK, 0, &[]),
            kind::PING if flags & ACK == 0 => frame(&mut self.out, kind::PING, ACK, 0, payload),
            kind::WINDOW_UPDATE if stream == 0 => {
                let increment = payload.try_into().map(u32::from_be_bytes).unwrap_or(0);
                self.send_window += i64::from(increment);
            }
            kind::GOAWAY => return Err(io::Error::other("the server says goodbye")),
            _ => {}
        }
        Ok(())
    }
}
