use super::Services;
use crate::auth::Caller;
use crate::{archive, status};
use keelson_proto::etcdserverpb as pb;
use keelson_raft::runtime;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl pb::maintenance_server::Maintenance for Services {
    type SnapshotStream = archive::SnapshotStream;

    async fn alarm(&self, r: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        self.core
            .alarm(&Caller::of(&r), r.into_inner())
            .await
            .map(Response::new)
    }

    async fn status(&self, r: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        self.core.require_anybody(&Caller::of(&r)).await?;
        self.core.member_status().map(Response::new)
    }

    async fn defragment(&self, r: Request<pb::DefragmentRequest>) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.core.require_admin(&Caller::of(&r)).await?;
        let times = &self.core.metrics.store;
        let timed = times.defragment_seconds.time();
        let in_flight = times.defragmenting.enter();
        self.core.on_the_side(|store| Ok(store.reclaim()?)).await?;
        drop((timed, in_flight));
        self.core.quota.remeasure();
        // Without a header, as etcd's.
        Ok(Response::new(pb::DefragmentResponse { header: None }))
    }

    async fn hash(&self, r: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        self.core.require_admin(&Caller::of(&r)).await?;
        let (store, members) = (self.core.store.clone(), self.core.cluster.members());
        let timed = self.core.metrics.store.hash_seconds.time();
        let hashed = runtime::spawn_aside("hash", move || archive::hash(&store, &members)).await;
        let (hash, revision) = hashed
            .map_err(|_| status::stopped())?
            .map_err(|e| Status::internal(format!("etcdserver: {e}")))?;
        drop(timed);
        Ok(Response::new(pb::HashResponse {
            header: Some(self.core.header(revision)),
            hash,
        }))
    }

    async fn hash_kv(&self, r: Request<pb::HashKvRequest>) -> Result<Response<pb::HashKvResponse>, Status> {
        self.core.require_admin(&Caller::of(&r)).await?;
        let revision = r.into_inner().revision;
        let timed = self.core.metrics.store.hash_revision_seconds.time();
        let hashed = self.core.on_the_side(move |store| store.hash(revision)).await?;
        drop(timed);
        Ok(Response::new(pb::HashKvResponse {
            header: self.core.current_header(),
            hash: hashed.hash,
            compact_revision: hashed.compacted,
            hash_revision: hashed.revision,
        }))
    }

    async fn snapshot(&self, r: Request<pb::SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        self.core.require_admin(&Caller::of(&r)).await?;
        archive::open(
            self.core.store.clone(),
            self.core.cluster.members(),
            &self.core.snapshots,
        )
        .map(Response::new)
    }

    async fn move_leader(&self, r: Request<pb::MoveLeaderRequest>) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        self.core.require_admin(&Caller::of(&r)).await?;
        self.core.cluster.move_leader(r.into_inner().target_id).await?;
        // Without a header, as etcd's.
        Ok(Response::new(pb::MoveLeaderResponse { header: None }))
    }

    async fn downgrade(&self, r: Request<pb::DowngradeRequest>) -> Result<Response<pb::DowngradeResponse>, Status> {
        self.core.require_admin(&Caller::of(&r)).await?;
        self.core.downgrade(r.into_inner()).await.map(Response::new)
    }
}
