use super::Services;
use crate::status::not_implemented;
use keelson_proto::etcdserverpb as pb;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl pb::cluster_server::Cluster for Services {
    async fn member_list(&self, r: Request<pb::MemberListRequest>) -> Result<Response<pb::MemberListResponse>, Status> {
        if r.into_inner().linearizable {
            self.core.barrier().await?;
        }
        // Headers of this service carry no revision.
        let header = Some(self.core.header(0));
        Ok(Response::new(pb::MemberListResponse {
            header,
            members: self.core.members(),
        }))
    }

    async fn member_add(&self, _: Request<pb::MemberAddRequest>) -> Result<Response<pb::MemberAddResponse>, Status> {
        Err(not_implemented("MemberAdd"))
    }

    async fn member_remove(
        &self,
        _: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        Err(not_implemented("MemberRemove"))
    }

    async fn member_update(
        &self,
        _: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        Err(not_implemented("MemberUpdate"))
    }

    async fn member_promote(
        &self,
        _: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        Err(not_implemented("MemberPromote"))
    }
}
