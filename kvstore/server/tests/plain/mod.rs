//! A plain HTTP/1.1 client, and what it saw in a form that two servers can be compared by.
#![allow(clippy::unwrap_used, dead_code)]

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::Duration;
use tokio::net::TcpStream;

pub const BOUND: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

pub fn request(base: &str, method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    let authority = base.strip_prefix("http://").unwrap();
    Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(path)
        .header("host", authority)
        .header("accept", "*/*")
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap()
}

async fn send(base: &str, request: Request<Full<Bytes>>) -> http::Response<hyper::body::Incoming> {
    let authority = base.strip_prefix("http://").unwrap();
    let socket = TcpStream::connect(authority).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
        .await
        .unwrap();
    tokio::spawn(connection);
    tokio::time::timeout(BOUND, sender.send_request(request))
        .await
        .expect("an answer in time")
        .unwrap()
}

/// A whole answer.
pub async fn ask(base: &str, request: Request<Full<Bytes>>) -> Answer {
    let (parts, body) = send(base, request).await.into_parts();
    let body = tokio::time::timeout(BOUND, body.collect())
        .await
        .expect("a body in time");
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap(),
    }
}

pub async fn get(base: &str, path: &str) -> Answer {
    ask(base, request(base, "GET", path, "")).await
}

pub async fn post(base: &str, path: &str, body: &str) -> Answer {
    ask(base, request(base, "POST", path, body)).await
}

/// The first lines of an answer that does not end.
pub async fn lines(base: &str, request: Request<Full<Bytes>>, wanted: usize) -> Vec<String> {
    let mut body = send(base, request).await.into_body();
    let mut text = String::new();
    while text.lines().count() < wanted || !text.ends_with('\n') {
        let frame = tokio::time::timeout(BOUND, body.frame()).await.expect("a line in time");
        let Some(frame) = frame else { break };
        text.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
    }
    text.lines().map(str::to_owned).collect()
}

/// What differs between two clusters, or from moment to moment.
const MASKED: &[&str] = &[
    "cluster_id",
    "member_id",
    "memberID",
    "raft_term",
    "raftTerm",
    "raftIndex",
    "raftAppliedIndex",
    "dbSize",
    "dbSizeInUse",
    "hash",
    "token",
    "clientURLs",
];

pub fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.contains_key("raftIndex") {
                fields.insert("leader".to_owned(), Value::from("*"));
            }
            for (name, value) in fields {
                if MASKED.contains(&name.as_str()) {
                    *value = Value::from("*");
                } else if name == "members" {
                    for member in value.as_array_mut().unwrap() {
                        member["ID"] = Value::from("*");
                        // A member of ours that nobody joins has no peer URL.
                        member.as_object_mut().unwrap().remove("peerURLs");
                    }
                    mask(value);
                } else {
                    mask(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(mask),
        _ => {}
    }
}

/// JSON, a value or one a line, without what differs; other text as it is.
pub fn told(text: &str) -> String {
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    match values.collect::<Result<Vec<_>, _>>() {
        Ok(mut values) => {
            values.iter_mut().for_each(mask);
            let values: Vec<String> = values.iter().map(Value::to_string).collect();
            values.join("\n")
        }
        Err(_) => text.to_owned(),
    }
}
