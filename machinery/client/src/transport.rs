//! How requests travel: over TLS to a server, or in memory to an apiserver in the same process.
use async_trait::async_trait;
use bytes::Bytes;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A request or response body; responses of watches and logs stream.
pub type Body = http_body_util::combinators::BoxBody<Bytes, BoxError>;

/// Carries one HTTP exchange. URIs are origin-form (`/api/v1/pods?watch=true`); the implementation
/// knows the authority and the identity. Upgrades (exec, attach, port-forward) use `hyper::upgrade`
/// on the response, which both implementations support.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    async fn send(&self, req: http::Request<Body>) -> Result<http::Response<Body>, BoxError>;
}

pub fn full(b: impl Into<Bytes>) -> Body {
    use http_body_util::BodyExt;
    http_body_util::Full::new(b.into()).map_err(|e| match e {}).boxed()
}
pub fn empty() -> Body {
    full(Bytes::new())
}
