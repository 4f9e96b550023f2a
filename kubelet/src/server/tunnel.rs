//! WebSocket on the client's side, SPDY on the runtime's.
//!
//! Remote command (`v4.channel.k8s.io`, `v5.channel.k8s.io`): each message's first byte names a channel. Version 5
//! adds channel 255, whose payload names a channel that the client has closed (KEP-4006), which is how the end of
//! standard input reaches the command.
use super::spdy::{self, Frame};
use super::streaming::Streams;
use futures::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Mutex;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message};

pub type Socket = WebSocketStream<TokioIo<Upgraded>>;
type Io = TokioIo<Upgraded>;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// One message of a client; kubectl's are 32 KiB at most.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
const COPY_BYTES: usize = 32 << 10;

pub async fn socket(io: Io) -> Socket {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}

fn closing(code: CloseCode, reason: &'static str) -> Message {
    Message::Close(Some(CloseFrame {
        code,
        reason: reason.into(),
    }))
}

/// Carries a byte stream in binary messages, both ways, until either side ends.
pub async fn raw(socket: Socket, upstream: Io) {
    let (mut sink, mut messages) = socket.split();
    let (mut read, mut write) = tokio::io::split(upstream);
    let to_runtime = async {
        while let Some(Ok(message)) = messages.next().await {
            let more = match message {
                Message::Binary(b) => write.write_all(&b).await.is_ok() && write.flush().await.is_ok(),
                Message::Close(_) => false,
                _ => true,
            };
            if !more {
                break;
            }
        }
    };
    let to_client = async {
        let mut buffer = vec![0u8; COPY_BYTES];
        while let Ok(n) = read.read(&mut buffer).await {
            let part = buffer.get(..n).unwrap_or_default();
            if part.is_empty() || sink.send(Message::Binary(Bytes::copy_from_slice(part))).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = to_runtime => {}
        () = to_client => {}
    }
    let _ = sink.send(closing(CloseCode::Normal, "")).await;
}

/// SPDY stream ids of one command.
#[derive(Clone, Copy, Debug, Default)]
struct Ids {
    error: u32,
    stdin: Option<u32>,
    stdout: Option<u32>,
    stderr: Option<u32>,
    resize: Option<u32>,
}

type Writer = Arc<Mutex<spdy::Writer<WriteHalf<Io>>>>;

/// Carries one exec or attach until the command ends or the client goes.
pub async fn command(socket: Socket, upstream: Io, streams: Streams) {
    let (mut sink, messages) = socket.split();
    let (read, write) = tokio::io::split(upstream);
    let mut writer = spdy::Writer::new(write);
    let ids = match open(&mut writer, streams).await {
        Ok(ids) => ids,
        Err(e) => {
            tracing::debug!(error = %e, "open streams to the runtime");
            let _ = sink
                .send(closing(CloseCode::Error, "the runtime has closed the stream"))
                .await;
            return;
        }
    };
    // An empty message on the lowest channel tells the client that the command is under way.
    let first = match streams {
        Streams { stdout: true, .. } => STDOUT,
        Streams { stderr: true, .. } => STDERR,
        _ => ERROR,
    };
    if sink.send(message(first, &[])).await.is_err() {
        return;
    }
    let writer: Writer = Arc::new(Mutex::new(writer));
    let from_client = tokio::spawn(client_to_runtime(messages, writer.clone(), ids));
    let aborted = from_client.abort_handle();
    tokio::select! {
        () = runtime_to_client(read, &mut sink, writer, ids) => {}
        // The client has gone; dropping the connection ends the command's streams.
        _ = from_client => {}
    }
    aborted.abort();
    let _ = sink.send(closing(CloseCode::Normal, "")).await;
    let _ = sink.close().await;
}

async fn open(w: &mut spdy::Writer<WriteHalf<Io>>, streams: Streams) -> std::io::Result<Ids> {
    let mut ids = Ids {
        error: w.open(&[("streamtype", "error")]).await?,
        ..Default::default()
    };
    let wanted = [
        (streams.stdin, "stdin", &mut ids.stdin),
        (streams.stdout, "stdout", &mut ids.stdout),
        (streams.stderr, "stderr", &mut ids.stderr),
        (streams.tty, "resize", &mut ids.resize),
    ];
    for (yes, name, id) in wanted {
        if yes {
            *id = Some(w.open(&[("streamtype", name)]).await?);
        }
    }
    Ok(ids)
}

fn message(channel: u8, data: &[u8]) -> Message {
    let mut out = Vec::with_capacity(data.len() + 1);
    out.push(channel);
    out.extend_from_slice(data);
    Message::Binary(out.into())
}

async fn client_to_runtime(mut messages: futures::stream::SplitStream<Socket>, writer: Writer, ids: Ids) {
    while let Some(Ok(message)) = messages.next().await {
        let bytes = match message {
            Message::Binary(b) => b,
            Message::Close(_) => return,
            _ => continue,
        };
        let Some((channel, data)) = bytes.split_first() else {
            continue;
        };
        let sent = match (*channel, data.first()) {
            (STDIN, _) => send(&writer, ids.stdin, data, false).await,
            (RESIZE, _) => send(&writer, ids.resize, data, false).await,
            (CLOSE, Some(&STDIN)) => send(&writer, ids.stdin, &[], true).await,
            (CLOSE, Some(&RESIZE)) => send(&writer, ids.resize, &[], true).await,
            _ => Ok(()),
        };
        if let Err(e) = sent {
            // The command may not read any more; its output still comes.
            tracing::debug!(error = %e, "write to the runtime");
        }
    }
}

async fn send(writer: &Writer, stream: Option<u32>, data: &[u8], fin: bool) -> std::io::Result<()> {
    match stream {
        Some(id) => writer.lock().await.data(id, data, fin).await,
        None => Ok(()),
    }
}

async fn runtime_to_client(
    mut read: ReadHalf<Io>,
    sink: &mut futures::stream::SplitSink<Socket, Message>,
    writer: Writer,
    ids: Ids,
) {
    let mut open: Vec<u32> = [Some(ids.error), ids.stdout, ids.stderr]
        .into_iter()
        .flatten()
        .collect();
    let mut verdict: Vec<u8> = Vec::new();
    while !open.is_empty() {
        match spdy::read(&mut read).await {
            Ok(Some(Frame::Data { stream, fin, bytes })) => {
                let channel = match stream {
                    s if Some(s) == ids.stdout => Some(STDOUT),
                    s if Some(s) == ids.stderr => Some(STDERR),
                    _ => None,
                };
                if stream == ids.error {
                    verdict.extend_from_slice(&bytes);
                    verdict.truncate(MESSAGE_BYTES_MAX);
                } else if let Some(channel) = channel
                    && !bytes.is_empty()
                    && sink.send(message(channel, &bytes)).await.is_err()
                {
                    return;
                }
                if fin {
                    open.retain(|s| *s != stream);
                }
            }
            Ok(Some(Frame::Reset { stream })) => open.retain(|s| *s != stream),
            Ok(Some(Frame::Ping { id })) => {
                let writer = writer.clone();
                // Not here: a writer blocked by a command that does not read must not stop its output.
                tokio::spawn(async move {
                    let _ = writer.lock().await.pong(id).await;
                });
            }
            Ok(Some(Frame::Other)) => {}
            Ok(Some(Frame::GoAway) | None) => break,
            Err(e) => {
                tracing::debug!(error = %e, "read from the runtime");
                break;
            }
        }
    }
    if verdict.is_empty() {
        verdict = serde_json::json!({
            "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
            "message": "the runtime has closed the stream without saying how the command ended",
        })
        .to_string()
        .into_bytes();
    }
    let _ = sink.send(message(ERROR, &verdict)).await;
}
