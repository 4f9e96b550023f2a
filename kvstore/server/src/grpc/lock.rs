//! Locks: whoever holds the oldest key below a name has the lock; the others wait for the one before them.

use super::Services;
use super::turns::{
    Cleanup, created_at, delete, first_created, found, get, key, one, prefix, put, revision_of, through_a_client,
};
use crate::auth::Caller;
use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use keelson_proto::v3lockpb as lock;
use tonic::{Request, Response, Status};

const EXPIRED: &str = "mutex: session is expired";

impl Services {
    async fn lock_for(&self, caller: Caller, r: lock::LockRequest) -> Result<lock::LockResponse, Status> {
        let lease = self.session(&caller, r.lease).await?;
        let (prefix, mine) = (prefix(&r.name), key(&r.name, lease));
        // A key of this lease that is there already keeps its place: the lock is re-entrant.
        let take = pb::TxnRequest {
            compare: vec![created_at(mine.clone(), 0)],
            success: vec![put(mine.clone(), Bytes::new(), lease), get(first_created(&prefix))],
            failure: vec![get(one(mine.clone())), get(first_created(&prefix))],
        };
        let taken = self.core.txn(&caller, take).await?;
        let created = if taken.succeeded {
            revision_of(taken.header.as_ref())
        } else {
            found(&taken, 0).map_or(0, |kv| kv.create_revision)
        };
        let owner = found(&taken, 1);
        if owner.is_none_or(|kv| kv.create_revision == created) {
            return Ok(lock::LockResponse {
                header: taken.header,
                key: mine,
            });
        }
        let give_up = pb::TxnRequest {
            success: vec![delete(mine.clone())],
            ..Default::default()
        };
        let waiting = Cleanup::new(self, &caller, give_up);
        self.wait_for_elders(&caller, &prefix, created).await?;
        let read = self.core.range(&caller, one(mine.clone())).await?;
        waiting.disarm();
        if read.kvs.is_empty() && !seeded!(LockWithoutLeaseCheck) {
            return Err(Status::unknown(EXPIRED));
        }
        Ok(lock::LockResponse {
            header: read.header,
            key: mine,
        })
    }
}

#[tonic::async_trait]
impl lock::lock_server::Lock for Services {
    async fn lock(&self, r: Request<lock::LockRequest>) -> Result<Response<lock::LockResponse>, Status> {
        let caller = Caller::of(&r);
        let waiting = self.lock_for(caller, r.into_inner());
        tokio::select! {
            outcome = waiting => outcome.map(Response::new).map_err(through_a_client),
            () = self.stop.cancelled() => Err(crate::status::stopped()),
        }
    }

    async fn unlock(&self, r: Request<lock::UnlockRequest>) -> Result<Response<lock::UnlockResponse>, Status> {
        let caller = Caller::of(&r);
        let request = pb::DeleteRangeRequest {
            key: r.into_inner().key,
            ..Default::default()
        };
        let deleted = self
            .core
            .delete_range(&caller, request)
            .await
            .map_err(through_a_client)?;
        Ok(Response::new(lock::UnlockResponse { header: deleted.header }))
    }
}
