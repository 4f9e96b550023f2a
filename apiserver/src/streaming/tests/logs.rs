use super::bed::*;
use bytes::Bytes;
use futures::stream;
use http::{Method, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use keelson_client::Body;
use serde_json::json;
use tokio::sync::mpsc;

fn streamed(rx: mpsc::Receiver<&'static str>) -> Body {
    let frames = stream::unfold(rx, |mut rx| async move {
        let part = rx.recv().await?;
        Some((Ok(Frame::data(Bytes::from_static(part.as_bytes()))), rx))
    });
    StreamBody::new(frames).boxed()
}

#[tokio::test]
async fn logs_are_passed_on_as_they_come() {
    let (tx, rx) = mpsc::channel(1);
    let rx = parking_lot::Mutex::new(Some(rx));
    let bed = Bed::new(move |_| Response::new(streamed(rx.lock().take().unwrap()))).await;
    bed.running("p");
    let query = "container=a&follow=true&timestamps=1&previous=false&tailLines=5&limitBytes=9\
                 &sinceTime=2024-01-02T03%3A04%3A05.678Z";
    let r = bed
        .send(request(
            Method::GET,
            &format!("/api/v1/namespaces/n/pods/p/log?{query}"),
        ))
        .await;
    assert_eq!(r.status(), 200);
    assert_eq!(r.headers()["content-type"], "text/plain");
    let want = "GET /containerLogs/n/p/a?follow=true&timestamps=true&tailLines=5&limitBytes=9\
                &sinceTime=2024-01-02T03%3A04%3A05Z";
    assert_eq!(bed.kubelet.asked(), [want]);
    let mut body = r.into_body();
    // Each line arrives before the next is written.
    for line in ["one\n", "two\n"] {
        tx.send(line).await.unwrap();
        let frame = soon(body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), line);
    }
    // A client that goes away ends the kubelet's work.
    drop(body);
    soon(async {
        while tx.send("more\n").await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_kubelet_refuses_is_told_as_upstream_tells_it() {
    let bed = Bed::new(|r| match r.uri().path() {
        "/containerLogs/n/waiting/a" => answer(
            400,
            r#"container "a" in pod "waiting" is waiting to start: ContainerCreating"#,
        ),
        "/containerLogs/n/gone/a" => answer(404, "no such pod"),
        "/containerLogs/n/broken/a" => answer(500, "disk"),
        _ => answer(502, "x"),
    })
    .await;
    for name in ["waiting", "gone", "broken", "odd"] {
        bed.running(name);
    }
    let log = |n: &str| format!("/api/v1/namespaces/n/pods/{n}/log");
    for (name, code, reason, message) in [
        (
            "waiting",
            400,
            "BadRequest",
            r#"container "a" in pod "waiting" is waiting to start: ContainerCreating"#,
        ),
        (
            "gone",
            404,
            "NotFound",
            "the server could not find the requested resource ( pods/log gone)",
        ),
        ("broken", 500, "InternalError", "Internal error occurred: disk"),
        (
            "odd",
            502,
            "InternalError",
            r#"an error on the server ("x") has prevented the request from succeeding ( pods/log odd)"#,
        ),
    ] {
        assert_eq!(bed.refusal(&log(name)).await, (code, reason.into(), message.into()));
    }
}

#[tokio::test]
async fn what_is_asked_wrongly_never_reaches_a_kubelet() {
    let bed = Bed::new(|_| answer(200, "")).await;
    bed.pod(
        "two",
        json!({"spec": {"nodeName": "one", "containers": [{"name": "a"}, {"name": "b"}]}}),
    );
    bed.pod("unscheduled", json!({"spec": {"containers": [{"name": "a"}]}}));
    let of = |rest: &str| format!("/api/v1/namespaces/n/pods/{rest}");
    for (path, code, message) in [
        (
            "two/log",
            400,
            "a container name must be specified for pod two, choose one of: [a b]",
        ),
        ("two/log?container=c", 400, "container c is not valid for pod two"),
        ("none/log", 404, r#"pods "none" not found"#),
        (
            "two/log?container=a&tailLines=x",
            400,
            r#"strconv.ParseInt: parsing "x": invalid syntax"#,
        ),
        (
            "two/log?container=a&tailLines=-1",
            422,
            r#"PodLogOptions "two" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0"#,
        ),
    ] {
        let (c, _, m) = bed.refusal(&of(path)).await;
        assert_eq!((c, m.as_str()), (code, message), "{path}");
    }
    assert_eq!(bed.get(&of("unscheduled/log")).await, (204, String::new()));
    assert!(bed.kubelet.asked().is_empty());
}

#[tokio::test]
async fn a_kubelet_must_be_who_it_is_unless_that_is_waived() {
    let bed = Bed::new(|_| answer(200, "fine")).await;
    bed.running("p");
    let path = "/api/v1/namespaces/n/pods/p/log";
    assert_eq!(bed.get(path).await, (200, "fine".into()));
    // The files change under the running server: another authority signs kubelets now.
    let other = Authority::new();
    std::fs::write(&bed.options.kubelet_ca, format!("{}\n", other.pem)).unwrap();
    let (code, reason, message) = bed.refusal(path).await;
    assert_eq!((code, reason.as_str()), (500, ""));
    assert!(message.contains("tls: invalid peer certificate"), "{message}");
    let waived = bed.get(&format!("{path}?insecureSkipTLSVerifyBackend=true")).await;
    assert_eq!(waived, (200, "fine".into()));
    // Files that make no sense leave the last good ones in force, and good ones bring the kubelet back.
    std::fs::write(&bed.options.kubelet_ca, "junk").unwrap();
    assert_eq!(bed.get(path).await.0, 500);
    std::fs::write(&bed.options.kubelet_ca, &bed.authority.pem).unwrap();
    assert_eq!(bed.get(path).await, (200, "fine".into()));
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_named() {
    let bed = Bed::new(|_| answer(200, "")).await;
    bed.running("p");
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    bed.objects.put("", "nodes", node(free));
    let (code, _, message) = bed.refusal("/api/v1/namespaces/n/pods/p/log").await;
    assert_eq!(code, 500);
    let want = format!("Get \"https://127.0.0.1:{free}/containerLogs/n/p/a\": dial tcp 127.0.0.1:{free}: ");
    assert!(message.starts_with(&want), "{message}");
}
