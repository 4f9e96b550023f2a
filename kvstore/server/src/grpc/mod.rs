//! The gRPC services, thin: each call goes to [`crate::core::Core`].

mod auth;
mod cluster;
mod deadline;
mod direct;
mod election;
mod health;
mod kv;
pub mod leader;
mod lease;
mod lock;
mod maintenance;
mod observe;
mod range_stream;
mod reflection;
mod too_large;
mod turns;
mod unknown;
mod watch;

#[cfg(test)]
mod tests;

pub use direct::Direct;

use crate::Limits;
use crate::core::Core;
use axum::Router;
use keelson_proto::{etcdserverpb as pb, health as healthpb, v3electionpb, v3lockpb};
use leader::LeaderLost;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;

/// What all services share.
#[derive(Clone)]
pub struct Services {
    pub core: Arc<Core>,
    pub stop: CancellationToken,
    /// Calls that take longer say what they were about; zero: none.
    pub warning_unary: Duration,
}

/// What stands around the services.
pub struct Surroundings<'a> {
    pub limits: &'a Limits,
    pub warning_unary: Duration,
    pub lost: Arc<LeaderLost>,
}

/// Every service of this member.
pub fn router(services: Services, around: &Surroundings<'_>) -> Router {
    let cap = around.limits.message_bytes();
    let s = || services.clone();
    // What is asked compressed is understood; answers go out as they are, which costs less than it saves.
    macro_rules! service {
        ($server:path) => {{
            use $server as Server;
            Server::new(s())
                .max_decoding_message_size(cap)
                .accept_compressed(CompressionEncoding::Gzip)
        }};
    }
    let routes = Routes::new(service!(pb::kv_server::KvServer))
        .add_service(service!(pb::watch_server::WatchServer))
        .add_service(service!(pb::lease_server::LeaseServer))
        .add_service(service!(pb::cluster_server::ClusterServer))
        .add_service(service!(pb::maintenance_server::MaintenanceServer))
        .add_service(service!(pb::auth_server::AuthServer))
        .add_service(service!(v3lockpb::lock_server::LockServer))
        .add_service(service!(v3electionpb::election_server::ElectionServer))
        .add_service(service!(healthpb::health_server::HealthServer));
    let observe = observe::Observe {
        core: services.core.clone(),
        lost: around.lost.clone(),
        warning_unary: around.warning_unary,
    };
    let in_etcds_words = tower::util::MapResponseLayer::new(move |response| too_large::say_as_etcd(response, cap));
    let metrics = services.core.metrics.clone();
    routes
        .into_axum_router()
        .reset_fallback()
        .layer(in_etcds_words)
        .layer(observe)
        .merge(reflection::router())
        .fallback(move |request| unknown::answer(metrics.clone(), request))
}
