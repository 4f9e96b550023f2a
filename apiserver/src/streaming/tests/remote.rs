use super::bed::*;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use keelson_client::Body;
use keelson_client::transport::empty;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

fn upgrade(method: Method, path: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "api:6443")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "v5.channel.k8s.io")
        .header("authorization", "Bearer secret")
        .body(empty())
        .unwrap()
}

/// Agrees to the upgrade and answers each byte with its upper case; tells `ended` when its client has gone.
fn shout(mut r: Request<Incoming>, ended: mpsc::Sender<()>) -> Response<Body> {
    assert!(!r.headers().contains_key("authorization"));
    let mut answer = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("connection", "Upgrade")
        .header("upgrade", r.headers()["upgrade"].clone())
        .header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    if let Some(p) = r.headers().get("sec-websocket-protocol") {
        answer = answer.header("sec-websocket-protocol", p);
    }
    let switch = hyper::upgrade::on(&mut r);
    tokio::spawn(async move {
        let mut io = TokioIo::new(switch.await.unwrap());
        let mut buffer = vec![0; 4096];
        while let Ok(n @ 1..) = io.read(&mut buffer).await {
            buffer[..n].make_ascii_uppercase();
            io.write_all(&buffer[..n]).await.unwrap();
            io.flush().await.unwrap();
            if buffer[..n].contains(&b'.') {
                break;
            }
        }
        let _ = io.shutdown().await;
        let _ = ended.send(()).await;
    });
    answer.body(empty()).unwrap()
}

async fn shouting() -> (Bed, mpsc::Receiver<()>) {
    let (tx, rx) = mpsc::channel(8);
    let bed = Bed::new(move |r| shout(r, tx.clone())).await;
    bed.running("p");
    (bed, rx)
}

#[tokio::test]
async fn bytes_go_both_ways_until_the_kubelet_ends() {
    let (bed, mut ended) = shouting().await;
    let path = "/api/v1/namespaces/n/pods/p/exec?command=sh&command=-c&command=a%20%26%20b&stdin=true&stdout=true\
                &tty=true&stderr=false";
    let mut r = bed.send(upgrade(Method::GET, path)).await;
    assert_eq!(r.status(), 101);
    assert_eq!(r.headers()["sec-websocket-protocol"], "v5.channel.k8s.io");
    assert_eq!(r.headers()["upgrade"], "websocket");
    let want = "GET /exec/n/p/a?command=sh&command=-c&command=a%20%26%20b&input=1&output=1&tty=1";
    assert_eq!(bed.kubelet.asked(), [want]);
    let mut io = TokioIo::new(soon(hyper::upgrade::on(&mut r)).await.unwrap());
    // More than any buffer on the way, so that both directions must flow at once.
    let sent: Vec<u8> = b"abcdefgh".repeat(64 << 10);
    let (mut reader, mut writer) = tokio::io::split(&mut io);
    let mut got = vec![0; sent.len()];
    let (wrote, read) = soon(async { tokio::join!(writer.write_all(&sent), reader.read_exact(&mut got)) }).await;
    wrote.unwrap();
    read.unwrap();
    assert_eq!(got, sent.to_ascii_uppercase());
    soon(io.write_all(b"end.")).await.unwrap();
    let mut rest = Vec::new();
    soon(io.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"END.");
    soon(ended.recv()).await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_and_a_server_that_stops_end_the_kubelets_work() {
    let (bed, mut ended) = shouting().await;
    let attach = || upgrade(Method::POST, "/api/v1/namespaces/n/pods/p/attach?stdout=1");
    let mut r = bed.send(attach()).await;
    drop(soon(hyper::upgrade::on(&mut r)).await.unwrap());
    soon(ended.recv()).await.unwrap();
    assert_eq!(bed.kubelet.asked(), ["POST /attach/n/p/a?output=1"]);

    let mut r = bed.send(attach()).await;
    let mut io = TokioIo::new(soon(hyper::upgrade::on(&mut r)).await.unwrap());
    bed.stop.cancel();
    assert_eq!(soon(io.read(&mut [0; 8])).await.unwrap(), 0);
    soon(ended.recv()).await.unwrap();
}

#[tokio::test]
async fn port_forwards_pass_ports_and_protocols() {
    let (bed, _ended) = shouting().await;
    let mut ask = upgrade(
        Method::POST,
        "/api/v1/namespaces/n/pods/p/portforward?ports=80,443&ports=8080",
    );
    let h = ask.headers_mut();
    h.insert("upgrade", "SPDY/3.1".parse().unwrap());
    h.insert("x-stream-protocol-version", "portforward.k8s.io".parse().unwrap());
    let mut r = bed.send(ask).await;
    assert_eq!(
        (r.status().as_u16(), r.headers()["upgrade"].to_str().unwrap()),
        (101, "SPDY/3.1")
    );
    assert_eq!(bed.kubelet.asked(), ["POST /portForward/n/p?port=80%2C443%2C8080"]);
    let mut io = TokioIo::new(soon(hyper::upgrade::on(&mut r)).await.unwrap());
    soon(io.write_all(b"x")).await.unwrap();
    assert_eq!(soon(io.read_u8()).await.unwrap(), b'X');
}

#[tokio::test]
async fn a_refusal_of_the_kubelet_is_the_answer() {
    let bed = Bed::new(|r| match r.uri().path() {
        "/exec/n/p/a" => answer(403, "unable to upgrade: unable to negotiate protocol"),
        _ => answer(200, "not what was asked"),
    })
    .await;
    bed.running("p");
    let exec = upgrade(Method::GET, "/api/v1/namespaces/n/pods/p/exec?command=a&stdout=1");
    let got = text(bed.send(exec).await).await;
    assert_eq!(got, (403, "unable to upgrade: unable to negotiate protocol".into()));
    let attach = upgrade(Method::GET, "/api/v1/namespaces/n/pods/p/attach?stdout=1");
    let (code, body) = text(bed.send(attach).await).await;
    assert_eq!(code, 500);
    assert!(body.contains("invalid upgrade response: status code 200"), "{body}");
}

#[tokio::test]
async fn what_is_asked_wrongly_never_reaches_a_kubelet() {
    let (bed, _ended) = shouting().await;
    let spec = json!({"nodeName": "one", "containers": [{"name": "a"}]});
    bed.pod("done", json!({"spec": spec, "status": {"phase": "Succeeded"}}));
    bed.pod("unscheduled", json!({"spec": {"containers": [{"name": "a"}]}}));
    for (path, message) in [
        ("p/exec?command=a&stdout=1", "Upgrade request required"),
        (
            "p/exec?command=a",
            "you must specify at least 1 of stdin, stdout, stderr",
        ),
        (
            "p/exec?stdout=1",
            "you must specify at least one command for the container",
        ),
        (
            "p/exec?command=a&stdout=1&container=b",
            "container b is not valid for pod p",
        ),
        ("p/portforward?ports=0", "\"0\" is not a valid port"),
        (
            "done/attach?stdout=1",
            "cannot attach to a container in a completed pod; current phase is Succeeded",
        ),
        (
            "unscheduled/attach?stdout=1",
            "pod unscheduled does not have a host assigned",
        ),
    ] {
        let got = bed.refusal(&format!("/api/v1/namespaces/n/pods/{path}")).await;
        assert_eq!(got, (400, "BadRequest".into(), message.into()), "{path}");
    }
    assert!(bed.kubelet.asked().is_empty());
}
