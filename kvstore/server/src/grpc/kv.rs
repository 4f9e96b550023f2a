use super::Services;
use super::range_stream::{self, RangeStream};
use crate::auth::Caller;
use crate::slow::CallStats;
use keelson_proto::etcdserverpb as pb;
use std::time::Instant;
use tonic::{Request, Response, Status};

impl Services {
    /// The answer, and what it was about if it took long.
    fn answer<T>(&self, begun: Instant, answer: T, stats: impl FnOnce(&T) -> CallStats) -> Response<T> {
        let slow = !self.warning_unary.is_zero() && begun.elapsed() > self.warning_unary;
        let stats = slow.then(|| stats(&answer));
        let mut response = Response::new(answer);
        if let Some(stats) = stats {
            response.extensions_mut().insert(stats);
        }
        response
    }
}

#[tonic::async_trait]
impl pb::kv_server::Kv for Services {
    type RangeStreamStream = RangeStream;

    async fn range(&self, r: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        let (begun, caller, r) = (Instant::now(), Caller::of(&r), r.into_inner());
        let answer = self.core.range(&caller, r.clone()).await?;
        Ok(self.answer(begun, answer, |answer| CallStats::range(&r, answer)))
    }

    async fn range_stream(&self, r: Request<pb::RangeRequest>) -> Result<Response<RangeStream>, Status> {
        range_stream::open(self.core.clone(), &Caller::of(&r), r.into_inner())
            .await
            .map(Response::new)
    }

    async fn put(&self, r: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        let (begun, caller, r) = (Instant::now(), Caller::of(&r), r.into_inner());
        let answer = self.core.put(&caller, r.clone()).await?;
        Ok(self.answer(begun, answer, |answer| CallStats::put(&r, answer)))
    }

    async fn delete_range(
        &self,
        r: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let (begun, caller, r) = (Instant::now(), Caller::of(&r), r.into_inner());
        let answer = self.core.delete_range(&caller, r.clone()).await?;
        Ok(self.answer(begun, answer, |answer| CallStats::delete_range(&r, answer)))
    }

    async fn txn(&self, r: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        let (begun, caller, r) = (Instant::now(), Caller::of(&r), r.into_inner());
        let answer = self.core.txn(&caller, r.clone()).await?;
        Ok(self.answer(begun, answer, |answer| CallStats::txn(&r, answer)))
    }

    async fn compact(&self, r: Request<pb::CompactionRequest>) -> Result<Response<pb::CompactionResponse>, Status> {
        self.core
            .compact(&Caller::of(&r), r.into_inner())
            .await
            .map(Response::new)
    }
}
