use super::bed::*;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use keelson_client::Body;
use keelson_client::transport::full;
use serde_json::{Value, json};
use std::sync::Arc;

/// Answers with what it was asked: method, path and query, some headers; and the body as it came.
fn mirror(r: Request<Incoming>) -> Response<Body> {
    let header = |k: &str| {
        r.headers()
            .get(k)
            .map(|v| v.to_str().unwrap_or("?").to_owned())
            .unwrap_or_default()
    };
    let seen = format!(
        "{} {} host={} auth={}",
        r.method(),
        r.uri(),
        header("host"),
        header("authorization")
    );
    let builder = Response::builder()
        .header("x-seen", seen)
        .header("keep-alive", "timeout=5");
    let builder = match r.uri().path() {
        "/redirect" => builder.status(302).header("location", "/login"),
        _ => builder,
    };
    builder.body(r.into_body().map_err(Into::into).boxed()).unwrap()
}

async fn with_pod() -> (Bed, Backend) {
    let bed = Bed::new(mirror).await;
    let backend = Backend::start(None, Arc::new(mirror)).await;
    let containers = json!([{"name": "a", "ports": [{"containerPort": backend.port}]}]);
    bed.pod(
        "p",
        json!({"spec": {"containers": containers}, "status": {"podIPs": [{"ip": "127.0.0.1"}]}}),
    );
    (bed, backend)
}

fn seen(r: &Response<Incoming>) -> &str {
    r.headers()["x-seen"].to_str().unwrap()
}

#[tokio::test]
async fn any_method_path_query_and_body_reach_the_pod() {
    let (bed, _backend) = with_pod().await;
    let prefix = "/api/v1/namespaces/n/pods/p/proxy";
    let mut ask = request(Method::PUT, &format!("{prefix}/a%2Fb/?x=1&y=%20"));
    *ask.body_mut() = full("sent");
    ask.headers_mut()
        .insert("authorization", "Bearer secret".parse().unwrap());
    let r = bed.send(ask).await;
    assert_eq!(seen(&r), "PUT /a%2Fb/?x=1&y=%20 host=api:6443 auth=");
    assert!(!r.headers().contains_key("keep-alive"));
    assert_eq!(text(r).await, (200, "sent".into()));
    // Redirects lead through the proxy, and an empty path gets its slash.
    let r = bed.send(request(Method::GET, &format!("{prefix}/redirect"))).await;
    assert_eq!(
        (r.status().as_u16(), &r.headers()["location"]),
        (302, &format!("{prefix}/login").parse().unwrap())
    );
    let r = bed.send(request(Method::GET, &format!("{prefix}?q=1"))).await;
    assert_eq!(
        (r.status().as_u16(), &r.headers()["location"]),
        (301, &format!("{prefix}/?q=1").parse().unwrap())
    );
    let r = bed.send(request(Method::POST, prefix)).await;
    assert_eq!(seen(&r), "POST / host=api:6443 auth=");
}

#[tokio::test]
async fn services_by_name_and_number_and_without_endpoints() {
    let (bed, backend) = with_pod().await;
    bed.objects.put(
        "",
        "services",
        json!({"metadata": {"name": "s", "namespace": "n"},
        "spec": {"ports": [{"name": "web", "port": 80}]}}),
    );
    let slice = |pod: &str| {
        json!({"metadata": {"name": "s-1", "namespace": "n", "labels": {"kubernetes.io/service-name": "s"}},
            "ports": [{"name": "web", "port": backend.port}],
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true},
                "targetRef": {"kind": "Pod", "namespace": "n", "name": pod}}]})
    };
    let path = |id: &str| format!("/api/v1/namespaces/n/services/{id}/proxy/x");
    let none = bed.refusal(&path("s:web")).await;
    let want = r#"no endpoints available for service "s:web""#;
    assert_eq!(none, (503, "ServiceUnavailable".into(), want.into()));
    // An address that no pod has is not an endpoint, whatever a slice says.
    bed.objects.put("discovery.k8s.io", "endpointslices", slice("stranger"));
    assert_eq!(bed.get(&path("s:web")).await.0, 503);
    bed.objects.put("discovery.k8s.io", "endpointslices", slice("p"));
    for id in ["s:web", "s:80", "http:s:web"] {
        let r = bed.send(request(Method::GET, &path(id))).await;
        assert_eq!(seen(&r), "GET /x host=api:6443 auth=", "{id}");
    }
    for (id, code, message) in [
        ("s:81", 503, r#"no service port 81 found for service "s""#),
        ("none:80", 404, r#"services "none" not found"#),
        ("ftp:s:80", 400, r#"invalid service request "ftp:s:80""#),
    ] {
        let (c, _, m) = bed.refusal(&path(id)).await;
        assert_eq!((c, m.as_str()), (code, message));
    }
}

#[tokio::test]
async fn nodes_are_their_kubelets_and_addresses_are_checked() {
    let (mut bed, backend) = with_pod().await;
    let port = bed.kubelet.port;
    for id in ["one".to_owned(), format!("one:{port}"), format!("https:one:{port}")] {
        let r = bed
            .send(request(Method::GET, &format!("/api/v1/nodes/{id}/proxy/healthz")))
            .await;
        assert_eq!(seen(&r), "GET /healthz host=api:6443 auth=", "{id}");
    }
    // Another port of the node is no kubelet's: no certificate is shown there.
    let other = backend.port;
    let r = bed
        .send(request(Method::GET, &format!("/api/v1/nodes/http:one:{other}/proxy/m")))
        .await;
    assert_eq!(seen(&r), "GET /m host=api:6443 auth=");

    bed.strict();
    for path in ["/api/v1/nodes/one/proxy/x", "/api/v1/namespaces/n/pods/p/proxy/x"] {
        assert_eq!(
            bed.refusal(path).await,
            (400, "BadRequest".into(), "address not allowed".into())
        );
    }
}

#[tokio::test]
async fn a_pod_that_does_not_answer_is_unavailable() {
    let (bed, backend) = with_pod().await;
    let port = backend.port;
    drop(backend);
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    assert_ne!(port, free);
    let (code, reason, message) = bed
        .refusal(&format!("/api/v1/namespaces/n/pods/p:{free}/proxy/x"))
        .await;
    assert_eq!((code, reason.as_str()), (503, "ServiceUnavailable"));
    assert!(
        message.starts_with("error trying to reach service: dial tcp 127.0.0.1:"),
        "{message}"
    );
    let body: Value = serde_json::from_str(&bed.get("/api/v1/namespaces/n/pods/q/proxy/x").await.1).unwrap();
    assert_eq!(body["code"], 404);
}
