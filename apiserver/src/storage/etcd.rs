//! The Storage trait over any etcd v3, by gRPC.
