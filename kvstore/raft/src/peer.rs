//! The receiving half: what other members ask of this one.
use crate::{
    COMMAND_BYTES_MAX, Requests, Responses, TransportError,
    network::weight,
    node::Inner,
    runtime,
    types::{Command, ORIGIN_BYTES, Origin},
    wire,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use keelson_proto::peer as pb;
use openraft::{
    errors::{ClientWriteError, RaftError},
    raft::AppendEntriesRequest,
};
use std::{
    pin::Pin,
    sync::{Arc, Weak, atomic::Ordering},
    task::{Context as TaskContext, Poll},
};
use tokio::sync::mpsc;

/// Commands that one message of a follower carries at most.
const FORWARD_COMMANDS_MAX: usize = 4096;
/// Refusals that wait for a follower to read them.
const REFUSALS_MAX: usize = 1024;

/// Takes other members' messages. A cheap handle that does not keep the node alive: after its end everything answers
/// [`TransportError::Unreachable`].
#[derive(Clone)]
pub struct PeerHandler {
    inner: Weak<Inner>,
}

fn ended(what: impl ToString) -> TransportError {
    TransportError::Unreachable(what.to_string())
}

fn from_raft<E: std::error::Error>(error: RaftError<crate::types::Types, E>) -> TransportError {
    ended(error)
}

impl PeerHandler {
    pub(crate) fn new(inner: &Arc<Inner>) -> Self {
        PeerHandler {
            inner: Arc::downgrade(inner),
        }
    }

    fn inner(&self) -> Result<Arc<Inner>, TransportError> {
        let inner = self.inner.upgrade().ok_or_else(|| ended("the member has ended"))?;
        match inner.is_open() {
            true => Ok(inner),
            false => Err(ended("the member is ending")),
        }
    }

    /// Checks the sender of a message that is not the log's own, and names it.
    pub fn check(&self, head: Option<pb::Head>) -> Result<u64, TransportError> {
        self.enter(head).map(|(_, from)| from)
    }

    /// Checks the sender of a message to this member.
    fn enter(&self, head: Option<pb::Head>) -> Result<(Arc<Inner>, u64), TransportError> {
        let inner = self.inner()?;
        let from = inner.context.check_head(head)?;
        Ok((inner, from))
    }

    /// Answers in the order of the requests, and ends after the first that did not match or was malformed.
    pub async fn append(
        &self,
        mut requests: Requests<pb::AppendRequest>,
    ) -> Result<Responses<pb::AppendResponse>, TransportError> {
        let Some(first) = requests.next().await else {
            return Ok(stream::empty().boxed());
        };
        let (inner, from) = self.enter(first.head)?;
        let weak = self.inner.clone();
        let counters = inner.context.counters.peer(from);
        let first = stream::once(std::future::ready(first));
        // A malformed message ends what openraft reads, and the reason follows its last answer.
        let refused: Arc<parking_lot::Mutex<Option<TransportError>>> = Arc::default();
        let reason = refused.clone();
        let checked = first.chain(requests).scan((), move |(), request| {
            let bytes = weight(&request);
            counters.received_bytes.fetch_add(bytes, Ordering::Relaxed);
            let checked = wire::append_from(request).map_err(|e| *reason.lock() = Some(e)).ok();
            if checked.is_some()
                && let Some(inner) = weak.upgrade()
            {
                inner.context.published.note_heard();
            }
            std::future::ready(checked)
        });
        let answers = inner
            .raft
            .stream_append(Box::pin(checked) as Pin<Box<dyn Stream<Item = AppendEntriesRequest<_>> + Send>>);
        let answers = answers.map(|answer| match answer {
            Ok(result) => Ok(wire::appended_to(result)),
            Err(fatal) => Err(ended(fatal)),
        });
        let end = stream::poll_fn(move |_: &mut TaskContext<'_>| Poll::Ready(refused.lock().take().map(Err)));
        Ok(answers.chain(end).boxed())
    }

    pub async fn beat(&self, request: pb::AppendRequest) -> Result<pb::AppendResponse, TransportError> {
        let (inner, from) = self.enter(request.head)?;
        let counters = inner.context.counters.peer(from);
        counters.received_bytes.fetch_add(weight(&request), Ordering::Relaxed);
        let request = wire::append_from(request)?;
        inner.context.published.note_heard();
        let once = stream::once(std::future::ready(request));
        let answers = inner.raft.stream_append(once);
        futures::pin_mut!(answers);
        match answers.next().await {
            Some(Ok(result)) => Ok(wire::appended_to(result)),
            Some(Err(fatal)) => Err(ended(fatal)),
            None => Err(ended("no answer")),
        }
    }

    pub async fn vote(&self, request: pb::VoteRequest) -> Result<pb::VoteResponse, TransportError> {
        let (inner, _) = self.enter(request.head)?;
        let response = inner.raft.vote(wire::vote_from(request)?).await;
        response.map(|r| wire::voted_to(&r)).map_err(from_raft)
    }

    pub async fn pre_vote(&self, request: pb::VoteRequest) -> Result<pb::VoteResponse, TransportError> {
        let (inner, _) = self.enter(request.head)?;
        let response = inner.raft.pre_vote(wire::vote_from(request)?).await;
        response.map(|r| wire::voted_to(&r)).map_err(from_raft)
    }

    pub async fn snapshot(&self, request: pb::SnapshotRequest) -> Result<pb::SnapshotResponse, TransportError> {
        let (inner, from) = self.enter(request.head)?;
        inner.context.published.note_heard();
        let receiver = inner.snapshots.clone();
        // A task of its own: a caller that hangs up must not stop it inside a piece.
        let received = runtime::spawn(async move { receiver.receive(from, request).await });
        received.await.unwrap_or_else(|e| Err(ended(e)))
    }

    pub async fn transfer_leader(
        &self,
        request: pb::TransferLeaderRequest,
    ) -> Result<pb::TransferLeaderResponse, TransportError> {
        let (inner, _) = self.enter(request.head)?;
        let request = wire::transfer_from(request)?;
        let refused = match inner.raft.handle_transfer_leader(request).await {
            Ok(Ok(())) => String::new(),
            Ok(Err(e)) => e.to_string(),
            Err(fatal) => return Err(ended(fatal)),
        };
        Ok(pb::TransferLeaderResponse { refused })
    }

    pub async fn read_index(&self, request: pb::ReadIndexRequest) -> Result<pb::ReadIndexResponse, TransportError> {
        let (inner, _) = self.enter(request.head)?;
        let leads = inner.context.published.leader.borrow().leader == Some(inner.context.node_id);
        if !leads {
            return Ok(pb::ReadIndexResponse { index: 0 });
        }
        let index = inner.barrier.index().await.unwrap_or(0);
        Ok(pb::ReadIndexResponse { index })
    }

    /// Logs what a follower's users proposed. Only refusals are answered.
    pub async fn forward(
        &self,
        mut requests: Requests<pb::ForwardRequest>,
    ) -> Result<Responses<pb::ForwardResponse>, TransportError> {
        let Some(first) = requests.next().await else {
            return Ok(stream::empty().boxed());
        };
        let (_, from) = self.enter(first.head)?;
        let (tx, rx) = mpsc::channel(REFUSALS_MAX);
        let this = self.clone();
        runtime::spawn(async move {
            let mut next = Some(first);
            while let Some(message) = next {
                if this.log(from, message, &tx).await.is_err() {
                    return;
                }
                next = tokio::select! {
                    biased;
                    // Nobody reads the refusals any more: what comes would be logged for a stream that is gone.
                    () = tx.closed() => None,
                    next = requests.next() => next,
                };
            }
        });
        Ok(stream::unfold(rx, |mut rx| async move { rx.recv().await.map(|r| (Ok(r), rx)) }).boxed())
    }

    async fn log(
        &self,
        from: u64,
        message: pb::ForwardRequest,
        refusals: &mpsc::Sender<pb::ForwardResponse>,
    ) -> Result<(), ()> {
        use pb::forward_response::Reason;
        let inner = self.inner().map_err(drop)?;
        if message.commands.len() > FORWARD_COMMANDS_MAX {
            return Err(());
        }
        let bytes: usize = message.commands.iter().map(Bytes::len).sum();
        let counters = inner.context.counters.peer(from);
        counters.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let mut sequences = Vec::with_capacity(message.commands.len());
        let mut commands = Vec::with_capacity(message.commands.len());
        let mut refused = Vec::new();
        let leads = inner.context.published.leader.borrow().is_leader;
        let behind = inner.is_behind();
        for framed in message.commands {
            // Whoever sends what it may not name, or nothing at all, is not spoken with any longer.
            let (origin, command) = Origin::split(framed.clone()).ok_or(())?;
            if origin.node != from {
                return Err(());
            }
            let reason = match (leads, behind) {
                (false, _) => Reason::NotLeader,
                (_, true) => Reason::TooMany,
                _ if command.len() > COMMAND_BYTES_MAX => Reason::TooLarge,
                _ => {
                    sequences.push(origin.sequence);
                    commands.push(Command {
                        bytes: framed,
                        forwarded: true,
                    });
                    continue;
                }
            };
            refused.push((origin.sequence, reason));
        }
        debug_assert!(commands.iter().all(|c| c.bytes.len() >= ORIGIN_BYTES));
        for (sequence, reason) in refused {
            refuse(refusals, sequence, reason).await?;
        }
        if commands.is_empty() {
            return Ok(());
        }
        let mut results = inner.raft.client_write_many(commands).await.map_err(drop)?;
        drop(inner);
        let refusals = refusals.clone();
        // The next message does not wait for this one's commands.
        runtime::spawn(async move {
            for sequence in sequences {
                let reason = match results.next().await {
                    Some(Ok(Ok(_))) => continue,
                    Some(Ok(Err(ClientWriteError::ForwardToLeader(_)))) => Reason::NotLeader,
                    Some(Ok(Err(_))) => Reason::Lost,
                    Some(Err(_)) | None => return,
                };
                if refuse(&refusals, sequence, reason).await.is_err() {
                    return;
                }
            }
        });
        Ok(())
    }
}

async fn refuse(
    refusals: &mpsc::Sender<pb::ForwardResponse>,
    sequence: u64,
    reason: pb::forward_response::Reason,
) -> Result<(), ()> {
    let refusal = pb::ForwardResponse {
        sequence,
        reason: reason as i32,
    };
    refusals.send(refusal).await.map_err(drop)
}
