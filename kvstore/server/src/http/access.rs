//! What comes before any answer: CORS, the list of hosts against DNS rebinding, and certificates that would name nobody.

use super::answer::plain_error;
use crate::core::Core;
use crate::listener::{PeerCertificate, Secure};
use crate::{HttpOptions, facts};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, HOST, ORIGIN,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use std::sync::Arc;

const ANY: &str = "*";
const METHODS: HeaderValue = HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE");
const HEADERS: HeaderValue = HeaderValue::from_static("accept, content-type, authorization");

#[derive(Clone)]
pub struct Access(Arc<Inner>);

struct Inner {
    cors_origins: Vec<String>,
    host_whitelist: Vec<String>,
    core: Arc<Core>,
}

impl Access {
    pub fn new(options: &HttpOptions, core: Arc<Core>) -> Access {
        Access(Arc::new(Inner {
            cors_origins: options.cors.clone(),
            host_whitelist: options.host_whitelist.clone(),
            core,
        }))
    }

    fn allowed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if allows(&self.0.cors_origins, ANY) {
            return Some(HeaderValue::from_static(ANY));
        }
        let origin = headers.get(ORIGIN)?;
        allows(&self.0.cors_origins, origin.to_str().ok()?).then(|| origin.clone())
    }
}

/// An empty list allows everything.
fn allows(list: &[String], wanted: &str) -> bool {
    list.is_empty() || list.iter().any(|l| l == ANY || l == wanted)
}

/// The name without its port.
fn host_name(request: &Request) -> String {
    let authority = request.uri().authority().map(|a| a.as_str());
    let header = request.headers().get(HOST).and_then(|h| h.to_str().ok());
    let host = header.or(authority).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name.trim_matches(['[', ']']).to_owned()
}

pub async fn control(State(access): State<Access>, request: Request, next: Next) -> Response {
    let inner = &access.0;
    if request.extensions().get::<Secure>().is_none() {
        let host = host_name(&request);
        if !allows(&inner.host_whitelist, &host) {
            tracing::warn!(host, "rejecting HTTP request to prevent DNS rebinding attacks");
            return plain_error(
                StatusCode::MISDIRECTED_REQUEST,
                &format!(
                    "the Host header {host:?} is not on the list of hosts: add it with --host-whitelist, or use TLS"
                ),
            );
        }
    } else if names_a_user(&request) && facts::certificates_are_users(&inner.core) {
        let told = "CommonName of client sending a request against gateway will be ignored and not used as expected";
        return plain_error(StatusCode::BAD_REQUEST, told);
    }
    let origin = access.allowed_origin(request.headers());
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::OK.into_response()
    } else {
        next.run(request).await
    };
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    }
    response
}

fn names_a_user(request: &Request) -> bool {
    let certificate = request.extensions().get::<PeerCertificate>();
    let gateway = ["/v3/", "/v3beta/"].iter().any(|p| request.uri().path().starts_with(p));
    gateway && certificate.is_some_and(|c| c.common_name().is_some())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hosts_are_compared_without_their_port() {
        let named = |host: &str| {
            let request = http::Request::builder().uri("/health").header(HOST, host);
            host_name(&request.body(axum::body::Body::empty()).unwrap())
        };
        assert_eq!(named("etcd.example:2379"), "etcd.example");
        assert_eq!(named("[::1]:2379"), "::1");
        assert_eq!(named("localhost"), "localhost");
    }

    #[test]
    fn an_empty_list_allows_all() {
        assert!(allows(&[], "x"));
        assert!(allows(&["*".to_owned()], "x"));
        assert!(!allows(&["y".to_owned()], "x"));
    }
}
