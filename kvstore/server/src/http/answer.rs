//! Plain answers, as Go's `http.Error` and `http.NotFound` write them: what tools compare.

use axum::body::Body;
use axum::response::Response;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

const NOSNIFF: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-content-type-options"),
    HeaderValue::from_static("nosniff"),
);
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

pub fn text(headers: HeaderMap, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.headers_mut() = headers;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

/// The message and a line's end.
pub fn plain_error(status: StatusCode, message: &str) -> Response {
    let mut response = text(HeaderMap::new(), format!("{message}\n"));
    *response.status_mut() = status;
    response.headers_mut().insert(NOSNIFF.0, NOSNIFF.1);
    response
}

pub fn not_found() -> Response {
    plain_error(StatusCode::NOT_FOUND, "404 page not found")
}

/// To anything but GET.
pub fn method_not_allowed() -> Response {
    let mut response = plain_error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    response
}
