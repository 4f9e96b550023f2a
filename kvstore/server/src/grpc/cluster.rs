use super::Services;
use crate::auth::Caller;
use keelson_proto::etcdserverpb as pb;
use tonic::{Request, Response, Status};

impl Services {
    /// Headers of this service carry no revision.
    fn cluster_header(&self) -> Option<pb::ResponseHeader> {
        Some(self.core.header(0))
    }
}

#[tonic::async_trait]
impl pb::cluster_server::Cluster for Services {
    async fn member_list(&self, r: Request<pb::MemberListRequest>) -> Result<Response<pb::MemberListResponse>, Status> {
        let caller = Caller::of(&r);
        if r.into_inner().linearizable {
            self.core.barrier().await?;
        }
        self.core.require_anybody(&caller).await?;
        Ok(Response::new(pb::MemberListResponse {
            header: self.cluster_header(),
            members: self.core.cluster.members(),
        }))
    }

    async fn member_add(&self, r: Request<pb::MemberAddRequest>) -> Result<Response<pb::MemberAddResponse>, Status> {
        self.core.require_admin(&Caller::of(&r)).await?;
        let r = r.into_inner();
        let (member, members) = self.core.cluster.add(&r.peer_ur_ls, r.is_learner).await?;
        Ok(Response::new(pb::MemberAddResponse {
            header: self.cluster_header(),
            member: Some(member),
            members,
        }))
    }

    async fn member_remove(
        &self,
        r: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        self.core.require_admin(&Caller::of(&r)).await?;
        let members = self.core.cluster.remove(r.into_inner().id).await?;
        Ok(Response::new(pb::MemberRemoveResponse {
            header: self.cluster_header(),
            members,
        }))
    }

    async fn member_update(
        &self,
        r: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        self.core.require_admin(&Caller::of(&r)).await?;
        let r = r.into_inner();
        let members = self.core.cluster.update(r.id, &r.peer_ur_ls).await?;
        Ok(Response::new(pb::MemberUpdateResponse {
            header: self.cluster_header(),
            members,
        }))
    }

    async fn member_promote(
        &self,
        r: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        self.core.require_admin(&Caller::of(&r)).await?;
        let members = self.core.cluster.promote(r.into_inner().id).await?;
        Ok(Response::new(pb::MemberPromoteResponse {
            header: self.cluster_header(),
            members,
        }))
    }
}
