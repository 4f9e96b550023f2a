//! gRPC reflection, `v1` and `v1alpha`: what tools like grpcurl ask first. Its descriptors take memory, so they are
//! decoded with the first question.

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use keelson_proto::{ETCD_DESCRIPTORS, HEALTH_DESCRIPTORS};
use std::sync::{Arc, OnceLock};
use tonic::Status;
use tonic::service::Routes;
use tonic_reflection::server::{Builder, Error};
use tower::ServiceExt;

const PATHS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/{*method}",
    "/grpc.reflection.v1alpha.ServerReflection/{*method}",
];

type Made = Arc<OnceLock<Result<Router, Error>>>;

fn builder() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(ETCD_DESCRIPTORS)
        .register_encoded_file_descriptor_set(HEALTH_DESCRIPTORS)
}

fn make() -> Result<Router, Error> {
    let routes = Routes::new(builder().build_v1()?).add_service(builder().build_v1alpha()?);
    Ok(routes.into_axum_router().reset_fallback())
}

async fn answer(made: Made, request: Request) -> Response {
    match made.get_or_init(make) {
        Ok(router) => router.clone().oneshot(request).await.into_response(),
        Err(error) => Status::internal(format!("set reflection up: {error}")).into_http::<axum::body::Body>(),
    }
}

pub fn router() -> Router {
    let made = Made::default();
    PATHS.into_iter().fold(Router::new(), |router, path| {
        let made = made.clone();
        router.route(path, any(move |request: Request| answer(made.clone(), request)))
    })
}
