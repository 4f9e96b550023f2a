use crate::storage::Storage;
use keelson_client::Transport;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// How an API server is started. Certificates are PEM files made by whoever composes the cluster.
#[derive(Clone, Debug)]
pub struct Options {
    pub listen: SocketAddr,
    /// Address and port that clients are told (Service `default/kubernetes` endpoints).
    pub advertise: SocketAddr,
    pub tls_cert: PathBuf,
    pub tls_key: PathBuf,
    pub client_ca: PathBuf,
    /// PEM keys: the first private key signs ServiceAccount tokens, all verify.
    pub service_account_key: PathBuf,
    /// `https://kubernetes.default.svc.cluster.local`
    pub service_account_issuer: String,
    /// e.g. `10.96.0.0/16`
    pub service_cidr: ipnet::IpNet,
    /// inclusive
    pub node_port_range: (u16, u16),
    /// Client certificate with which the kubelet's port is called.
    pub kubelet_client_cert: PathBuf,
    pub kubelet_client_key: PathBuf,
    pub kubelet_ca: PathBuf,
}

/// A running API server.
pub struct Server;
impl Server {
    /// Starts serving; returns when `/readyz` would say ok (bootstrap objects written).
    pub async fn start(_options: Options, _storage: Arc<dyn Storage>) -> start::Result<Server> {
        todo!()
    }
    /// An in-memory transport through the full handler chain, under the given identity (as if a client
    /// certificate had said so).
    pub fn transport(&self, _user: &str, _groups: &[&str]) -> Arc<dyn Transport> {
        todo!()
    }
    pub fn local_addr(&self) -> SocketAddr {
        todo!()
    }
    /// Stops taking requests, closes watches, waits for the rest within a bound.
    pub async fn shutdown(self) {
        todo!()
    }
}

/// Errors of start-up: a sentence for the user.
pub mod start {
    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    pub struct Error(pub String);
    pub type Result<T> = std::result::Result<T, Error>;
}
