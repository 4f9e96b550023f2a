//! openraft's network over [`Transport`](crate::Transport).
use crate::{
    TransportError,
    context::Context,
    machine::SnapshotData,
    runtime::{self, Instant},
    snapshot,
    stats::PeerCounters,
    tie::tied,
    types::{Member, Types, Vote},
    wire,
};
use futures::{Stream, StreamExt, future::BoxFuture, stream, stream::BoxStream};
use keelson_proto::peer as pb;
use openraft::{
    OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{Backoff, RPCOption},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
    type_config::alias::SnapshotOf,
};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// A replication stream whose oldest message has had no answer for this long (or for three elections, if that is
/// longer) is given up and opened again. A disk may be slow; a connection may be dead and not know it.
const STALL_MAX: Duration = Duration::from_secs(5);
/// What a peer did that ended its answers before it had given all.
const UNANSWERED: &str = "the peer ended its answers early";
/// What a message weighs beside its entries' payloads, roughly, in bytes: for the counters.
const MESSAGE_OVERHEAD_BYTES: u64 = 64;
const ENTRY_OVERHEAD_BYTES: u64 = 16;

pub(crate) fn weight(request: &pb::AppendRequest) -> u64 {
    let entries = request.entries.iter();
    MESSAGE_OVERHEAD_BYTES
        + entries
            .map(|e| e.payload.len() as u64 + ENTRY_OVERHEAD_BYTES)
            .sum::<u64>()
}

pub(crate) struct Network(pub Arc<Context>);

impl RaftNetworkFactory<Types> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, member: &Member) -> Client {
        self.0.set_member(target, &member.peer_urls);
        Client::new(&self.0, target, false)
    }

    /// Heartbeats have a way of their own, so that they never wait behind entries.
    async fn new_heartbeat_client(&mut self, target: u64, member: &Member) -> Client {
        self.0.set_member(target, &member.peer_urls);
        Client::new(&self.0, target, true)
    }
}

pub(crate) struct Client {
    context: Arc<Context>,
    counters: Arc<PeerCounters>,
    to: u64,
    beats: bool,
}

impl Client {
    fn new(context: &Arc<Context>, to: u64, beats: bool) -> Self {
        Client {
            context: context.clone(),
            counters: context.counters.peer(to),
            to,
            beats,
        }
    }

    fn rpc_error(&self, error: TransportError, action: RPCTypes) -> RPCError<Types> {
        self.context.note_failure(self.to, &error);
        match error {
            TransportError::TimedOut => RPCError::Timeout(Timeout {
                action,
                id: self.context.node_id,
                target: self.to,
                timeout: self.context.timers.election,
            }),
            // Trying again at once would get the same answer.
            e => RPCError::Unreachable(Unreachable::new(&e)),
        }
    }

