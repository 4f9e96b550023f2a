//! The sending half.
use super::{PIECE_BYTES, SEND_IDLE_MAX};
use crate::{
    TransportError,
    context::Context,
    machine::{Content, SnapshotData},
    runtime::{self, Instant, Pace},
    types::{Types, Vote, encode_membership, entry_id},
    wire,
};
use bytes::Bytes;
use keelson_mvcc::state_machine::{SnapshotChunk, SnapshotReader};
use keelson_proto::peer as pb;
use openraft::type_config::alias::SnapshotOf;
use std::sync::{Arc, atomic::Ordering};

/// One answer is waited for this long at least; a disk that takes a piece in may be slow.
const ANSWER_MIN: std::time::Duration = std::time::Duration::from_secs(10);

/// This member serves meanwhile: rests between pieces take so many times as long as the pieces.
const RESTS: u32 = 2;

/// The place where the next piece begins.
#[derive(Clone, Default)]
struct Position {
    sequence: u64,
    token: Bytes,
}

struct Sending<'a> {
    context: &'a Arc<Context>,
    to: u64,
    /// Everything but the piece.
    template: pb::SnapshotRequest,
    reader: Option<Box<dyn SnapshotReader>>,
}

fn failed(what: impl ToString) -> TransportError {
    TransportError::Refused(what.to_string())
}

impl Sending<'_> {
    /// Reads the piece at `token`, off the runtime.
    async fn read(&mut self, token: Bytes) -> Result<SnapshotChunk, TransportError> {
        let Some(mut reader) = self.reader.take() else {
            return Err(failed("the snapshot is being read already"));
        };
        let read = runtime::spawn_aside("snapshot-send", move || {
            let chunk = reader.chunk(&token, PIECE_BYTES);
            (reader, chunk)
        });
        let (reader, chunk) = read.await.map_err(failed)?;
        self.reader = Some(reader);
        chunk.map_err(failed)
    }

    /// Sends a piece, or only asks.
    async fn call(
        context: &Context,
        to: u64,
        mut request: pb::SnapshotRequest,
        sequence: u64,
        piece: Option<pb::SnapshotPiece>,
    ) -> Result<pb::SnapshotResponse, TransportError> {
        let bytes = piece.as_ref().map_or(0, |p| p.data.len() as u64);
        context.counters.peer(to).sent_bytes.fetch_add(bytes, Ordering::Relaxed);
        request.sequence = sequence;
        request.piece = piece;
        let patience = ANSWER_MIN.max(context.timers.election * 2);
        match runtime::timeout(patience, context.transport.snapshot(to, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(TransportError::TimedOut),
        }
    }
}

fn piece(chunk: SnapshotChunk) -> pb::SnapshotPiece {
    pb::SnapshotPiece {
        checksum: crc32fast::hash(&chunk.data),
        next: chunk.next,
        data: chunk.data,
    }
}

/// Sends all of it, over as many cuts as it takes, and returns the receiver's vote.
pub(crate) async fn send(
    context: &Arc<Context>,
    to: u64,
    vote: &Vote,
    snapshot: SnapshotOf<Types, SnapshotData>,
) -> Result<Vote, TransportError> {
    let reader = match snapshot.snapshot.0 {
        Content::Reader(reader) => reader,
        Content::Unreadable(why) => return Err(failed(why)),
        Content::Name | Content::Received(_) => return Err(failed("this snapshot has no content")),
    };
    let last = snapshot.meta.last_log_id.as_ref();
    let last = last.ok_or_else(|| failed("a snapshot of nothing"))?;
    let membership = encode_membership(&snapshot.meta.last_membership).map_err(failed)?;
    let session = runtime::random();
    tracing::info!(peer = %format!("{to:x}"), index = entry_id(last).index, session, "sending a snapshot");
    let mut sending = Sending {
        context,
        to,
        template: pb::SnapshotRequest {
            head: Some(context.head(to)),
            ballot: Some(wire::ballot_to(vote)),
            session,
            applied: Some(wire::log_id_to(last)),
            membership,
            sequence: 0,
            piece: None,
        },
        reader: Some(reader),
    };
    let mut progress = Instant::now();
    let mut most = 0;
    let mut wait = context.timers.heartbeat;
    loop {
        match run(&mut sending, vote, &mut most, &mut progress).await {
            Ok(vote) => return Ok(vote),
            Err(e @ (TransportError::Removed | TransportError::Refused(_))) => return Err(e),
            Err(e) if progress.elapsed() >= SEND_IDLE_MAX => return Err(e),
            Err(error) => {
                // A cut: ask again from where it was, a little later each time.
                tracing::debug!(%error, session, "a snapshot's transfer was cut");
                context.note_failure(to, &error);
                runtime::sleep(wait).await;
                wait = (wait * 2).min(context.timers.election);
            }
        }
    }
}

/// From one cut to the next.
async fn run(
    sending: &mut Sending<'_>,
    vote: &Vote,
    most: &mut u64,
    progress: &mut Instant,
) -> Result<Vote, TransportError> {
    let (context, to) = (sending.context.clone(), sending.to);
    let mut answer = Sending::call(&context, to, sending.template.clone(), 0, None).await?;
    let mut pace = Pace::resting(RESTS);
    let mut ready: Option<(u64, SnapshotChunk)> = None;
    loop {
        let theirs = wire::ballot_from(answer.ballot)?;
        if answer.installed || theirs.leader_id.term > vote.leader_id.term {
            return Ok(theirs);
        }
        if answer.pieces > *most {
            *most = answer.pieces;
            *progress = Instant::now();
        }
        let at = Position {
            sequence: answer.pieces,
            token: answer.next,
        };
        if at.sequence > 0 && at.token.is_empty() {
            // All of it is there, and being put in place.
            runtime::sleep(context.timers.heartbeat).await;
            *progress = Instant::now();
            answer = Sending::call(&context, to, sending.template.clone(), at.sequence, None).await?;
            continue;
        }
        let chunk = match ready.take() {
            Some((sequence, chunk)) if sequence == at.sequence => chunk,
            _ => sending.read(at.token.clone()).await?,
        };
        let next = chunk.next.clone();
        let request = sending.template.clone();
        let call = Sending::call(&context, to, request, at.sequence, Some(piece(chunk)));
        // The next piece is read while this one is on its way.
        let ahead = async {
            match next {
                Some(token) => sending.read(token).await.map(Some),
                None => Ok(None),
            }
        };
        let (answered, read) = futures::join!(call, ahead);
        if let Some(chunk) = read? {
            ready = Some((at.sequence.saturating_add(1), chunk));
        }
        answer = answered?;
        pace.rest_async().await;
    }
}
