//! Answers of the gateway: statuses and bodies as grpc-gateway writes them.

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::json;
use tonic::{Code, Status};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const METADATA_CONTENT_TYPE: HeaderName = HeaderName::from_static("grpc-metadata-content-type");

/// grpc-gateway's mapping (`runtime/errors.go`).
pub fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn body_of(status: &Status) -> serde_json::Value {
    json!({ "code": status.code() as i32, "message": status.message() })
}

pub fn error(status: &Status) -> Response<Body> {
    error_as(http_status(status.code()), status)
}

/// Where the HTTP status is not that of the code.
pub fn error_as(http: StatusCode, status: &Status) -> Response<Body> {
    let mut response = Response::new(Body::from(body_of(status).to_string()));
    *response.status_mut() = http;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    if status.code() == Code::Unauthenticated
        && let Ok(message) = HeaderValue::from_str(status.message())
    {
        response.headers_mut().insert(WWW_AUTHENTICATE, message);
    }
    response
}

/// What a stream says when it fails after it has begun.
pub fn error_line(status: &Status) -> Bytes {
    let mut line = json!({ "error": body_of(status) }).to_string();
    line.push('\n');
    Bytes::from(line)
}

/// One message of a stream.
pub fn result_line(message: &[u8]) -> Bytes {
    let mut line = Vec::with_capacity(message.len() + 12);
    line.extend_from_slice(b"{\"result\":");
    line.extend_from_slice(message);
    line.extend_from_slice(b"}\n");
    Bytes::from(line)
}

pub fn ok(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(METADATA_CONTENT_TYPE, GRPC);
    response
}
