use super::Services;
use crate::auth::Caller;
use crate::status;
use futures::future::ready;
use futures::stream::{self, BoxStream, StreamExt};
use keelson_proto::etcdserverpb as pb;
use tonic::{Request, Response, Status, Streaming};

#[tonic::async_trait]
impl pb::lease_server::Lease for Services {
    type LeaseKeepAliveStream = BoxStream<'static, Result<pb::LeaseKeepAliveResponse, Status>>;

    async fn lease_grant(&self, r: Request<pb::LeaseGrantRequest>) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        self.core
            .lease_grant(&Caller::of(&r), r.into_inner())
            .await
            .map(Response::new)
    }

    async fn lease_revoke(
        &self,
        r: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        self.core
            .lease_revoke(&Caller::of(&r), r.into_inner())
            .await
            .map(Response::new)
    }

    async fn lease_keep_alive(
        &self,
        r: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let core = self.core.clone();
        let caller = Caller::of(&r);
        let answers = r.into_inner().then(move |request| {
            let (core, caller) = (core.clone(), caller.clone());
            async move { core.lease_keep_alive(&caller, request?.id).await }
        });
        // The server's end ends the stream, or a shutdown would wait for the client.
        let stop = self.stop.clone();
        let stopped = stream::once(async move { stop.is_cancelled() })
            .filter_map(|stopped| ready(stopped.then(|| Err(status::stopped()))));
        let answers = answers.take_until(self.stop.clone().cancelled_owned()).chain(stopped);
        // So does the first error, as etcd's.
        let until_error = answers.scan(false, |failed, answer| {
            let goes_on = !*failed;
            *failed = answer.is_err();
            ready(goes_on.then_some(answer))
        });
        Ok(Response::new(until_error.boxed()))
    }

    async fn lease_time_to_live(
        &self,
        r: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        self.core
            .lease_time_to_live(&Caller::of(&r), r.into_inner())
            .await
            .map(Response::new)
    }

    async fn lease_leases(
        &self,
        r: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        self.core.lease_leases(&Caller::of(&r)).await.map(Response::new)
    }
}
