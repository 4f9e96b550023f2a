//! Wire formats: messages and gRPC stubs generated from the `.proto` files of this crate.
//!
//! What it is: the etcd v3 API (names and field numbers of etcd 3.7), the gRPC health check, and the envelope of
//! our own log entries. `bytes` fields are [`bytes::Bytes`], so that decoding slices the received buffer.
//!
//! What it is not: there is no behaviour here, and nothing that two crates share beyond a wire format.
//!
//! Invariants: field numbers and names are those of the upstream protocol; changing one breaks foreign clients.
//! Entry points: one module per protobuf package.

/// Key-value pairs and events of etcd.
#[allow(clippy::all, missing_docs)]
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// Users, roles and permissions of etcd.
#[allow(clippy::all, missing_docs)]
pub mod authpb {
    tonic::include_proto!("authpb");
}

/// etcd's services: KV, Watch, Lease, Cluster, Maintenance, Auth.
#[allow(clippy::all, missing_docs)]
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// etcd's lock service.
#[allow(clippy::all, missing_docs)]
pub mod v3lockpb {
    tonic::include_proto!("v3lockpb");
}

/// etcd's election service.
#[allow(clippy::all, missing_docs)]
pub mod v3electionpb {
    tonic::include_proto!("v3electionpb");
}

/// The standard gRPC health check, `grpc.health.v1`.
#[allow(clippy::all, missing_docs)]
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}

/// The services above as an encoded `FileDescriptorSet`, without comments: etcd's.
pub const ETCD_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/etcd.bin"));
/// The same of the health check.
pub const HEALTH_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/grpc.bin"));

/// The envelope of Keelson's log entries.
#[allow(clippy::all, missing_docs)]
pub mod command {
    tonic::include_proto!("keelson.kvstore.v1");
}

/// What members of one group of the datastore say to each other, `keelson.peer.v1`.
#[allow(clippy::all, missing_docs)]
pub mod peer {
    tonic::include_proto!("keelson.peer.v1");
}

/// What the datastore's servers ask of each other, `keelson.ask.v1`.
#[allow(clippy::all, missing_docs)]
pub mod ask {
    tonic::include_proto!("keelson.ask.v1");
}

/// The Container Runtime Interface, `runtime.v1`.
#[allow(clippy::all, missing_docs, non_snake_case)]
pub mod cri {
    tonic::include_proto!("runtime.v1");
}

/// containerd's own event stream.
#[allow(clippy::all, missing_docs)]
pub mod containerd_events {
    tonic::include_proto!("containerd.services.events.v1");
}
