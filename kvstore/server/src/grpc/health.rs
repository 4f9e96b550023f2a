//! The standard health check. It speaks of the whole server: etcd names no single services either.

use super::Services;
use futures::stream::{self, BoxStream, StreamExt};
use keelson_proto::health as pb;
use pb::health_check_response::ServingStatus;
use tonic::{Request, Response, Status};

impl Services {
    /// Of the whole server: it serves while its storage works. Without a leader it does too, as etcd does: `/health` and
    /// `/readyz` tell of that, and a client that is sent away from every member would have none left to ask.
    fn serving(&self) -> pb::HealthCheckResponse {
        health(self.core.failure.borrow().is_none())
    }
}

fn health(works: bool) -> pb::HealthCheckResponse {
    let status = if works {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    pb::HealthCheckResponse { status: status as i32 }
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
        if first.status == ServingStatus::ServiceUnknown as i32 {
            // It stays unknown; the stream stays open until the server stops.
            let rest = stream::pending().take_until(self.stop.clone().cancelled_owned());
            let answers = stream::once(async move { Ok(first) }).chain(rest);
            return Ok(Response::new(answers.boxed()));
        }
        let failure = self.core.failure.subscribe();
        let changes = stream::unfold((failure, None), |(mut failure, told)| async move {
            let works = failure.wait_for(|f| told != Some(f.is_none())).await.ok()?.is_none();
            Some((Ok(health(works)), (failure, Some(works))))
        });
        let answers = changes.take_until(self.stop.clone().cancelled_owned());
        Ok(Response::new(answers.boxed()))
    }
}