    async fn beat(&self, request: AppendEntriesRequest<Types>) -> Result<StreamAppendResult<Types>, RPCError<Types>> {
        let head = self.context.head(self.to);
        let request = wire::append_to(request, Some(head)).map_err(|e| RPCError::Network(NetworkError::new(&e)))?;
        self.counters.sent_bytes.fetch_add(weight(&request), Ordering::Relaxed);
        let sent = Instant::now();
        let result = match self.context.transport.beat(self.to, request).await {
            Ok(response) => wire::appended_from(response),
            Err(e) => Err(e),
        };
        match &result {
            Ok(_) => self.counters.note_round_trip(sent.elapsed()),
            Err(_) => {
                self.counters.heartbeat_failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        result.map_err(|e| self.rpc_error(e, RPCTypes::AppendEntries))
    }

    /// Sends requests as they come, and hands answers on as they come.
    async fn replicate(
        &self,
        input: BoxStream<'static, AppendEntriesRequest<Types>>,
    ) -> Result<BoxStream<'_, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>> {
        let under_way: Arc<Mutex<VecDeque<Instant>>> = Arc::default();
        let mut head = Some(self.context.head(self.to));
        let (input, tie) = tied(input);
        let requests = input
            .map({
                let (under_way, counters) = (under_way.clone(), self.counters.clone());
                move |request| {
                    let request = wire::append_to(request, head.take());
                    if let Ok(r) = &request {
                        counters.sent_bytes.fetch_add(weight(r), Ordering::Relaxed);
                    }
                    under_way.lock().push_back(Instant::now());
                    request
                }
            })
            // What cannot be written ends the stream; the far side's silence then ends the session.
            .take_while(|request| {
                let fits = request.is_ok();
                if let Err(error) = request {
                    tracing::error!(%error, "write an entry for a peer");
                }
                std::future::ready(fits)
            })
            .filter_map(|request| std::future::ready(request.ok()))
            .boxed();
        let responses = self.context.transport.append(self.to, requests).await;
        let responses = responses.map_err(|e| self.rpc_error(e, RPCTypes::AppendEntries))?;
        let stall = STALL_MAX.max(self.context.timers.election * 3);
        let state = Some((responses, under_way, tie));
        let answers = stream::unfold(state, move |state| async move {
            let (mut responses, under_way, tie) = state?;
            let next = loop {
                match runtime::timeout(stall, responses.next()).await {
                    Ok(Some(next)) => break next,
                    Ok(None) if under_way.lock().is_empty() => return None,
                    // openraft would take an end for a success.
                    Ok(None) => break Err(TransportError::Unreachable(UNANSWERED.to_owned())),
                    Err(_) if under_way.lock().front().is_some_and(|sent| sent.elapsed() >= stall) => {
                        break Err(TransportError::TimedOut);
                    }
                    Err(_) => {}
                }
            };
            let sent = under_way.lock().pop_front();
            if let (Some(sent), Ok(_)) = (sent, &next) {
                self.counters.note_round_trip(sent.elapsed());
            }
            let answer = next.and_then(wire::appended_from);
            let go_on = matches!(answer, Ok(Ok(_))).then_some((responses, under_way, tie));
            Some((answer.map_err(|e| self.rpc_error(e, RPCTypes::AppendEntries)), go_on))
        });
        Ok(answers.boxed())
    }
}

impl RaftNetworkV2<Types> for Client {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Ok(match self.beat(rpc).await? {
            Ok(_) => AppendEntriesResponse::Success,
            Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
            Err(StreamAppendError::HigherVote(v)) => AppendEntriesResponse::HigherVote(v),
        })
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let this: &'s Client = self;
        if !this.beats {
            return Box::pin(async move { this.replicate(input.boxed()).await });
        }
        let answers = stream::unfold(input, move |mut input| async move {
            let request = input.next().await?;
            Some((this.beat(request).await, input))
        });
        Box::pin(async move { Ok(answers.boxed()) })
    }

    async fn vote(&mut self, rpc: VoteRequest<Types>, _: RPCOption) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let request = wire::vote_to(&rpc, self.context.head(self.to));
        let response = self.context.transport.vote(self.to, request).await;
        response
            .and_then(wire::voted_from)
            .map_err(|e| self.rpc_error(e, RPCTypes::Vote))
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let request = wire::vote_to(&rpc, self.context.head(self.to));
        let response = self.context.transport.pre_vote(self.to, request).await;
        response
            .and_then(wire::voted_from)
            .map_err(|e| self.rpc_error(e, RPCTypes::Vote))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<Types, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let sending = snapshot::send(&self.context, self.to, &vote, snapshot);
        futures::pin_mut!(cancel);
        let result = tokio::select! {
            biased;
            closed = cancel => return Err(StreamingError::Closed(closed)),
            result = sending => result,
        };
        match result {
            Ok(vote) => {
                self.context.counters.snapshots_sent.fetch_add(1, Ordering::Relaxed);
                Ok(SnapshotResponse::new(vote))
            }
            Err(e) => {
                self.context.note_failure(self.to, &e);
                tracing::warn!(peer = %format!("{:x}", self.to), error = %e, "send a snapshot");
                Err(StreamingError::Unreachable(Unreachable::new(&e)))
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        _: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let request = wire::transfer_to(&req, self.context.head(self.to));
        let response = self.context.transport.transfer_leader(self.to, request).await;
        let response = response.map_err(|e| self.rpc_error(e, RPCTypes::TransferLeader))?;
        if response.refused.is_empty() {
            return Ok(Ok(()));
        }
        let refused = TransportError::Refused(response.refused);
        Err(RPCError::Unreachable(Unreachable::new(&refused)))
    }

    /// From half a heartbeat on, doubling up to half an election: a peer that comes back is found before its followers
    /// lose patience.
    fn backoff(&self) -> Option<Backoff> {
        let (mut next, most) = (self.context.timers.heartbeat / 2, self.context.timers.election / 2);
        Some(Backoff::new(std::iter::repeat_with(move || {
            let now = next.min(most);
            next = (now * 2).min(most);
            now
        })))
    }
}
