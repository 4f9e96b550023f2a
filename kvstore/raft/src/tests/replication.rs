//! A call that replicates, its transport in the tests' hands.
use super::network::{PATIENCE, member};
use crate::{
    NoTransport, Options, Requests, Responses, Transport, TransportError,
    context::Context,
    network::{Client, Network},
    runtime,
    types::{Types, Vote},
    watcher::Published,
};
use async_trait::async_trait;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use keelson_proto::peer as pb;
use openraft::{
    RaftNetworkFactory, RaftNetworkV2,
    errors::RPCError,
    network::RPCOption,
    raft::{AppendEntriesRequest, StreamAppendResult},
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

type Answer = Result<pb::AppendResponse, TransportError>;

fn streamed<T: Send + 'static>(mut channel: UnboundedReceiver<T>) -> BoxStream<'static, T> {
    stream::poll_fn(move |context| channel.poll_recv(context)).boxed()
}

/// Reads the requests of a call to their end, whoever still wants the answers, as HTTP/2 may.
struct Greedy {
    /// Taken by the one call.
    answers: Mutex<Option<UnboundedReceiver<Answer>>>,
    /// Told of each request; closed when they end.
    read: Mutex<Option<UnboundedSender<pb::AppendRequest>>>,
}

#[async_trait]
impl Transport for Greedy {
    fn set_members(&self, _: &BTreeMap<u64, Vec<String>>) {}

    async fn append(
        &self,
        _: u64,
        mut requests: Requests<pb::AppendRequest>,
    ) -> Result<Responses<pb::AppendResponse>, TransportError> {
        let read = self.read.lock().take().unwrap();
        runtime::spawn(async move {
            while let Some(request) = requests.next().await {
                read.send(request).unwrap();
            }
        });
        let answers = self.answers.lock().take().unwrap();
        Ok(streamed(answers))
    }

    async fn beat(&self, to: u64, request: pb::AppendRequest) -> Result<pb::AppendResponse, TransportError> {
        NoTransport.beat(to, request).await
    }
    async fn vote(&self, to: u64, request: pb::VoteRequest) -> Result<pb::VoteResponse, TransportError> {
        NoTransport.vote(to, request).await
    }
    async fn pre_vote(&self, to: u64, request: pb::VoteRequest) -> Result<pb::VoteResponse, TransportError> {
        NoTransport.pre_vote(to, request).await
    }
    async fn snapshot(&self, to: u64, request: pb::SnapshotRequest) -> Result<pb::SnapshotResponse, TransportError> {
        NoTransport.snapshot(to, request).await
    }
    async fn transfer_leader(
        &self,
        to: u64,
        request: pb::TransferLeaderRequest,
    ) -> Result<pb::TransferLeaderResponse, TransportError> {
        NoTransport.transfer_leader(to, request).await
    }
    async fn forward(
        &self,
        to: u64,
        requests: Requests<pb::ForwardRequest>,
    ) -> Result<Responses<pb::ForwardResponse>, TransportError> {
        NoTransport.forward(to, requests).await
    }
    async fn read_index(
        &self,
        to: u64,
        request: pb::ReadIndexRequest,
    ) -> Result<pb::ReadIndexResponse, TransportError> {
        NoTransport.read_index(to, request).await
    }
}

/// What openraft and the peer do in such a call.
struct Ends {
    requests: UnboundedSender<AppendEntriesRequest<Types>>,
    read: UnboundedReceiver<pb::AppendRequest>,
    answers: UnboundedSender<Answer>,
}

type Input = BoxStream<'static, AppendEntriesRequest<Types>>;
type Answers<'a> = BoxStream<'a, Result<StreamAppendResult<Types>, RPCError<Types>>>;

async fn client() -> (Client, Ends, Input) {
    let (answers, answered) = unbounded_channel();
    let (reading, read) = unbounded_channel();
    let (requests, requested) = unbounded_channel();
    let transport = Arc::new(Greedy {
        answers: Mutex::new(Some(answered)),
        read: Mutex::new(Some(reading)),
    });
    let context = Context::new(&Options::new(1, 0xc1, "unused"), transport, Published::new());
    let client = Network(context).new_client(2, &member(2)).await;
    let ends = Ends {
        requests,
        read,
        answers,
    };
    (client, ends, streamed(requested))
}

async fn call(client: &mut Client, input: Input) -> Answers<'_> {
    let opened = client.stream_append(input, RPCOption::new(PATIENCE)).await;
    opened.unwrap_or_else(|e| panic!("{e}"))
}

impl Ends {
    /// One more request, and the transport has it.
    async fn request(&mut self) {
        let request = AppendEntriesRequest {
            vote: Vote::new_committed(1, 1),
            prev_log_id: None,
            entries: vec![],
            leader_commit: None,
        };
        self.requests.send(request).unwrap_or_else(|e| panic!("{e}"));
        let read = runtime::timeout(PATIENCE, self.read.recv()).await;
        assert!(read.unwrap().is_some());
    }

    fn answer(&self) {
        let outcome = pb::append_response::Outcome::Matched.into();
        let matched = pb::AppendResponse {
            outcome,
            ..Default::default()
        };
        self.answers.send(Ok(matched)).unwrap();
    }
}

/// What the next call is to send must not be drawn by the one before. Found by `keelson-jepsen` with five members, seed
/// 499581659.
#[tokio::test]
async fn a_call_that_is_given_up_draws_no_more_requests() {
    let (mut client, mut ends, input) = client().await;
    let answers = call(&mut client, input).await;
    ends.request().await;
    drop(answers);
    assert!(ends.requests.is_closed(), "its requests outlive it");
    let more = runtime::timeout(PATIENCE, ends.read.recv()).await;
    assert!(more.unwrap().is_none(), "the transport is not told that they ended");
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_times_out_and_draws_no_more_requests() {
    let (mut client, mut ends, input) = client().await;
    let mut answers = call(&mut client, input).await;
    ends.request().await;
    let end = answers.next().await;
    assert!(matches!(end, Some(Err(RPCError::Timeout(_)))), "{end:?}");
    assert!(ends.requests.is_closed(), "its requests outlive the time");
}

#[tokio::test]
async fn answers_that_end_before_all_are_given_are_a_failure() {
    let (mut client, mut ends, input) = client().await;
    let mut answers = call(&mut client, input).await;
    ends.request().await;
    ends.request().await;
    ends.answer();
    assert!(matches!(answers.next().await, Some(Ok(Ok(None)))));
    ends.answers = unbounded_channel().0;
    let end = answers.next().await;
    assert!(matches!(end, Some(Err(RPCError::Unreachable(_)))), "{end:?}");
    assert!(ends.requests.is_closed(), "its requests outlive the failure");
    assert!(answers.next().await.is_none());
}

#[tokio::test]
async fn answers_that_end_when_all_are_given_end_the_call() {
    let (mut client, mut ends, input) = client().await;
    let mut answers = call(&mut client, input).await;
    ends.request().await;
    ends.answer();
    assert!(matches!(answers.next().await, Some(Ok(Ok(None)))));
    ends.answers = unbounded_channel().0;
    assert!(answers.next().await.is_none());
}
