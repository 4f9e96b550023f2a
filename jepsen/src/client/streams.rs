//! The calls that are streams: watches, keepalives, observed elections.

use super::{ANSWER_BYTES_MAX, Client, Error};
use keelson_proto::etcdserverpb::{
    LeaseKeepAliveRequest, LeaseKeepAliveResponse, WatchCancelRequest, WatchCreateRequest, WatchProgressRequest,
    WatchRequest, WatchResponse, lease_client::LeaseClient, watch_client::WatchClient, watch_request::RequestUnion,
};
use keelson_proto::v3electionpb::{LeaderRequest, LeaderResponse, election_client::ElectionClient};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Requests of a stream that wait to be sent.
const REQUESTS_MAX: usize = 16;

/// A stream of watches. Dropping it ends them.
pub struct Watch {
    requests: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
}

impl Client {
    /// Opens a stream with one watch; more can be created on it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn watch(&self, create: WatchCreateRequest) -> Result<Watch, Error> {
        let (requests, queue) = mpsc::channel(REQUESTS_MAX);
        // etcd answers with headers only when there is something to say, so the request goes ahead of them.
        send(&requests, RequestUnion::CreateRequest(create)).await?;
        let answers = self
            .open("watch", |channel| async move {
                WatchClient::new(channel)
                    .max_decoding_message_size(ANSWER_BYTES_MAX)
                    .watch(ReceiverStream::new(queue))
                    .await
            })
            .await?;
        Ok(Watch { requests, answers })
    }

    /// Opens a stream of keepalives with the first one sent.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn keep_alive(&self, id: i64) -> Result<KeepAlive, Error> {
        let (requests, queue) = mpsc::channel(REQUESTS_MAX);
        let sent = requests.send(LeaseKeepAliveRequest { id }).await;
        sent.map_err(|_| Error::not_sent("the stream is closed".to_owned()))?;
        let answers = self
            .open("lease_keep_alive", |channel| async move {
                LeaseClient::new(channel)
                    .lease_keep_alive(ReceiverStream::new(queue))
                    .await
            })
            .await?;
        Ok(KeepAlive {
            requests,
            answers,
            limit: self.limit(),
        })
    }

    /// Opens a stream of an election's leaders.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn observe(&self, name: &str) -> Result<Observe, Error> {
        let name = name.to_owned().into_bytes().into();
        let answers = self
            .open("observe", |channel| async move {
                ElectionClient::new(channel).observe(LeaderRequest { name }).await
            })
            .await?;
        Ok(Observe { answers })
    }
}

impl Watch {
    /// The next message, whenever it comes.
    ///
    /// # Errors
    /// [`Error`] when the stream broke or ended.
    pub async fn next(&mut self) -> Result<WatchResponse, Error> {
        message(&mut self.answers).await
    }

    /// Creates another watch on the stream.
    ///
    /// # Errors
    /// [`Error`] when the stream has ended.
    pub async fn create(&self, create: WatchCreateRequest) -> Result<(), Error> {
        send(&self.requests, RequestUnion::CreateRequest(create)).await
    }

    /// Ends a watch of the stream.
    ///
    /// # Errors
    /// [`Error`] when the stream has ended.
    pub async fn cancel(&self, watch_id: i64) -> Result<(), Error> {
        let request = WatchCancelRequest { watch_id };
        send(&self.requests, RequestUnion::CancelRequest(request)).await
    }

    /// Asks for a progress message.
    ///
    /// # Errors
    /// [`Error`] when the stream has ended.
    pub async fn request_progress(&self) -> Result<(), Error> {
        send(&self.requests, RequestUnion::ProgressRequest(WatchProgressRequest {})).await
    }
}

/// A stream of keepalives of a lease.
pub struct KeepAlive {
    requests: mpsc::Sender<LeaseKeepAliveRequest>,
    answers: Streaming<LeaseKeepAliveResponse>,
    limit: Duration,
}

impl KeepAlive {
    /// Sends another keepalive.
    ///
    /// # Errors
    /// [`Error`] when the stream has ended.
    pub async fn send(&self, id: i64) -> Result<(), Error> {
        let sent = self.requests.send(LeaseKeepAliveRequest { id }).await;
        sent.map_err(|_| Error::protocol("the stream has ended".to_owned()))
    }

    /// The next answer, within the client's limit of time.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn next(&mut self) -> Result<LeaseKeepAliveResponse, Error> {
        match tokio::time::timeout(self.limit, message(&mut self.answers)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::timed_out("lease_keep_alive: no answer in time".to_owned())),
        }
    }
}

/// A stream of an election's leaders.
pub struct Observe {
    answers: Streaming<LeaderResponse>,
}

impl Observe {
    /// The next leader, whenever there is one.
    ///
    /// # Errors
    /// [`Error`] when the stream broke or ended.
    pub async fn next(&mut self) -> Result<LeaderResponse, Error> {
        message(&mut self.answers).await
    }
}

async fn send(requests: &mpsc::Sender<WatchRequest>, request: RequestUnion) -> Result<(), Error> {
    let request = WatchRequest {
        request_union: Some(request),
    };
    let sent = requests.send(request).await;
    sent.map_err(|_| Error::protocol("the stream has ended".to_owned()))
}

async fn message<T>(answers: &mut Streaming<T>) -> Result<T, Error> {
    let answer: Result<Option<T>, Status> = answers.message().await;
    match answer {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(Error::protocol("the server ended the stream".to_owned())),
        Err(status) => Err(Error::of(&status)),
    }
}
