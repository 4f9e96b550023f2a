//! Bytes from one connection to the other, and back.
use super::idle::Idle;
use bytes::BytesMut;
use futures::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Bytes in flight in each direction.
const BUFFER_BYTES: usize = 32 << 10;
/// How long a client may take to answer the end of a WebSocket.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Until both directions have ended, or one has failed.
pub async fn copy<A, B>(client: A, runtime: B, idle: Idle)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (client_in, client_out) = tokio::io::split(client);
    let (runtime_in, runtime_out) = tokio::io::split(runtime);
    let copied = tokio::try_join!(
        one_way(client_in, runtime_out, &idle),
        one_way(runtime_in, client_out, &idle)
    );
    // Ends that go away are how such streams end.
    if let Err(e) = copied {
        tracing::debug!(error = %e, "stream");
    }
}

async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    idle: &Idle,
) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let n = from.read(&mut buffer).await?;
        idle.touch();
        match buffer.get(..n) {
            Some(bytes) if n > 0 => to.write_all(bytes).await?,
            _ => return to.shutdown().await,
        }
        to.flush().await?;
    }
}

/// Joins a stream of bytes that is wrapped in binary messages (subprotocol `SPDY/3.1+portforward.k8s.io`) to one that
/// is not.
pub async fn tunnel<C, R>(socket: WebSocketStream<C>, runtime: R, idle: Idle)
where
    C: AsyncRead + AsyncWrite + Unpin,
    R: AsyncRead + AsyncWrite,
{
    let (mut to_client, mut from_client) = socket.split();
    let (mut from_runtime, mut to_runtime) = tokio::io::split(runtime);
    let inward = async {
        while let Some(message) = from_client.next().await {
            idle.touch();
            match message {
                Ok(Message::Binary(bytes)) => {
                    if to_runtime.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
                Ok(Message::Close(_)) | Err(_) => break,
                Ok(_) => {}
            }
        }
        false
    };
    let outward = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(BUFFER_BYTES);
            let mut room = bytes::BufMut::limit(&mut buffer, BUFFER_BYTES);
            match from_runtime.read_buf(&mut room).await {
                Ok(n) if n > 0 => {}
                _ => return true,
            }
            idle.touch();
            let message = Message::Binary(buffer.split().freeze());
            if to_client.send(message).await.is_err() {
                return false;
            }
        }
    };
    let by_runtime = tokio::select! {
        r = inward => r,
        r = outward => r,
    };
    if by_runtime && let Ok(socket) = to_client.reunite(from_client) {
        close(socket, CloseCode::Normal, "").await;
    }
}

/// Ends a WebSocket, and reads what the client still sends: bytes left unread would make the kernel reset the
/// connection and throw away what the client has not read yet.
pub async fn close<C>(mut socket: WebSocketStream<C>, code: CloseCode, reason: &str)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let frame = CloseFrame {
        code,
        reason: reason.into(),
    };
    let finish = async {
        if socket.send(Message::Close(Some(frame))).await.is_err() {
            return;
        }
        while let Some(Ok(_)) = socket.next().await {}
    };
    if tokio::time::timeout(CLOSE_TIMEOUT, finish).await.is_err() {
        tracing::debug!("a client did not close its WebSocket");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::server::streams::upgrade::config;
    use tokio_tungstenite::tungstenite::protocol::Role;

    #[tokio::test]
    async fn bytes_in_messages_and_the_end() {
        let (near, client) = tokio::io::duplex(4096);
        let (runtime, mut far) = tokio::io::duplex(4096);
        let server = WebSocketStream::from_raw_socket(near, Role::Server, Some(config())).await;
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let task = tokio::spawn(tunnel(server, runtime, Idle::new(Duration::from_secs(60))));
        client.send(Message::Binary("to the pod".into())).await.unwrap();
        let mut seen = [0; 10];
        far.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"to the pod");
        far.write_all(&[9; 1000]).await.unwrap();
        drop(far);
        let mut back = 0;
        loop {
            match client.next().await.unwrap().unwrap() {
                Message::Binary(b) => back += b.len(),
                Message::Close(Some(f)) => {
                    assert_eq!(f.code, CloseCode::Normal);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(back, 1000);
        while let Some(Ok(_)) = client.next().await {}
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_half_closed_direction_leaves_the_other() {
        let (client, mut a) = tokio::io::duplex(64);
        let (runtime, mut b) = tokio::io::duplex(64);
        let task = tokio::spawn(copy(client, runtime, Idle::new(Duration::from_secs(60))));
        a.write_all(b"question").await.unwrap();
        a.shutdown().await.unwrap();
        let mut text = String::new();
        b.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "question");
        b.write_all(b"answer").await.unwrap();
        drop(b);
        text.clear();
        a.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "answer");
        task.await.unwrap();
    }
}
