use super::Services;
use crate::status::not_implemented;
use futures::stream::BoxStream;
use keelson_proto::etcdserverpb as pb;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl pb::maintenance_server::Maintenance for Services {
    type SnapshotStream = BoxStream<'static, Result<pb::SnapshotResponse, Status>>;

    async fn alarm(&self, r: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        self.core.alarm(r.into_inner()).await.map(Response::new)
    }

    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        self.core.member_status().map(Response::new)
    }

    async fn defragment(&self, _: Request<pb::DefragmentRequest>) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.core.on_the_side(|store| Ok(store.reclaim()?)).await?;
        self.core.quota.remeasure();
        // Without a header, as etcd's.
        Ok(Response::new(pb::DefragmentResponse { header: None }))
    }

    async fn hash(&self, _: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        let hashed = self.core.on_the_side(|store| store.hash(0)).await?;
        Ok(Response::new(pb::HashResponse {
            header: self.core.current_header(),
            hash: hashed.hash,
        }))
    }

    async fn hash_kv(&self, r: Request<pb::HashKvRequest>) -> Result<Response<pb::HashKvResponse>, Status> {
        let revision = r.into_inner().revision;
        let hashed = self.core.on_the_side(move |store| store.hash(revision)).await?;
        Ok(Response::new(pb::HashKvResponse {
            header: self.core.current_header(),
            hash: hashed.hash,
            compact_revision: hashed.compacted,
            hash_revision: hashed.revision,
        }))
    }

    async fn snapshot(&self, _: Request<pb::SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(not_implemented("Snapshot"))
    }

    async fn move_leader(&self, _: Request<pb::MoveLeaderRequest>) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        Err(not_implemented("MoveLeader"))
    }

    async fn downgrade(&self, _: Request<pb::DowngradeRequest>) -> Result<Response<pb::DowngradeResponse>, Status> {
        Err(not_implemented("Downgrade"))
    }
}
