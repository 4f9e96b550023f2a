use ipnet::IpNet;
use std::net::IpAddr;

/// How the proxy of one node runs.
#[derive(Clone, Debug)]
pub struct Options {
    pub node_name: String,
    pub node_ip: IpAddr,
    /// Name of the nftables table (family inet) that is ours alone.
    pub table: String,
    /// Addresses of pods: traffic between them is never masqueraded, traffic to elsewhere is.
    pub cluster_cidr: IpNet,
    /// Addresses of Services: what no Service has is rejected.
    pub service_cidr: IpNet,
}
