//! The datastore as a server and as a library: etcd's gRPC services over MVCC and the replicated log.
//!
//! Entry points: [`Server::start`], and [`Kv`], which embeds the store without a socket.

use keelson_proto::etcdserverpb as pb;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// How a single member is started.
#[derive(Clone)]
pub struct Options {
    pub name: String,
    pub data_dir: PathBuf,
    /// Where etcd clients are served; `None` serves none (embedded use only). Port 0 picks a free one.
    pub client_addr: Option<SocketAddr>,
    /// mTLS for `client_addr`; `None` is plaintext.
    pub client_tls: Option<Arc<rustls::ServerConfig>>,
    /// RocksDB block cache, bytes.
    pub cache_bytes: usize,
    /// Physical size at which writes are refused (etcd's `quota-backend-bytes`); 0 means the default of 2 GiB.
    pub quota_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Start(String),
}

/// A running member.
pub struct Server;
impl Server {
    /// Opens or creates the data folder, recovers, and serves. Returns when ready for requests.
    pub async fn start(_options: Options) -> Result<Server, Error> {
        todo!()
    }
    pub fn kv(&self) -> Kv {
        todo!()
    }
    pub fn client_addr(&self) -> Option<SocketAddr> {
        todo!()
    }
    /// Resolves when the store has failed (damage, failed fsync) and must be restarted; carries the reason.
    pub async fn failed(&self) -> String {
        todo!()
    }
    pub async fn shutdown(self) {
        todo!()
    }
}

/// The store in this process. Answers and errors are those of the gRPC services.
#[derive(Clone)]
pub struct Kv;
impl Kv {
    pub async fn range(&self, _r: pb::RangeRequest) -> Result<pb::RangeResponse, tonic::Status> {
        todo!()
    }
    pub async fn put(&self, _r: pb::PutRequest) -> Result<pb::PutResponse, tonic::Status> {
        todo!()
    }
    pub async fn delete_range(&self, _r: pb::DeleteRangeRequest) -> Result<pb::DeleteRangeResponse, tonic::Status> {
        todo!()
    }
    pub async fn txn(&self, _r: pb::TxnRequest) -> Result<pb::TxnResponse, tonic::Status> {
        todo!()
    }
    pub async fn compact(&self, _r: pb::CompactionRequest) -> Result<pb::CompactionResponse, tonic::Status> {
        todo!()
    }
    pub async fn lease_grant(&self, _r: pb::LeaseGrantRequest) -> Result<pb::LeaseGrantResponse, tonic::Status> {
        todo!()
    }
    pub async fn lease_revoke(&self, _r: pb::LeaseRevokeRequest) -> Result<pb::LeaseRevokeResponse, tonic::Status> {
        todo!()
    }
    pub async fn status(&self) -> Result<pb::StatusResponse, tonic::Status> {
        todo!()
    }
    /// One watch stream, as the Watch RPC: requests in, responses out.
    pub fn watch(
        &self,
        _requests: tokio::sync::mpsc::Receiver<pb::WatchRequest>,
    ) -> tokio::sync::mpsc::Receiver<Result<pb::WatchResponse, tonic::Status>> {
        todo!()
    }
}
