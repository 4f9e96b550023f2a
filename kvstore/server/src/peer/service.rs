//! The receiving end: hands messages to the log's own half, and questions to the server's.

use super::{from_status, to_status};
use crate::ask;
use crate::core::Core;
use futures::StreamExt;
use futures::stream::BoxStream;
use keelson_proto::peer as pb;
use keelson_proto::peer::peer_server::Peer;
use keelson_raft::{PeerHandler, Requests, Responses};
use std::sync::{Arc, Weak};
use tonic::{Request, Response, Status, Streaming};

pub struct PeerService {
    handler: PeerHandler,
    core: Weak<Core>,
}

impl PeerService {
    pub fn new(handler: PeerHandler, core: &Arc<Core>) -> PeerService {
        PeerService {
            handler,
            core: Arc::downgrade(core),
        }
    }
}

type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// A connection that breaks ends its stream, as one that is closed does: both are the sender's to mend.
fn requests<T: Send + 'static>(request: Request<Streaming<T>>) -> Requests<T> {
    let broken = |error: &Status| tracing::debug!(error = %from_status(error), "a peer's stream broke");
    request
        .into_inner()
        .scan((), move |(), message| {
            std::future::ready(message.inspect_err(broken).ok())
        })
        .boxed()
}

fn answers<T: Send + 'static>(responses: Responses<T>) -> Response<Answers<T>> {
    Response::new(responses.map(|r| r.map_err(to_status)).boxed())
}

#[tonic::async_trait]
impl Peer for PeerService {
    type AppendStream = Answers<pb::AppendResponse>;
    type ForwardStream = Answers<pb::ForwardResponse>;

    async fn append(
        &self,
        request: Request<Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        self.handler
            .append(requests(request))
            .await
            .map(answers)
            .map_err(to_status)
    }

    async fn forward(
        &self,
        request: Request<Streaming<pb::ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        self.handler
            .forward(requests(request))
            .await
            .map(answers)
            .map_err(to_status)
    }

    async fn beat(&self, request: Request<pb::AppendRequest>) -> Result<Response<pb::AppendResponse>, Status> {
        let answer = self.handler.beat(request.into_inner()).await;
        answer.map(Response::new).map_err(to_status)
    }

    async fn vote(&self, request: Request<pb::VoteRequest>) -> Result<Response<pb::VoteResponse>, Status> {
        let answer = self.handler.vote(request.into_inner()).await;
        answer.map(Response::new).map_err(to_status)
    }

    async fn pre_vote(&self, request: Request<pb::VoteRequest>) -> Result<Response<pb::VoteResponse>, Status> {
        let answer = self.handler.pre_vote(request.into_inner()).await;
        answer.map(Response::new).map_err(to_status)
    }

    async fn snapshot(&self, request: Request<pb::SnapshotRequest>) -> Result<Response<pb::SnapshotResponse>, Status> {
        let answer = self.handler.snapshot(request.into_inner()).await;
        answer.map(Response::new).map_err(to_status)
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        let answer = self.handler.transfer_leader(request.into_inner()).await;
        answer.map(Response::new).map_err(to_status)
    }

    async fn read_index(
        &self,
        request: Request<pb::ReadIndexRequest>,
    ) -> Result<Response<pb::ReadIndexResponse>, Status> {
        let answer = self.handler.read_index(request.into_inner()).await;
        answer.map(Response::new).map_err(to_status)
    }

    async fn ask(&self, request: Request<pb::AskRequest>) -> Result<Response<pb::AskResponse>, Status> {
        let request = request.into_inner();
        self.handler.check(request.head).map_err(to_status)?;
        let core = self
            .core
            .upgrade()
            .ok_or_else(|| Status::unavailable("the member has ended"))?;
        let body = ask::answer(&core, &request.subject, request.body).await;
        Ok(Response::new(pb::AskResponse { body }))
    }
}
