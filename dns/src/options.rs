use std::net::SocketAddr;
use std::path::PathBuf;

/// How the DNS server runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// UDP and TCP.
    pub listen: SocketAddr,
    /// e.g. `cluster.local`
    pub cluster_domain: String,
    /// Names the servers that other names are forwarded to.
    pub resolv_conf: PathBuf,
}
