//! The receiving half.
use super::{PIECE_BYTES_MAX, SESSION_IDLE_MAX};
use crate::{
    TransportError,
    context::Context,
    machine::{AnyMachine, Content, SnapshotData},
    node::RaftHandle,
    runtime::{self, Instant},
    types::{LogId, StoredMembership, Types, Vote, decode_membership, entry_id},
    wire,
};
use bytes::Bytes;
use keelson_mvcc::state_machine::SnapshotWriter;
use keelson_proto::peer as pb;
use openraft::{async_runtime::watch::WatchReceiver, type_config::alias::SnapshotOf};
use std::sync::{Arc, atomic::Ordering};
use tokio::sync::{Mutex, watch};

/// What became of a complete snapshot.
type Outcome = Result<Vote, TransportError>;

struct Session {
    from: u64,
    id: u64,
    applied: LogId,
    membership: StoredMembership,
    pieces: u64,
    next: Bytes,
    /// Gone when all pieces are there.
    writer: Option<Box<dyn SnapshotWriter>>,
    installing: Option<watch::Receiver<Option<Outcome>>>,
    touched: Instant,
}

pub(crate) struct Receiver {
    context: Arc<Context>,
    machine: Arc<dyn AnyMachine>,
    raft: RaftHandle,
    /// One at a time: a new session takes the place of the one before.
    session: Mutex<Option<Session>>,
}

fn failed(what: impl ToString) -> TransportError {
    TransportError::Unreachable(what.to_string())
}

impl Receiver {
    pub(crate) fn new(context: Arc<Context>, machine: Arc<dyn AnyMachine>, raft: RaftHandle) -> Arc<Self> {
        Arc::new(Receiver {
            context,
            machine,
            raft,
            session: Mutex::new(None),
        })
    }

    fn vote(&self) -> Vote {
        self.raft.server_metrics().borrow_watched().vote
    }

    pub(crate) async fn receive(
        self: &Arc<Self>,
        from: u64,
        request: pb::SnapshotRequest,
    ) -> Result<pb::SnapshotResponse, TransportError> {
        let ballot = wire::leader_ballot(request.ballot)?;
        let applied = wire::log_id_from(
            request
                .applied
                .ok_or_else(|| wire::malformed("a snapshot of nothing"))?,
        )?;
        if entry_id(&applied).term > ballot.leader_id.term {
            return Err(wire::malformed("a snapshot of a later term than its sender's"));
        }
        let ours = self.vote();
        if ours.leader_id.term > ballot.leader_id.term {
            // The sender is no leader any more, and learns it from this.
            return Ok(answer(&ours, 0, Bytes::new(), false));
        }
        let mut slot = self.session.lock().await;
        let known = slot.as_ref().is_some_and(|s| s.from == from && s.id == request.session);
        if !known {
            if request.sequence > 0 && request.piece.is_some() {
                // Dropped since: the sender starts over.
                return Ok(answer(&ballot, 0, Bytes::new(), false));
            }
            *slot = None;
            *slot = Some(self.begin(from, &request, applied).await?);
            self.expire();
        }
        let Some(session) = slot.as_mut() else {
            return Err(failed("no session"));
        };
        session.touched = Instant::now();
        if let Some(piece) = request.piece
            && request.sequence == session.pieces
            && session.installing.is_none()
        {
            let bytes = piece.data.len() as u64;
            let counters = self.context.counters.peer(from);
            counters.received_bytes.fetch_add(bytes, Ordering::Relaxed);
            let added = session.add(piece).await;
            match added {
                Ok(true) => self.install(session, ballot)?,
                Ok(false) => {}
                Err(e) => {
                    // Half a piece may be in it: nothing of it can be used.
                    *slot = None;
                    return Err(e);
                }
            }
        }
        let (pieces, next) = (session.pieces, session.next.clone());
        let Some(mut installing) = session.installing.clone() else {
            return Ok(answer(&ballot, pieces, next, false));
        };
        drop(slot);
        // As long as the sender waits for it; it asks again later.
        let outcome = {
            let done = runtime::timeout(self.context.timers.election, installing.wait_for(Option::is_some)).await;
            match done {
                Ok(Ok(outcome)) => outcome.clone(),
                Ok(Err(_)) => Some(Err(failed("the installation was given up"))),
                Err(_) => None,
            }
        };
        match outcome {
            None => Ok(answer(&ballot, pieces, Bytes::new(), false)),
            Some(Ok(vote)) => Ok(answer(&vote, pieces, Bytes::new(), true)),
            Some(Err(e)) => {
                *self.session.lock().await = None;
                Err(e)
            }
        }
    }

