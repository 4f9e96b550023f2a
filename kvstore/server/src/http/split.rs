//! gRPC and plain HTTP on one port, told apart by the content type, and what each kind of port answers.

use crate::Serves;
use crate::grpc::Direct;
use axum::Router;
use axum::routing::future::RouteFuture;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response};
use http_body::Body as HttpBody;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{BoxError, Service};

/// One of it serves a port.
#[derive(Clone)]
pub struct Split {
    direct: Option<Arc<Direct>>,
    grpc: Router,
    http: Router,
    serves: Serves,
}

/// The routers behind every port.
#[derive(Clone)]
pub struct Routers {
    /// gRPC's most frequent calls.
    pub direct: Arc<Direct>,
    /// All of gRPC's.
    pub grpc: Router,
    pub http: Router,
    /// Metrics and health only.
    pub metrics: Router,
}

impl Routers {
    pub fn on(&self, serves: Serves) -> Split {
        let http = match serves {
            Serves::Metrics => &self.metrics,
            Serves::All | Serves::Grpc | Serves::Http => &self.http,
        };
        let direct = match serves {
            Serves::All | Serves::Grpc => Some(self.direct.clone()),
            Serves::Http | Serves::Metrics => None,
        };
        Split {
            direct,
            grpc: self.grpc.clone(),
            http: http.clone(),
            serves,
        }
    }
}

impl Split {
    /// Both kinds on one port.
    pub fn of(grpc: Router, http: Router) -> Split {
        Split {
            direct: None,
            grpc,
            http,
            serves: Serves::All,
        }
    }

    /// Who answers calls without a router, where there is one.
    pub fn direct(&self) -> Option<&Arc<Direct>> {
        self.direct.as_ref()
    }
}

pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"))
}

impl<B> Service<Request<B>> for Split
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<axum::body::Body>;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Routers are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> RouteFuture<Infallible> {
        let grpc = match self.serves {
            Serves::Grpc => true,
            Serves::Http | Serves::Metrics => false,
            Serves::All => is_grpc(request.headers()),
        };
        let router = if grpc { &mut self.grpc } else { &mut self.http };
        Service::<Request<B>>::call(router, request)
    }
}
