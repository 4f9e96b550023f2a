//! The way of a request: who asks, what about, whether they may, and then the registry.
//!
//! Order (upstream: DefaultBuildHandlerChain): panic guard, authentication, limit on requests in flight,
//! impersonation, authorization, deadline, dispatch.

mod body;
mod discovery;
mod health;
mod impersonate;
mod list;
mod negotiate;
mod openapi;
mod request;
mod resources;
mod respond;
mod watch;

pub use request::{Info, Query};

use crate::auth::tokens::Tokens;
use crate::auth::{Attributes, Authenticator, Authorizer, Decision, UserInfo, forbidden};
use crate::registry::Registry;
use crate::streaming::Streaming;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use keelson_client::Body;
use keelson_machinery::status::ApiError;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Requests under way at once (upstream: max-requests-inflight and max-mutating-requests-inflight).
const READS_IN_FLIGHT_MAX: usize = 400;
const WRITES_IN_FLIGHT_MAX: usize = 200;
/// Deadline of a request that does not stream (upstream: request-timeout).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Everything that a request may need.
pub struct Api {
    pub registry: Arc<Registry>,
    pub authenticator: Arc<dyn Authenticator>,
    pub authorizer: Arc<dyn Authorizer>,
    pub tokens: Arc<Tokens>,
    pub streaming: Arc<Streaming>,
    /// `host:port` that clients are told.
    pub advertise: String,
    /// Set when the bootstrap objects are written.
    pub ready: AtomicBool,
    /// Answers by verb and code.
    pub counts: Mutex<BTreeMap<(String, u16), u64>>,
    reads: Semaphore,
    writes: Semaphore,
}

/// Who a connection's certificate, or the process itself, says is asking.
#[derive(Clone, Debug, Default)]
pub struct Peer(pub Option<UserInfo>);

impl Api {
    pub fn new(
        registry: Arc<Registry>,
        authenticator: Arc<dyn Authenticator>,
        authorizer: Arc<dyn Authorizer>,
        tokens: Arc<Tokens>,
        streaming: Arc<Streaming>,
        advertise: String,
    ) -> Self {
        Api {
            registry,
            authenticator,
            authorizer,
            tokens,
            streaming,
            advertise,
            ready: AtomicBool::new(false),
            counts: Mutex::default(),
            reads: Semaphore::new(READS_IN_FLIGHT_MAX),
            writes: Semaphore::new(WRITES_IN_FLIGHT_MAX),
        }
    }

    /// Answers one request. Never fails and never panics: what goes wrong is a Status.
    /// Boxed, so that the chain's many lifetimes end here.
    pub fn handle(self: Arc<Self>, peer: Arc<Peer>, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        Box::pin(async move { self.guarded(&peer, request).await })
    }

    async fn guarded(&self, peer: &Peer, request: Request<Body>) -> Response<Body> {
        let info = Info::parse(request.method(), request.uri());
        let encoding = resources::error_encoding(request.headers());
        let outcome = AssertUnwindSafe(self.answer(peer, &info, request)).catch_unwind().await;
        let response = match outcome {
            Ok(Ok(r)) => r,
            Ok(Err(e)) => respond::error(&e, encoding),
            Err(_) => {
                tracing::error!(path = %info.path, verb = %info.verb, "a handler panicked");
                respond::error(
                    &ApiError::internal("this request caused apiserver to panic. Look in the logs for details."),
                    encoding,
                )
            }
        };
        *self
            .counts
            .lock()
            .entry((info.verb, response.status().as_u16()))
            .or_default() += 1;
        response
    }

    async fn answer(&self, peer: &Peer, info: &Info, request: Request<Body>) -> Result<Response<Body>, ApiError> {
        let user = self
            .authenticator
            .authenticate(peer.0.as_ref(), request.headers())
            .await?;
        let streams = info.verb == "watch" || self.streaming.handles(info);
        let _permit = if streams {
            None
        } else {
            Some(self.admit_in_flight(info)?)
        };
        let user = impersonate::apply(&*self.authorizer, user, request.headers())?;
        self.authorize(info.attributes(user.clone()))?;
        // A WebSocket opens with GET: whoever may only read pods must not get a shell by it
        // (upstream: AuthorizePodWebsocketUpgradeCreatePermission).
        if info.is_resource
            && info.verb != "create"
            && matches!(info.subresource.as_str(), "exec" | "attach" | "portforward")
        {
            let mut attributes = info.attributes(user.clone());
            attributes.verb = "create".into();
            self.authorize(attributes)?;
        }
        let dispatch = self.dispatch(info, user, request);
        if streams {
            return dispatch.await;
        }
        match tokio::time::timeout(REQUEST_TIMEOUT, dispatch).await {
            Ok(r) => r,
            Err(_) => Err(ApiError::timeout(
                "request did not complete within requested timeout - context deadline exceeded",
                0,
            )),
        }
    }

    fn authorize(&self, attributes: Attributes) -> Result<(), ApiError> {
        match self.authorizer.authorize(&attributes) {
            Decision::Allow => Ok(()),
            Decision::Deny(reason) => Err(forbidden(&attributes, &reason)),
        }
    }

    fn admit_in_flight(&self, info: &Info) -> Result<tokio::sync::SemaphorePermit<'_>, ApiError> {
        let reads = matches!(info.verb.as_str(), "get" | "list" | "head" | "options");
        let lane = if reads { &self.reads } else { &self.writes };
        lane.try_acquire()
            .map_err(|_| ApiError::too_many_requests("too many requests, please try again later", 1))
    }

    async fn dispatch(&self, info: &Info, user: UserInfo, request: Request<Body>) -> Result<Response<Body>, ApiError> {
        if !info.is_resource {
            return self.other(info, &request).await;
        }
        if self.streaming.handles(info) {
            return self.streaming.serve(info, request).await;
        }
        let (head, body) = request.into_parts();
        let wanted = negotiate::accept(&head.headers)?;
        let call = resources::Call {
            api: self,
            info,
            user,
            headers: &head.headers,
            resource: resources::row(info)?,
            wanted,
        };
        let body = match info.verb.as_str() {
            "get" | "list" | "watch" => bytes::Bytes::new(),
            _ => body::read(body).await?,
        };
        call.run(body).await
    }

    async fn other(&self, info: &Info, request: &Request<Body>) -> Result<Response<Body>, ApiError> {
        let read_only = matches!(info.verb.as_str(), "get" | "head");
        if !read_only {
            return Err(ApiError::new(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            ));
        }
        if let Some(r) = health::respond(self, info).await {
            return Ok(r);
        }
        match info.path.trim_end_matches('/') {
            "/version" => return Ok(health::version()),
            "/metrics" => return Ok(health::metrics(self)),
            "/.well-known/openid-configuration" => {
                return Ok(respond::json_value(200, &self.tokens.openid_configuration()));
            }
            "/openid/v1/jwks" => return Ok(respond::json_value(200, &self.tokens.jwks())),
            _ => {}
        }
        if let Some(r) = discovery::respond(&info.path, request.headers(), &self.advertise) {
            return r;
        }
        if let Some(r) = openapi::respond(&info.path, request.headers()) {
            return Ok(r);
        }
        if info.path == "/" {
            let paths = [
                "/api",
                "/api/v1",
                "/apis",
                "/healthz",
                "/livez",
                "/metrics",
                "/openapi/v2",
                "/openapi/v3",
                "/readyz",
                "/version",
            ];
            return Ok(respond::json_value(200, &serde_json::json!({"paths": paths})));
        }
        Err(ApiError::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        ))
    }
}