    async fn begin(&self, from: u64, request: &pb::SnapshotRequest, applied: LogId) -> Result<Session, TransportError> {
        let membership = decode_membership(&request.membership).map_err(|e| wire::malformed(&e.to_string()))?;
        let machine = self.machine.clone();
        let begun = runtime::spawn_blocking(move || machine.begin_install()).await;
        let writer = begun.map_err(failed)?.map_err(failed)?;
        tracing::info!(
            peer = %format!("{from:x}"), index = entry_id(&applied).index, session = request.session,
            "receiving a snapshot"
        );
        Ok(Session {
            from,
            id: request.session,
            applied,
            membership,
            pieces: 0,
            next: Bytes::new(),
            writer: Some(writer),
            installing: None,
            touched: Instant::now(),
        })
    }

    /// Hands the complete snapshot to the core, which decides whether it is still news.
    fn install(&self, session: &mut Session, ballot: Vote) -> Result<(), TransportError> {
        let writer = session
            .writer
            .take()
            .ok_or_else(|| failed("the snapshot is installed already"))?;
        let meta = openraft::SnapshotMeta {
            last_log_id: Some(session.applied),
            last_membership: session.membership.clone(),
        };
        let snapshot = SnapshotOf::<Types, SnapshotData> {
            meta,
            snapshot: SnapshotData(Content::Received(writer)),
        };
        let (tx, rx) = watch::channel(None);
        session.installing = Some(rx);
        let (raft, context) = (self.raft.clone(), self.context.clone());
        // A task of its own: the sender may hang up, and what is complete stays complete.
        runtime::spawn(async move {
            let outcome = match raft.install_full_snapshot(ballot, snapshot).await {
                Ok(response) => Ok(response.vote),
                Err(fatal) => Err(failed(fatal)),
            };
            if outcome.is_ok() {
                context.counters.snapshots_received.fetch_add(1, Ordering::Relaxed);
            }
            tx.send_replace(Some(outcome));
        });
        Ok(())
    }

    /// Gives the disk back when the sender never comes again.
    fn expire(self: &Arc<Self>) {
        let receiver = Arc::downgrade(self);
        runtime::spawn(async move {
            loop {
                runtime::sleep(SESSION_IDLE_MAX).await;
                let Some(receiver) = receiver.upgrade() else { return };
                let mut slot = receiver.session.lock().await;
                match slot.as_ref() {
                    Some(s) if s.touched.elapsed() >= SESSION_IDLE_MAX => {
                        tracing::info!(session = s.id, pieces = s.pieces, "a snapshot's transfer has expired");
                        *slot = None;
                        return;
                    }
                    Some(_) => {}
                    None => return,
                }
            }
        });
    }
}

impl Session {
    /// Whether that was the last.
    async fn add(&mut self, piece: pb::SnapshotPiece) -> Result<bool, TransportError> {
        if piece.data.len() > PIECE_BYTES_MAX {
            return Err(wire::malformed("a piece of a snapshot is too long"));
        }
        if piece.next.as_ref().is_some_and(Bytes::is_empty) {
            return Err(wire::malformed("a piece of a snapshot leads nowhere"));
        }
        if crc32fast::hash(&piece.data) != piece.checksum {
            return Err(failed("a piece of a snapshot was damaged on its way"));
        }
        let mut writer = self.writer.take().ok_or_else(|| failed("the snapshot is complete"))?;
        let data = piece.data;
        let written = runtime::spawn_blocking(move || writer.add(data).map(|()| writer)).await;
        self.writer = Some(written.map_err(failed)?.map_err(failed)?);
        self.pieces += 1;
        let last = piece.next.is_none();
        self.next = piece.next.unwrap_or_default();
        Ok(last)
    }
}

fn answer(ballot: &Vote, pieces: u64, next: Bytes, installed: bool) -> pb::SnapshotResponse {
    pb::SnapshotResponse {
        ballot: Some(wire::ballot_to(ballot)),
        pieces,
        next,
        installed,
    }
}
