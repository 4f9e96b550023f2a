use super::Services;
use futures::stream::{self, BoxStream, StreamExt};
use keelson_proto::health as pb;
use pb::health_check_response::ServingStatus;
use tonic::{Request, Response, Status};

impl Services {
    /// Of the whole server: it serves while it has a leader and its storage works.
    fn serving(&self) -> pb::HealthCheckResponse {
        let healthy = self.core.log.leader().is_some() && self.core.failure.borrow().is_none();
        let status = if healthy {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        pb::HealthCheckResponse { status: status as i32 }
    }
}

#[tonic::async_trait]
impl pb::health_server::Health for Services {
    type WatchStream = BoxStream<'static, Result<pb::HealthCheckResponse, Status>>;

    async fn check(&self, r: Request<pb::HealthCheckRequest>) -> Result<Response<pb::HealthCheckResponse>, Status> {
        if !r.into_inner().service.is_empty() {
            return Err(Status::not_found("unknown service"));
        }
        Ok(Response::new(self.serving()))
    }

    async fn list(&self, _: Request<pb::HealthListRequest>) -> Result<Response<pb::HealthListResponse>, Status> {
        let statuses = [(String::new(), self.serving())].into();
        Ok(Response::new(pb::HealthListResponse { statuses }))
    }

    async fn watch(&self, r: Request<pb::HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let unknown = pb::HealthCheckResponse {
            status: ServingStatus::ServiceUnknown as i32,
        };
        let first = if r.into_inner().service.is_empty() {
            self.serving()
        } else {
            unknown
        };
        // The state lasts as long as the process does; the stream stays open until the server stops.
        let rest = stream::pending().take_until(self.stop.clone().cancelled_owned());
        Ok(Response::new(
            stream::once(async move { Ok(first) }).chain(rest).boxed(),
        ))
    }
}
