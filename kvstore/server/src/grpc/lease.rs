use super::Services;
use futures::stream::{BoxStream, StreamExt};
use keelson_proto::etcdserverpb as pb;
use tonic::{Request, Response, Status, Streaming};

#[tonic::async_trait]
impl pb::lease_server::Lease for Services {
    type LeaseKeepAliveStream = BoxStream<'static, Result<pb::LeaseKeepAliveResponse, Status>>;

    async fn lease_grant(&self, r: Request<pb::LeaseGrantRequest>) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        self.core.lease_grant(r.into_inner()).await.map(Response::new)
    }

    async fn lease_revoke(
        &self,
        r: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        self.core.lease_revoke(r.into_inner()).await.map(Response::new)
    }

    async fn lease_keep_alive(
        &self,
        r: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let core = self.core.clone();
        let answers = r.into_inner().then(move |request| {
            let core = core.clone();
            async move { core.lease_keep_alive(request?.id).await }
        });
        // The server's end ends the stream, or a shutdown would wait for the client.
        Ok(Response::new(
            answers.take_until(self.stop.clone().cancelled_owned()).boxed(),
        ))
    }

    async fn lease_time_to_live(
        &self,
        r: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        self.core.lease_time_to_live(r.into_inner()).await.map(Response::new)
    }

    async fn lease_leases(
        &self,
        _: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        self.core.lease_leases().await.map(Response::new)
    }
}
