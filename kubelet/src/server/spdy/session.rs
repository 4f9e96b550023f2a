//! One connection, as its client: opens streams, sends, and tells what comes.
use super::frame::{self, DATA_BYTES_MAX, Decoder, Error, Frame};
use super::headers::Compressor;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Data frames on their way to the socket.
const DATA_FRAMES_MAX: usize = 4;
/// Answers to pings and refusals on their way to the socket; a peer that makes us exceed this does without.
const CONTROL_FRAMES_MAX: usize = 16;
const READ_BYTES: usize = 32 << 10;

/// What the peer did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The stream was accepted: what is sent before is lost.
    Reply {
        stream: u32,
    },
    Data {
        stream: u32,
        bytes: Bytes,
    },
    /// The peer sends no more on this stream.
    End {
        stream: u32,
    },
    /// The peer ends the connection; what it had to say has come before.
    GoAway,
}

/// Starts a session on a connection that has been upgraded.
pub fn client<S>(io: S) -> (Reader<tokio::io::ReadHalf<S>>, Writer)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, write) = tokio::io::split(io);
    let (data, data_out) = mpsc::channel(DATA_FRAMES_MAX);
    let (control, control_out) = mpsc::channel(CONTROL_FRAMES_MAX);
    let task = AbortOnDropHandle::new(tokio::spawn(write_frames(write, data_out, control_out)));
    let reader = Reader {
        io: read,
        decoder: Decoder::default(),
        control,
        pending: None,
    };
    let writer = Writer {
        data,
        compressor: Compressor::default(),
        next: 1,
        _task: task,
    };
    (reader, writer)
}

/// Control frames go first: a ping is answered while data waits for a slow peer.
async fn write_frames(
    mut io: impl AsyncWrite + Unpin,
    mut data: mpsc::Receiver<Bytes>,
    mut control: mpsc::Receiver<Bytes>,
) {
    loop {
        let next = tokio::select! {
            biased;
            Some(f) = control.recv() => f,
            f = data.recv() => match f {
                Some(f) => f,
                None => break,
            },
        };
        if let Err(e) = io.write_all(&next).await {
            tracing::debug!(error = %e, "write to the runtime");
            return;
        }
    }
    // The session has ended; whether the peer still hears of it does not matter.
    let _ = io.shutdown().await;
}

/// The sending side. Dropping it ends the connection's sending side at once.
pub struct Writer {
    data: mpsc::Sender<Bytes>,
    compressor: Compressor,
    next: u32,
    _task: AbortOnDropHandle<()>,
}

impl Writer {
    /// Opens a stream; its number is known at once, its acceptance comes as [`Event::Reply`].
    pub async fn open(&mut self, headers: &[(&str, &str)]) -> Result<u32, Error> {
        let stream = self.next;
        self.next = self.next.checked_add(2).ok_or(Error::Protocol("no stream ids left"))?;
        let frame = frame::syn_stream(stream, &mut self.compressor, headers);
        self.send(frame).await?;
        Ok(stream)
    }

    /// Returns when the bytes are in a queue of bounded length.
    pub async fn data(&self, stream: u32, bytes: &[u8]) -> Result<(), Error> {
        for part in bytes.chunks(DATA_BYTES_MAX) {
            self.send(frame::data(stream, part, false)).await?;
        }
        Ok(())
    }

    /// Half-closes the stream.
    pub async fn end(&self, stream: u32) -> Result<(), Error> {
        self.send(frame::data(stream, &[], true)).await
    }

    async fn send(&self, frame: Bytes) -> Result<(), Error> {
        let sent = self.data.send(frame).await;
        sent.map_err(|_| Error::Io(std::io::ErrorKind::BrokenPipe.into()))
    }
}

/// The receiving side; it also answers pings and refuses streams of the peer's.
pub struct Reader<R> {
    io: R,
    decoder: Decoder,
    control: mpsc::Sender<Bytes>,
    /// Said by the same frame as the event before.
    pending: Option<Event>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// `None` when the connection has ended. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(e) = self.pending.take() {
                return Ok(Some(e));
            }
            while let Some(f) = self.decoder.next()? {
                if let Some(e) = self.event(f) {
                    return Ok(Some(e));
                }
            }
            self.decoder.buffer.reserve(READ_BYTES);
            let mut room = bytes::BufMut::limit(&mut self.decoder.buffer, READ_BYTES);
            if self.io.read_buf(&mut room).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn event(&mut self, frame: Frame) -> Option<Event> {
        let end = |stream: u32, fin: bool| fin.then_some(Event::End { stream });
        match frame {
            Frame::SynReply { stream, fin } => {
                self.pending = end(stream, fin);
                Some(Event::Reply { stream })
            }
            Frame::Data { stream, bytes, fin } if bytes.is_empty() => end(stream, fin),
            Frame::Data { stream, bytes, fin } => {
                self.pending = end(stream, fin);
                Some(Event::Data { stream, bytes })
            }
            Frame::Headers { stream, fin } => end(stream, fin),
            Frame::Reset { stream, status } => {
                tracing::trace!(stream, status, "stream reset");
                Some(Event::End { stream })
            }
            Frame::GoAway => Some(Event::GoAway),
            // Even ids are the server's own.
            Frame::Ping { id } if id % 2 == 0 => self.answer(frame::ping(id)),
            Frame::SynStream { stream, .. } => self.answer(frame::reset(stream, frame::REFUSED_STREAM)),
            Frame::Ping { .. } | Frame::Other => None,
        }
    }

    fn answer(&self, frame: Bytes) -> Option<Event> {
        // Full, or gone: then the session ends anyway.
        let _ = self.control.try_send(frame);
        None
    }
}

