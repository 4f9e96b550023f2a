//! Plain HTTP beside gRPC on the client port: health, version, metrics, the JSON gateway; everything else is told what
//! it is not.
//!
//! Every answer carries etcd's CORS headers; without TLS the name that was asked for has to be on the list of hosts.

mod access;
mod answer;
mod checks;
mod health;
mod query;
mod split;

pub use answer::{method_not_allowed, not_found};
pub use health::serve as health;
pub use split::{Routers, Split};

use crate::core::Core;
use crate::gateway::Gateway;
use crate::grpc::Direct;
use crate::{HttpOptions, Limits, facts, metrics};
use access::Access;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::Method;
use http::header::CONTENT_TYPE;
use std::sync::Arc;

/// What the ports answer, gRPC by the given router.
pub fn routers(grpc: Router, direct: Direct, core: &Arc<Core>, options: &HttpOptions, limits: &Limits) -> Routers {
    let access = Access::new(options, core.clone());
    let health = Router::new()
        .route("/health", any(health::serve))
        .merge(checks::routes())
        .route("/metrics", any(metrics::serve));
    let mut http = health.clone().route("/version", any(version));
    if options.gateway {
        let gateway = Gateway::new(grpc.clone(), limits.message_bytes());
        for path in ["/v3/{*rest}", "/v3beta/{*rest}"] {
            let gateway = gateway.clone();
            http = http.route(path, any(move |request: Request| gateway.clone().serve(request)));
        }
    }
    let finish = |router: Router<Arc<Core>>, access: Access| {
        let router = router
            .fallback(|| async { answer::not_found() })
            .with_state(core.clone());
        router.layer(axum::middleware::from_fn_with_state(access, access::control))
    };
    Routers {
        direct: Arc::new(direct),
        grpc,
        http: finish(http, access.clone()),
        metrics: finish(health, access),
    }
}

/// `/version`, as etcd has it.
pub async fn version(State(core): State<Arc<Core>>, method: Method) -> Response {
    if method != Method::GET {
        return answer::method_not_allowed();
    }
    let (cluster, storage) = facts::versions(&core);
    let told = format!(
        "{{\"etcdserver\":\"{}\",\"etcdcluster\":\"{cluster}\",\"storage\":\"{storage}\"}}",
        crate::core::VERSION
    );
    ([(CONTENT_TYPE, "application/json")], told).into_response()
}
