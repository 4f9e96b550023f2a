use super::Services;
use crate::auth::Caller;
use crate::watch::stream;
use futures::StreamExt;
use keelson_proto::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Answers between the stream's task and the socket.
const RESPONSES_WAITING_MAX: usize = 16;

#[tonic::async_trait]
impl pb::watch_server::Watch for Services {
    type WatchStream = ReceiverStream<Result<pb::WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = Caller::of(&request);
        let (sender, receiver) = mpsc::channel(RESPONSES_WAITING_MAX);
        // A broken request stream ends like a finished one: the broken connection then ends the answers.
        let requests = request.into_inner().take_while(|r| futures::future::ready(r.is_ok()));
        let requests = requests.filter_map(|r| futures::future::ready(r.ok()));
        tokio::spawn(stream::run(
            self.core.clone(),
            caller,
            requests,
            sender,
            self.stop.clone(),
        ));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
