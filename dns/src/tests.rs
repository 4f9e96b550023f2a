//! Questions and answers as they go over the wire, against an API that holds a few Services.
#![allow(clippy::unwrap_used)]

use super::*;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::RecordType;
use http_body_util::{BodyExt, StreamBody};
use keelson_client::transport::{BoxError, Transport};
use serde_json::{Value, json};

/// Answers every watch with its objects, the bookmark that ends them, and then nothing more.
struct Api1 {
    services: Vec<Value>,
    slices: Vec<Value>,
}

#[async_trait]
impl Transport for Api1 {
    async fn send(
        &self,
        req: http::Request<keelson_client::Body>,
    ) -> Result<http::Response<keelson_client::Body>, BoxError> {
        assert!(
            req.uri().query().unwrap().contains("sendInitialEvents=true"),
            "{}",
            req.uri()
        );
        let items = if req.uri().path().ends_with("/services") {
            &self.services
        } else {
            &self.slices
        };
        let mut lines: Vec<String> = items
            .iter()
            .map(|o| json!({"type": "ADDED", "object": o}).to_string())
            .collect();
        let end = json!({"resourceVersion": "9", "annotations": {"k8s.io/initial-events-end": "true"}});
        lines.push(json!({"type": "BOOKMARK", "object": {"metadata": end}}).to_string());
        let frames = futures::stream::iter(
            lines
                .into_iter()
                .map(|l| Ok(http_body::Frame::data(Bytes::from(l + "\n")))),
        );
        let body = StreamBody::new(frames.chain(futures::stream::pending()));
        Ok(http::Response::new(BodyExt::boxed(body)))
    }
}

fn service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default", "resourceVersion": "1"}, "spec": spec})
}

fn api() -> Api1 {
    let ports = json!([{"name": "http", "port": 80, "protocol": "TCP"}]);
    let endpoint = |ip: &str, hostname: Value, ready: bool| json!({"addresses": [ip], "hostname": hostname, "conditions": {"ready": ready}});
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "db-1", "namespace": "default", "resourceVersion": "2", "labels": {"kubernetes.io/service-name": "db"}},
        "ports": [{"name": "pg", "port": 5432, "protocol": "TCP"}],
        "endpoints": [
            endpoint("10.244.0.20", json!("db-0"), true),
            endpoint("10.244.0.21", Value::Null, true),
            endpoint("10.244.0.22", Value::Null, false),
        ],
    });
    Api1 {
        services: vec![
            service(
                "web",
                json!({"clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"], "ports": ports}),
            ),
            service(
                "db",
                json!({"clusterIP": "None", "ports": [{"name": "pg", "port": 5432}]}),
            ),
            service(
                "ext",
                json!({"type": "ExternalName", "externalName": "web.default.svc.cluster.local"}),
            ),
        ],
        slices: vec![slice],
    }
}

async fn ask(r: &Resolver, name: &str, kind: RecordType) -> Message {
    let mut q = Message::query();
    q.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    let id = q.metadata.id;
    let answer = Message::from_vec(&r.answer(&q.to_vec().unwrap(), false).await.unwrap()).unwrap();
    assert_eq!(answer.metadata.id, id);
    answer
}

fn data(m: &Message) -> Vec<String> {
    let mut all: Vec<String> = m
        .answers
        .iter()
        .map(|r| format!("{} {}", r.record_type(), r.data))
        .collect();
    all.sort();
    all
}

async fn resolver_under_test() -> (Resolver, CancellationToken) {
    let stop = CancellationToken::new();
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        listen: ([127, 0, 0, 1], 0).into(),
        cluster_domain: "cluster.local".into(),
        resolv_conf: dir.path().join("none"),
    };
    let client = Client::new(Arc::new(api()), "dns-test");
    (resolver(&options, client, &stop).await.unwrap().unwrap(), stop)
}

#[tokio::test]
async fn names_of_services_resolve_as_the_specification_says() {
    let (r, stop) = resolver_under_test().await;
    let cases: [(&str, RecordType, &[&str]); 9] = [
        ("web.default.svc.cluster.local.", RecordType::A, &["A 10.96.0.5"]),
        ("WEB.default.svc.Cluster.Local.", RecordType::A, &["A 10.96.0.5"]),
        (
            "db.default.svc.cluster.local.",
            RecordType::A,
            &["A 10.244.0.20", "A 10.244.0.21"],
        ),
        ("db-0.db.default.svc.cluster.local.", RecordType::A, &["A 10.244.0.20"]),
        (
            "10-244-0-21.db.default.svc.cluster.local.",
            RecordType::A,
            &["A 10.244.0.21"],
        ),
        (
            "_http._tcp.web.default.svc.cluster.local.",
            RecordType::SRV,
            &["SRV 0 100 80 web.default.svc.cluster.local."],
        ),
        (
            "ext.default.svc.cluster.local.",
            RecordType::A,
            &["A 10.96.0.5", "CNAME web.default.svc.cluster.local."],
        ),
        (
            "5.0.96.10.in-addr.arpa.",
            RecordType::PTR,
            &["PTR web.default.svc.cluster.local."],
        ),
        ("10-9-8-7.default.pod.cluster.local.", RecordType::A, &["A 10.9.8.7"]),
    ];
    for (name, kind, expected) in cases {
        let m = ask(&r, name, kind).await;
        assert_eq!(
            (data(&m).as_slice(), m.metadata.authoritative),
            (
                expected.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>().as_slice(),
                true
            ),
            "{name}"
        );
    }
    stop.cancel();
}

#[tokio::test]
async fn absence_is_told_apart_from_emptiness() {
    let (r, stop) = resolver_under_test().await;
    let cases = [
        (
            "nothing.default.svc.cluster.local.",
            RecordType::A,
            ResponseCode::NXDomain,
        ),
        (
            "web.default.svc.cluster.local.",
            RecordType::AAAA,
            ResponseCode::NoError,
        ),
        ("default.svc.cluster.local.", RecordType::A, ResponseCode::NoError),
        ("other.svc.cluster.local.", RecordType::A, ResponseCode::NXDomain),
        ("cluster.local.", RecordType::A, ResponseCode::NoError),
        // No server upstream: said so, not guessed.
        ("example.org.", RecordType::A, ResponseCode::ServFail),
    ];
    for (name, kind, code) in cases {
        let m = ask(&r, name, kind).await;
        assert_eq!((m.metadata.response_code, m.answers.len()), (code, 0), "{name}");
    }
    stop.cancel();
}

#[tokio::test]
async fn rubbish_is_answered_with_an_error_or_silence() {
    let (r, stop) = resolver_under_test().await;
    assert_eq!(r.answer(&[], false).await, None);
    let broken = Message::from_vec(&r.answer(&[7, 7, 1, 0, 0, 9], false).await.unwrap()).unwrap();
    assert_eq!(
        (broken.metadata.id, broken.metadata.response_code),
        (0x0707, ResponseCode::FormErr)
    );
    stop.cancel();
}
