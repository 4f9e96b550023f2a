//! The proxy verbs: requests that go on to a pod, a service's pod or a kubelet, and their answers that come back
//! (upstream: apimachinery/pkg/util/proxy). Bodies are passed as they are: links in HTML are not rewritten.

use super::dial::Backend;
use super::{Call, Lease, body, headers, target, unavailable, upgrade};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use keelson_client::Body;
use keelson_client::transport::empty;
use keelson_machinery::status::ApiError;

const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

pub(super) async fn serve(
    call: &Call<'_>,
    mut request: Request<Body>,
    lease: Lease,
) -> Result<Response<Body>, ApiError> {
    let backend = target::find(call).await?;
    let (prefix, rest) = split(request.uri().path(), !call.info.namespace.is_empty());
    let (prefix, rest) = (prefix.to_owned(), rest.to_owned());
    let query = request.uri().query().map(|q| format!("?{q}")).unwrap_or_default();
    let path = match rest.is_empty() {
        true => format!("/{query}"),
        false => format!("{rest}{query}"),
    };
    if headers::is_upgrade(request.headers()) {
        return upgrade::pass(&call.streaming.tls, &backend, &path, request, lease).await;
    }
    if rest.is_empty() && matches!(*request.method(), Method::GET | Method::HEAD) {
        return moved(&format!("{prefix}/{query}"));
    }
    let host = host_of(&request, &backend)?;
    *request.uri_mut() = path.parse::<Uri>().map_err(|e| ApiError::bad_request(e.to_string()))?;
    *request.version_mut() = http::Version::HTTP_11;
    request.extensions_mut().clear();
    let h = request.headers_mut();
    headers::drop_hop_by_hop(h);
    headers::drop_credentials(h);
    h.insert(header::HOST, host.clone());
    if let Ok(v) = HeaderValue::from_str(&format!("{prefix}{rest}")) {
        h.insert(X_FORWARDED_URI, v);
    }
    let answer = backend.send(&call.streaming.tls, request).await;
    let answer = answer.map_err(|e| unavailable(format!("error trying to reach service: {e}")))?;
    let (mut head, rest) = answer.into_parts();
    headers::drop_hop_by_hop(&mut head.headers);
    relocate(&mut head.headers, &prefix, &backend, &host);
    head.extensions = http::Extensions::new();
    head.version = http::Version::default();
    Ok(Response::from_parts(head, body::held(rest, lease)))
}

/// A path before and after `/proxy`, both as they came: `/api/v1[/namespaces/N]/R/NAME/proxy` and the rest.
fn split(path: &str, namespaced: bool) -> (&str, &str) {
    let segments = if namespaced { 7 } else { 5 };
    let mut seen = 0;
    let mut inside = false;
    for (at, b) in path.bytes().enumerate() {
        if b != b'/' {
            seen += usize::from(!inside);
            inside = true;
            continue;
        }
        if inside && seen == segments {
            return path.split_at_checked(at).unwrap_or((path, ""));
        }
        inside = false;
    }
    (path, "")
}

/// An empty path gets a slash, so that relative links of the page work.
fn moved(to: &str) -> Result<Response<Body>, ApiError> {
    let to = HeaderValue::from_str(to).map_err(|e| ApiError::bad_request(e.to_string()))?;
    let mut r = Response::new(empty());
    *r.status_mut() = StatusCode::MOVED_PERMANENTLY;
    r.headers_mut().insert(header::LOCATION, to);
    Ok(r)
}

/// What the client called the server; backends see that name, as with upstream.
fn host_of(request: &Request<Body>, backend: &Backend) -> Result<HeaderValue, ApiError> {
    if let Some(h) = request.headers().get(header::HOST) {
        return Ok(h.clone());
    }
    let own = backend.authority();
    let text = request.uri().authority().map_or(own.as_str(), |a| a.as_str());
    HeaderValue::from_str(text).map_err(|e| ApiError::bad_request(e.to_string()))
}

/// A redirect within the backend leads through the proxy; one to elsewhere, or a relative one, stays as it is.
fn relocate(headers: &mut HeaderMap, prefix: &str, backend: &Backend, host: &HeaderValue) {
    let Some(text) = headers.get(header::LOCATION).and_then(|v| v.to_str().ok()) else {
        return;
    };
    let path = match text.split_once("://") {
        None => text,
        Some((_, after)) => {
            let (to, _) = after.split_at(after.find(['/', '?', '#']).unwrap_or(after.len()));
            if to != backend.authority() && to.as_bytes() != host.as_bytes() {
                return;
            }
            &after[to.len()..]
        }
    };
    if !path.starts_with('/') || path.starts_with("//") || path.starts_with(prefix) {
        return;
    }
    if let Ok(v) = HeaderValue::from_str(&format!("{prefix}{path}")) {
        headers.insert(header::LOCATION, v);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_are_split_where_proxy_stands() {
        let pod = "/api/v1/namespaces/proxy/pods/s/proxy";
        assert_eq!(split(&format!("{pod}/a%2Fb/proxy/"), true), (pod, "/a%2Fb/proxy/"));
        assert_eq!(split(pod, true), (pod, ""));
        assert_eq!(split(&format!("{pod}/"), true), (pod, "/"));
        assert_eq!(
            split("/api/v1/nodes/n:10250/proxy/pods", false),
            ("/api/v1/nodes/n:10250/proxy", "/pods")
        );
        assert_eq!(
            split("//api/v1/nodes/n/proxy/é", false),
            ("//api/v1/nodes/n/proxy", "/é")
        );
    }

    #[test]
    fn redirects_stay_inside_the_proxy() {
        let backend = Backend {
            host: "10.0.0.1".into(),
            port: 80,
            trust: None,
        };
        for (from, to) in [
            ("/login?a=1", "/p/login?a=1"),
            ("http://10.0.0.1:80/x", "/p/x"),
            ("https://api:6443/x", "/p/x"),
            ("https://elsewhere/x", "https://elsewhere/x"),
            ("//elsewhere/x", "//elsewhere/x"),
            ("next", "next"),
            ("/p/x", "/p/x"),
        ] {
            let mut h = HeaderMap::new();
            h.insert(header::LOCATION, from.parse().unwrap());
            relocate(&mut h, "/p", &backend, &HeaderValue::from_static("api:6443"));
            assert_eq!(h[header::LOCATION], to);
        }
    }
}