#[cfg(test)]
pub mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The other end of a connection, driven by hand.
    pub struct FakeServer {
        pub io: tokio::io::DuplexStream,
        decoder: Decoder,
    }

    impl FakeServer {
        pub fn new(io: tokio::io::DuplexStream) -> Self {
            FakeServer {
                io,
                decoder: Decoder::default(),
            }
        }
        pub async fn next(&mut self) -> Option<Frame> {
            loop {
                if let Some(f) = self.decoder.next().unwrap() {
                    return Some(f);
                }
                if self.io.read_buf(&mut self.decoder.buffer).await.unwrap_or(0) == 0 {
                    return None;
                }
            }
        }
        /// Takes the streams that the client opens.
        pub async fn accept(&mut self, count: usize) -> Vec<u32> {
            let mut out = Vec::new();
            while out.len() < count {
                let Some(Frame::SynStream { stream, .. }) = self.next().await else {
                    panic!("not a stream");
                };
                self.io.write_all(&frame::syn_reply(stream)).await.unwrap();
                out.push(stream);
            }
            out
        }
        pub async fn data(&mut self, stream: u32, bytes: &[u8], fin: bool) {
            self.io.write_all(&frame::data(stream, bytes, fin)).await.unwrap();
        }
        pub async fn reset(&mut self, stream: u32) {
            self.io.write_all(&frame::reset(stream, 5)).await.unwrap();
        }
        pub async fn go_away(&mut self) {
            self.io.write_all(&frame::go_away()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_session() {
        let (near, far) = tokio::io::duplex(64 << 10);
        let (mut reader, mut writer) = client(near);
        let mut server = FakeServer::new(far);
        let a = writer.open(&[("streamtype", "error")]).await.unwrap();
        let b = writer.open(&[("streamtype", "stdin")]).await.unwrap();
        assert_eq!((a, b), (1, 3));
        assert_eq!(server.accept(2).await, [1, 3]);
        assert_eq!(reader.next().await.unwrap(), Some(Event::Reply { stream: 1 }));
        assert_eq!(reader.next().await.unwrap(), Some(Event::Reply { stream: 3 }));
        writer.data(3, b"in").await.unwrap();
        writer.end(3).await.unwrap();
        let Some(Frame::Data { stream, bytes, .. }) = server.next().await else {
            panic!("no data");
        };
        assert_eq!((stream, &bytes[..]), (3, &b"in"[..]));
        assert!(matches!(server.next().await, Some(Frame::Data { fin: true, .. })));
        server.data(1, b"out", true).await;
        let bytes = Bytes::from_static(b"out");
        assert_eq!(reader.next().await.unwrap(), Some(Event::Data { stream: 1, bytes }));
        assert_eq!(reader.next().await.unwrap(), Some(Event::End { stream: 1 }));
        server.io.write_all(&frame::ping(2)).await.unwrap();
        server.go_away().await;
        assert_eq!(reader.next().await.unwrap(), Some(Event::GoAway));
        assert_eq!(server.next().await, Some(Frame::Ping { id: 2 }));
        drop(server);
        assert_eq!(reader.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_large_write_is_cut_into_frames_and_held_back() {
        let (near, far) = tokio::io::duplex(1024);
        let (_reader, mut writer) = client(near);
        let mut server = FakeServer::new(far);
        let id = writer.open(&[]).await.unwrap();
        let send = async {
            writer.data(id, &vec![7; 1 << 20]).await.unwrap();
            writer.end(id).await.unwrap();
        };
        let receive = async {
            server.accept(1).await;
            let mut total = 0;
            loop {
                match server.next().await {
                    Some(Frame::Data { bytes, fin, .. }) => {
                        total += bytes.len();
                        if fin {
                            return total;
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
        };
        let ((), total) = tokio::join!(send, receive);
        assert_eq!(total, 1 << 20);
    }
}
