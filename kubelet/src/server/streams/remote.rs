//! Exec and attach over WebSocket channels (`v4.channel.k8s.io`, `v5.channel.k8s.io`; KEP-4006), carried to the runtime
//! as SPDY streams (`v4.channel.k8s.io` there: k8s.io/apimachinery/pkg/util/remotecommand).
//!
//! The first byte of each message names the channel. The runtime's error stream holds a Status, which goes to the client
//! as it is, after all output.
use super::Streams;
use super::idle::Idle;
use super::relay::close;
use crate::server::spdy::{self, Event, Reader, Writer};
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::SplitSink;
use futures::{Sink, SinkExt, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// v5: the client sends no more on the channel named by the next byte.
const CLOSE: u8 = 255;

/// All streams must have been accepted by then (upstream: 30 s).
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of the error stream is kept; a Status is a few hundred bytes.
const STATUS_BYTES_MAX: usize = 64 << 10;
/// A client whose stdin is blocked reads no pings; this tells it that we live.
const PONG_EVERY: Duration = Duration::from_secs(20);

/// The runtime's streams, by number; `None` for one that nobody asked for.
struct Ids {
    error: u32,
    stdin: Option<u32>,
    stdout: Option<u32>,
    stderr: Option<u32>,
    resize: Option<u32>,
}

/// Joins the two until the command has ended, the client has gone or the runtime has.
pub async fn serve<C, R>(socket: WebSocketStream<C>, runtime: R, streams: Streams, idle: Idle)
where
    C: AsyncRead + AsyncWrite + Unpin,
    R: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut reader, mut writer) = spdy::client(runtime);
    let ids = match open(&mut writer, streams).await {
        Ok(ids) => ids,
        Err(e) => return refuse(socket, &format!("open streams to the container runtime: {e}")).await,
    };
    let (mut to_client, mut from_client) = socket.split();
    // An empty message on the lowest channel tells the client that the connection stands (upstream: kubelet's
    // cri/streaming/remotecommand/websocket.go).
    let first = match streams {
        Streams { stdout: true, .. } => STDOUT,
        Streams { stderr: true, .. } => STDERR,
        _ => ERROR,
    };
    if to_client.send(channel(first, &[])).await.is_err() {
        return;
    }
    let (accepted, is_accepted) = watch::channel(false);
    let ended = {
        let inward = input(&mut from_client, &writer, &ids, is_accepted, &idle);
        let outward = output(&mut reader, &mut to_client, &ids, accepted, &idle);
        tokio::select! {
            () = inward => None,
            status = outward => status,
        }
    };
    // Not said goodbye to: the runtime may have stopped reading, and its connection ends with these.
    drop((reader, writer));
    let Some(status) = ended else {
        return tracing::debug!("the client of a stream has gone");
    };
    if to_client.send(channel(ERROR, &status)).await.is_ok()
        && let Ok(socket) = to_client.reunite(from_client)
    {
        close(socket, CloseCode::Normal, "").await;
    }
}

/// Tells the client of a failure where it waits for the command's status.
pub async fn refuse<C>(mut socket: WebSocketStream<C>, why: &str)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    if socket.send(channel(ERROR, &failure(why))).await.is_ok() {
        close(socket, CloseCode::Normal, "").await;
    }
}

fn failure(why: &str) -> Vec<u8> {
    let status = Status {
        status: Some("Failure".into()),
        reason: Some("InternalError".into()),
        message: Some(format!("Internal error occurred: {why}")),
        code: Some(500),
        ..Default::default()
    };
    serde_json::to_vec(&status).unwrap_or_default()
}

fn channel(number: u8, bytes: &[u8]) -> Message {
    let mut out = BytesMut::with_capacity(1 + bytes.len());
    out.put_u8(number);
    out.put_slice(bytes);
    Message::Binary(out.freeze())
}

async fn open(writer: &mut Writer, streams: Streams) -> Result<Ids, spdy::Error> {
    let mut one = async |wanted: bool, kind: &str| -> Result<Option<u32>, spdy::Error> {
        match wanted {
            true => writer.open(&[("streamtype", kind)]).await.map(Some),
            false => Ok(None),
        }
    };
    let error = one(true, "error").await?.unwrap_or_default();
    Ok(Ids {
        error,
        stdin: one(streams.stdin, "stdin").await?,
        stdout: one(streams.stdout, "stdout").await?,
        stderr: one(streams.stderr, "stderr").await?,
        resize: one(streams.tty, "resize").await?,
    })
}

