//! The store embedded: the services' answers without a socket.

use crate::auth::Caller;
use crate::core::Core;
use crate::{status, watch};
use keelson_proto::etcdserverpb as pb;
use std::sync::{Arc, Weak};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Answers of a watch stream that wait for the embedder.
const WATCH_RESPONSES_WAITING_MAX: usize = 16;

/// The store in this process. Answers and errors are those of the gRPC services.
#[derive(Clone)]
pub struct Kv {
    /// Weak, so that a handle left over does not keep the files of a stopped member open.
    pub(crate) core: Weak<Core>,
    pub(crate) stop: CancellationToken,
}

impl Kv {
    fn core(&self) -> Result<Arc<Core>, Status> {
        self.core.upgrade().ok_or_else(status::stopped)
    }

    pub async fn range(&self, r: pb::RangeRequest) -> Result<pb::RangeResponse, Status> {
        self.core()?.range(&Caller::Member, r).await
    }

    pub async fn put(&self, r: pb::PutRequest) -> Result<pb::PutResponse, Status> {
        self.core()?.put(&Caller::Member, r).await
    }

    pub async fn delete_range(&self, r: pb::DeleteRangeRequest) -> Result<pb::DeleteRangeResponse, Status> {
        self.core()?.delete_range(&Caller::Member, r).await
    }

    pub async fn txn(&self, r: pb::TxnRequest) -> Result<pb::TxnResponse, Status> {
        self.core()?.txn(&Caller::Member, r).await
    }

    pub async fn compact(&self, r: pb::CompactionRequest) -> Result<pb::CompactionResponse, Status> {
        self.core()?.compact(&Caller::Member, r).await
    }

    pub async fn lease_grant(&self, r: pb::LeaseGrantRequest) -> Result<pb::LeaseGrantResponse, Status> {
        self.core()?.lease_grant(&Caller::Member, r).await
    }

    pub async fn lease_revoke(&self, r: pb::LeaseRevokeRequest) -> Result<pb::LeaseRevokeResponse, Status> {
        self.core()?.lease_revoke(&Caller::Member, r).await
    }

    pub async fn lease_keep_alive(&self, id: i64) -> Result<pb::LeaseKeepAliveResponse, Status> {
        self.core()?.lease_keep_alive(&Caller::Member, id).await
    }

    pub async fn lease_time_to_live(
        &self,
        r: pb::LeaseTimeToLiveRequest,
    ) -> Result<pb::LeaseTimeToLiveResponse, Status> {
        self.core()?.lease_time_to_live(&Caller::Member, r).await
    }

    pub async fn status(&self) -> Result<pb::StatusResponse, Status> {
        self.core()?.member_status()
    }

    /// One watch stream, as the Watch RPC: requests in, responses out. It ends when the receiver is dropped.
    pub fn watch(&self, requests: mpsc::Receiver<pb::WatchRequest>) -> WatchResponses {
        let (sender, receiver) = mpsc::channel(WATCH_RESPONSES_WAITING_MAX);
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        match self.core() {
            Ok(core) => drop(tokio::spawn(watch::stream::run(
                core,
                Caller::Member,
                requests,
                sender,
                self.stop.clone(),
            ))),
            Err(stopped) => drop(sender.try_send(Err(stopped))),
        }
        receiver
    }
}

pub type WatchResponses = mpsc::Receiver<Result<pb::WatchResponse, Status>>;
