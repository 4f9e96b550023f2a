//! Clusters of several whole members in this process, over real ports, driven by gRPC stubs.
#![allow(clippy::unwrap_used)]

mod corruption;
mod downgrade;
mod etcds;
mod fixture;
mod leaders;
mod leases;
mod logged;
mod membership;
mod snapshots;
mod space;
mod starts;
