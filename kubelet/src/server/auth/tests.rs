#![allow(clippy::unwrap_used)]
use super::*;
use async_trait::async_trait;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use keelson_client::transport::{BoxError, full};
use keelson_client::{Body, Transport};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An API server that knows one token, and lets one user do one thing.
#[derive(Default)]
struct Reviews {
    asked: AtomicUsize,
}

#[async_trait]
impl Transport for Reviews {
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await?.to_bytes();
        let asked: serde_json::Value = serde_json::from_slice(&body)?;
        let spec = &asked["spec"];
        let status = if path.ends_with("/tokenreviews") {
            match spec["token"].as_str() {
                Some("good") => serde_json::json!({"authenticated": true,
                    "user": {"username": "system:serviceaccount:a:b", "groups": ["g"], "uid": "u"}}),
                _ => serde_json::json!({"authenticated": false, "error": "no"}),
            }
        } else {
            assert!(path.ends_with("/subjectaccessreviews"), "{path}");
            let a = &spec["resourceAttributes"];
            assert_eq!((&a["resource"], &a["name"]), (&"nodes".into(), &"n1".into()));
            let may = spec["groups"].as_array().is_some_and(|g| g.contains(&"g".into()))
                && a["verb"] == "get"
                && a["subresource"] == "proxy";
            serde_json::json!({"allowed": may})
        };
        let mut answer = asked.clone();
        answer["status"] = status;
        Ok(Response::builder().status(201).body(full(answer.to_string()))?)
    }
}

fn headers(token: &str) -> HeaderMap {
    let mut h = HeaderMap::new();
    if !token.is_empty() {
        h.insert(
            header::AUTHORIZATION,
            HeaderValue::from_str(&format!("Bearer {token}")).unwrap(),
        );
    }
    h
}

#[tokio::test]
async fn tokens_and_decisions() {
    let reviews = Arc::new(Reviews::default());
    let auth = Auth::new(Client::new(reviews.clone(), "test"), "n1");
    let get = attributes(&Method::GET, "/pods");
    let post = attributes(&Method::POST, "/run/a/b/c");
    let code = |r: Result<(), Refusal>| r.err().map(|e| e.status.as_u16());
    assert_eq!(code(auth.check(None, &headers(""), &get).await), Some(401));
    assert_eq!(reviews.asked.load(Ordering::Relaxed), 0, "nothing to review");
    assert_eq!(code(auth.check(None, &headers("bad"), &get).await), Some(401));
    assert_eq!(code(auth.check(None, &headers("good"), &get).await), None);
    let asked = reviews.asked.load(Ordering::Relaxed);
    assert_eq!(asked, 4, "two tokens; pods, then proxy");
    assert_eq!(code(auth.check(None, &headers("good"), &get).await), None);
    assert_eq!(reviews.asked.load(Ordering::Relaxed), asked, "remembered");
    let refused = auth.check(None, &headers("good"), &post).await.unwrap_err();
    assert_eq!(
        (refused.status.as_u16(), refused.message.as_str()),
        (
            403,
            "Forbidden (user=system:serviceaccount:a:b, verb=create, resource=nodes, subresource(s)=[proxy])"
        )
    );
    let by_certificate = User {
        name: "kube-apiserver-kubelet-client".into(),
        groups: vec!["g".into()],
        ..User::default()
    };
    assert_eq!(code(auth.check(Some(&by_certificate), &headers(""), &get).await), None);
}

#[test]
fn certificate_subjects() {
    let mut p = rcgen::CertificateParams::default();
    p.distinguished_name = rcgen::DistinguishedName::new();
    p.distinguished_name.push(rcgen::DnType::CommonName, "u");
    p.distinguished_name.push(rcgen::DnType::OrganizationName, "o");
    let cert = p.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let user = user_of_certificate(cert.der()).unwrap();
    assert_eq!(
        (user.name.as_str(), user.groups.join(",")),
        ("u", "o,system:authenticated".into())
    );
    assert_eq!(user_of_certificate(b"junk"), None);
}
