//! Calls that there are none of, told in grpc-go's words.

use crate::metrics::Metrics;
use axum::body::Body;
use http::{Request, Response};
use std::sync::Arc;
use tonic::Status;

pub async fn answer(metrics: Arc<Metrics>, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path().trim_start_matches('/');
    let message = match path.rsplit_once('/') {
        None => format!("malformed method name: \"/{path}\""),
        Some((service, method)) if metrics.calls.has_service(service) => {
            format!("unknown method {method} for service {service}")
        }
        Some((service, _)) => format!("unknown service {service}"),
    };
    Status::unimplemented(message).into_http()
}