/// From the client to the runtime, until the client is gone.
async fn input<C>(
    from_client: &mut futures::stream::SplitStream<WebSocketStream<C>>,
    writer: &Writer,
    ids: &Ids,
    mut accepted: watch::Receiver<bool>,
    idle: &Idle,
) where
    C: AsyncRead + AsyncWrite + Unpin,
{
    // What arrives at the runtime before it has accepted a stream is lost.
    if accepted.wait_for(|a| *a).await.is_err() {
        return std::future::pending().await;
    }
    let (mut stdin, mut resize) = (ids.stdin, ids.resize);
    while let Some(message) = from_client.next().await {
        idle.touch();
        let bytes = match message {
            Ok(Message::Binary(b)) => b,
            // Browsers' clients may send text.
            Ok(Message::Text(t)) => Bytes::from(t),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            Ok(Message::Close(_)) | Err(_) => return,
        };
        let Some((number, rest)) = bytes.split_first() else {
            continue;
        };
        let sent = match (*number, rest) {
            (STDIN, data) => send(writer, stdin, data).await,
            (RESIZE, data) => send(writer, resize, data).await,
            (CLOSE, [STDIN, ..]) => end(writer, stdin.take()).await,
            (CLOSE, [RESIZE, ..]) => end(writer, resize.take()).await,
            _ => Ok(()),
        };
        if sent.is_err() {
            // The runtime is gone: the other direction tells how.
            return std::future::pending().await;
        }
    }
}

async fn send(writer: &Writer, stream: Option<u32>, bytes: &[u8]) -> Result<(), spdy::Error> {
    match stream {
        Some(id) => writer.data(id, bytes).await,
        None => Ok(()),
    }
}

async fn end(writer: &Writer, stream: Option<u32>) -> Result<(), spdy::Error> {
    match stream {
        Some(id) => writer.end(id).await,
        None => Ok(()),
    }
}

/// Which of the runtime's streams still say something.
struct Open {
    error: bool,
    stdout: bool,
    stderr: bool,
    replies: usize,
}

/// From the runtime to the client, until the command has ended: then its status. `None` when the client is gone.
async fn output<R, C>(
    reader: &mut Reader<R>,
    to_client: &mut SplitSink<WebSocketStream<C>, Message>,
    ids: &Ids,
    accepted: watch::Sender<bool>,
    idle: &Idle,
) -> Option<Vec<u8>>
where
    R: AsyncRead + Unpin,
    C: AsyncRead + AsyncWrite + Unpin,
{
    let (stdout, stderr) = (ids.stdout.is_some(), ids.stderr.is_some());
    let optional = [ids.stdin, ids.stdout, ids.stderr, ids.resize];
    let mut open = Open {
        error: true,
        stdout,
        stderr,
        replies: 1 + optional.iter().flatten().count(),
    };
    let mut status = Vec::new();
    let late = tokio::time::sleep(REPLY_TIMEOUT);
    tokio::pin!(late);
    let mut alive = tokio::time::interval_at(tokio::time::Instant::now() + PONG_EVERY, PONG_EVERY);
    let lost = loop {
        let event = tokio::select! {
            e = reader.next() => e,
            _ = alive.tick() => {
                to_client.send(Message::Pong(Bytes::new())).await.ok()?;
                continue;
            }
            () = &mut late, if open.replies > 0 => break Some("streams were not accepted in time".to_owned()),
        };
        idle.touch();
        match event {
            Ok(Some(Event::Reply { .. })) => {
                open.replies = open.replies.saturating_sub(1);
                if open.replies == 0 {
                    accepted.send_replace(true);
                }
            }
            Ok(Some(Event::Data { stream, bytes })) => {
                let number = match Some(stream) {
                    s if s == ids.stdout => STDOUT,
                    s if s == ids.stderr => STDERR,
                    s if s == Some(ids.error) => {
                        let room = STATUS_BYTES_MAX.saturating_sub(status.len());
                        status.extend(bytes.iter().take(room));
                        continue;
                    }
                    _ => continue,
                };
                forward(to_client, number, &bytes).await.ok()?;
            }
            Ok(Some(Event::End { stream })) => match Some(stream) {
                s if s == ids.stdout => open.stdout = false,
                s if s == ids.stderr => open.stderr = false,
                s if s == Some(ids.error) => open.error = false,
                _ => {}
            },
            // A session that is said to be over has said everything.
            Ok(Some(Event::GoAway)) => break None,
            Ok(None) if !open.error || !status.is_empty() => break None,
            Ok(None) => break Some("the connection to the container runtime was lost".to_owned()),
            Err(e) => break Some(format!("the connection to the container runtime was lost: {e}")),
        }
        if !open.error && !open.stdout && !open.stderr {
            break None;
        }
    };
    match lost {
        // Older protocols say nothing when all went well.
        None if status.is_empty() => Some(br#"{"metadata":{},"status":"Success"}"#.to_vec()),
        None => Some(status),
        Some(_) if !status.is_empty() => Some(status),
        Some(why) => Some(failure(&why)),
    }
}

async fn forward<S>(to_client: &mut S, number: u8, bytes: &[u8]) -> Result<(), S::Error>
where
    S: Sink<Message> + Unpin,
{
    to_client.send(channel(number, bytes)).await
}

#[cfg(test)]
mod tests;
