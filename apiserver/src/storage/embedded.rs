//! The Storage trait over the store in this process: no socket, no copy of values.
use super::etcd3::{Calls, Etcd3, WatchStream};
use keelson_kvstore::Kv;
use keelson_proto::etcdserverpb as pb;
use tokio::sync::mpsc;

/// [`super::Storage`] over the embedded store.
pub type Embedded = Etcd3<Kv>;

pub fn embedded(kv: Kv) -> Embedded {
    Etcd3::new(kv)
}

#[async_trait::async_trait]
impl Calls for Kv {
    async fn range(&self, r: pb::RangeRequest) -> Result<pb::RangeResponse, tonic::Status> {
        Kv::range(self, r).await
    }
    async fn txn(&self, r: pb::TxnRequest) -> Result<pb::TxnResponse, tonic::Status> {
        Kv::txn(self, r).await
    }
    async fn compact(&self, r: pb::CompactionRequest) -> Result<(), tonic::Status> {
        Kv::compact(self, r).await.map(drop)
    }
    async fn lease_grant(&self, r: pb::LeaseGrantRequest) -> Result<pb::LeaseGrantResponse, tonic::Status> {
        Kv::lease_grant(self, r).await
    }
    async fn watch(&self, requests: mpsc::Receiver<pb::WatchRequest>) -> Result<WatchStream, tonic::Status> {
        Ok(Box::pin(tokio_stream::wrappers::ReceiverStream::new(Kv::watch(
            self, requests,
        ))))
    }
}
