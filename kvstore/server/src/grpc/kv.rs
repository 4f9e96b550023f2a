use super::Services;
use super::range_stream::{self, RangeStream};
use keelson_proto::etcdserverpb as pb;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl pb::kv_server::Kv for Services {
    type RangeStreamStream = RangeStream;

    async fn range(&self, r: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        self.core.range(r.into_inner()).await.map(Response::new)
    }

    async fn range_stream(&self, r: Request<pb::RangeRequest>) -> Result<Response<RangeStream>, Status> {
        range_stream::open(self.core.clone(), r.into_inner())
            .await
            .map(Response::new)
    }

    async fn put(&self, r: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        self.core.put(r.into_inner()).await.map(Response::new)
    }

    async fn delete_range(
        &self,
        r: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        self.core.delete_range(r.into_inner()).await.map(Response::new)
    }

    async fn txn(&self, r: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        self.core.txn(r.into_inner()).await.map(Response::new)
    }

    async fn compact(&self, r: Request<pb::CompactionRequest>) -> Result<Response<pb::CompactionResponse>, Status> {
        self.core.compact(r.into_inner()).await.map(Response::new)
    }
}
