//! The gRPC services, thin: each call goes to [`crate::core::Core`].

mod cluster;
mod health;
mod kv;
mod lease;
mod maintenance;
mod range_stream;
mod unsupported;
mod watch;

use crate::core::{Core, MESSAGE_BYTES_MAX};
use keelson_proto::{etcdserverpb as pb, health as healthpb};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

/// What all services share.
#[derive(Clone)]
pub struct Services {
    pub core: Arc<Core>,
    pub stop: CancellationToken,
}

/// Every service of this member.
pub fn routes(services: Services) -> Routes {
    let cap = MESSAGE_BYTES_MAX;
    Routes::new(pb::kv_server::KvServer::new(services.clone()).max_decoding_message_size(cap))
        .add_service(pb::watch_server::WatchServer::new(services.clone()).max_decoding_message_size(cap))
        .add_service(pb::lease_server::LeaseServer::new(services.clone()).max_decoding_message_size(cap))
        .add_service(pb::cluster_server::ClusterServer::new(services.clone()).max_decoding_message_size(cap))
        .add_service(pb::maintenance_server::MaintenanceServer::new(services.clone()).max_decoding_message_size(cap))
        .add_service(pb::auth_server::AuthServer::new(services.clone()).max_decoding_message_size(cap))
        .add_service(healthpb::health_server::HealthServer::new(services).max_decoding_message_size(cap))
}
