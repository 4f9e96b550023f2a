#![allow(clippy::unwrap_used)]
use super::*;
use crate::server::spdy::{FakeServer, Frame};
use crate::server::streams::upgrade::config;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::protocol::Role;

/// A client, a runtime, and what joins them.
struct Stage {
    client: WebSocketStream<DuplexStream>,
    runtime: FakeServer,
    /// In the order of opening: error, then those asked for.
    streams: Vec<u32>,
    task: JoinHandle<()>,
}

async fn stage(streams: Streams, count: usize) -> Stage {
    let (near, client) = tokio::io::duplex(4096);
    let (runtime, far) = tokio::io::duplex(4096);
    let server = WebSocketStream::from_raw_socket(near, Role::Server, Some(config())).await;
    let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    let idle = Idle::new(Duration::from_secs(3600));
    let task = tokio::spawn(serve(server, runtime, streams, idle));
    let mut runtime = FakeServer::new(far);
    let streams = runtime.accept(count).await;
    Stage {
        client,
        runtime,
        streams,
        task,
    }
}

/// Everything the client gets: bytes by channel, and the code of the end.
async fn collect(client: &mut WebSocketStream<DuplexStream>) -> ([Vec<u8>; 4], Option<CloseCode>) {
    let mut channels: [Vec<u8>; 4] = Default::default();
    let mut code = None;
    while let Some(message) = client.next().await {
        match message {
            Ok(Message::Binary(b)) => channels[usize::from(b[0])].extend_from_slice(&b[1..]),
            Ok(Message::Close(f)) => code = f.map(|f| f.code),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    (channels, code)
}

const ALL: Streams = Streams {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};

#[tokio::test]
async fn a_command_with_input_and_both_outputs() {
    let mut s = stage(ALL, 4).await;
    let [error, stdin, stdout, stderr] = s.streams[..] else {
        panic!("four streams")
    };
    let input = vec![b'x'; 100_000];
    let send = async {
        s.client.send(channel(STDIN, &input)).await.unwrap();
        s.client.send(channel(CLOSE, &[STDIN])).await.unwrap();
    };
    let receive = async {
        let mut got = 0;
        loop {
            match s.runtime.next().await {
                Some(Frame::Data { stream, bytes, fin }) => {
                    assert_eq!(stream, stdin);
                    got += bytes.len();
                    if fin {
                        return got;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    };
    let ((), got) = tokio::join!(send, receive);
    assert_eq!(got, 100_000, "all of it, then the end");
    let runtime = async {
        s.runtime.data(stdout, &[b'o'; 50_000], false).await;
        s.runtime.data(stderr, b"warned", false).await;
        // The status comes before the last output: it is told last all the same.
        s.runtime.data(error, br#"{"status":"Failure"}"#, true).await;
        s.runtime.data(stdout, b"!", true).await;
        s.runtime.data(stderr, b"", true).await;
        s.runtime
    };
    let (_runtime, (channels, code)) = tokio::join!(runtime, collect(&mut s.client));
    assert_eq!(channels[1].len(), 50_001);
    assert_eq!(channels[2], b"warned");
    assert_eq!(channels[3], br#"{"status":"Failure"}"#);
    assert_eq!(code, Some(CloseCode::Normal));
    s.task.await.unwrap();
}

#[tokio::test]
async fn a_terminal_is_resized() {
    let terminal = Streams {
        stderr: false,
        tty: true,
        ..ALL
    };
    let mut s = stage(terminal, 4).await;
    let resize = s.streams[3];
    let size = br#"{"Width":80,"Height":24}"#;
    s.client.send(channel(RESIZE, size)).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < size.len() {
        let Some(Frame::Data { stream, bytes, .. }) = s.runtime.next().await else {
            panic!("no size");
        };
        assert_eq!(stream, resize);
        seen.extend_from_slice(&bytes);
    }
    assert_eq!(seen, size);
    // A session that is over, with nothing said about the command.
    s.runtime.reset(s.streams[0]).await;
    s.runtime.go_away().await;
    let (channels, code) = collect(&mut s.client).await;
    assert_eq!(channels[3], br#"{"metadata":{},"status":"Success"}"#);
    assert_eq!(code, Some(CloseCode::Normal));
    s.task.await.unwrap();
}

#[tokio::test]
async fn a_lost_runtime_is_a_failure() {
    let mut s = stage(ALL, 4).await;
    s.runtime.data(s.streams[2], b"half", false).await;
    drop(s.runtime);
    let (channels, _) = collect(&mut s.client).await;
    assert_eq!(channels[1], b"half");
    let status: Status = serde_json::from_slice(&channels[3]).unwrap();
    assert_eq!((status.status.as_deref(), status.code), (Some("Failure"), Some(500)));
    s.task.await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_ends_the_session() {
    let s = stage(ALL, 4).await;
    drop(s.client);
    s.task.await.unwrap();
    let mut runtime = s.runtime;
    while runtime.next().await.is_some() {}
}

#[tokio::test]
async fn a_refusal_is_a_status() {
    let (near, client) = tokio::io::duplex(4096);
    let server = WebSocketStream::from_raw_socket(near, Role::Server, Some(config())).await;
    let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    let ((), (channels, code)) = tokio::join!(refuse(server, "container not found (\"x\")"), collect(&mut client));
    let status: Status = serde_json::from_slice(&channels[3]).unwrap();
    assert_eq!(
        status.message.as_deref(),
        Some("Internal error occurred: container not found (\"x\")")
    );
    assert_eq!(code, Some(CloseCode::Normal));
}
