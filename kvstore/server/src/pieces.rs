//! A large answer to a Range: one message of known length, made piece by piece as its client takes it. No more of it
//! than ten pieces is in memory at any time.

use crate::core::Core;
use crate::status;
use bytes::{BufMut, Bytes};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use keelson_mvcc::{Asker, Listing};
use keelson_proto::etcdserverpb as pb;
use prost::Message;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tonic::Status;

/// Answers with at least so many bytes of keys and values are made in pieces.
pub const IN_PIECES_BYTES_MIN: u64 = 16 << 10;
/// About how long a piece is, bytes.
const PIECE_BYTES: u64 = 256 << 10;
/// Pieces that are read at once where a thread is woken for them: waking it costs as much as reading one.
const PIECES_AT_ONCE: usize = 4;
/// Answers up to this size are read on the thread that sends them, bytes.
const SHORT_BYTES_MAX: u64 = 1 << 20;
/// grpc-go sends no longer message, and no client takes one.
const MESSAGE_BYTES_MAX: u64 = i32::MAX as u64;

/// What a Range is answered with.
pub enum RangeAnswer {
    Whole(pb::RangeResponse),
    Pieces(Box<RangePieces>),
}

/// The answer before the first piece is read.
pub struct RangePieces {
    core: Arc<Core>,
    /// Who reads: the last piece says that this was allowed all along.
    asker: Asker,
    request: pb::RangeRequest,
    listing: Listing,
    /// Fields before and after the `kvs`.
    head: Bytes,
    tail: Bytes,
    keys: u64,
    /// Time that reading has taken, without what the client takes.
    took: Duration,
    begun: bool,
}

impl RangePieces {
    pub fn new(
        core: Arc<Core>,
        asker: Asker,
        request: pb::RangeRequest,
        listing: Listing,
    ) -> Result<RangePieces, Status> {
        let head = pb::RangeResponse {
            header: Some(core.header(listing.revision())),
            ..Default::default()
        };
        let tail = pb::RangeResponse {
            more: listing.has_more(),
            count: listing.count(),
            ..Default::default()
        };
        let pieces = RangePieces {
            core,
            asker,
            request,
            head: head.encode_to_vec().into(),
            tail: tail.encode_to_vec().into(),
            keys: listing.keys_left(),
            listing,
            took: Duration::ZERO,
            begun: false,
        };
        let bytes = pieces.bytes();
        if bytes > MESSAGE_BYTES_MAX {
            return Err(Status::resource_exhausted(format!(
                "grpc: trying to send message larger than max ({bytes} vs. {MESSAGE_BYTES_MAX})"
            )));
        }
        Ok(pieces)
    }

    /// Of the whole message.
    pub fn bytes(&self) -> u64 {
        self.head.len() as u64 + self.listing.bytes() + self.tail.len() as u64
    }

    /// Keys in the whole range.
    pub fn count(&self) -> i64 {
        self.listing.count()
    }

    /// The pieces in order. A failure ends them: then the message stays incomplete, and no client takes it for an answer.
    pub fn into_stream(self: Box<Self>) -> BoxStream<'static, Piece> {
        if self.bytes() <= SHORT_BYTES_MAX {
            return stream::unfold(Some(self), |pieces| async move {
                let pieces = pieces?;
                if pieces.begun {
                    // What is read already goes out meanwhile.
                    tokio::task::yield_now().await;
                }
                Some(pieces.read())
            })
            .boxed();
        }
        stream::unfold(Some(Ahead::new(self)), |ahead| async move { Some(ahead?.next().await) })
            .flat_map(stream::iter)
            .boxed()
    }

    /// The next piece, and the rest if there is one.
    fn read(mut self: Box<Self>) -> (Piece, Option<Box<Self>>) {
        let mut out = Vec::new();
        let read = self.append(&mut out);
        let goes_on = read.is_ok() && self.listing.keys_left() > 0;
        (read.map(|()| out.into()), goes_on.then_some(self))
    }

    fn append(&mut self, out: &mut Vec<u8>) -> Result<(), Status> {
        let begun = Instant::now();
        if !std::mem::replace(&mut self.begun, true) {
            out.put_slice(&self.head);
        }
        self.listing.next(PIECE_BYTES, out).map_err(status::read)?;
        self.took += begun.elapsed();
        if self.listing.keys_left() == 0 {
            self.core.still_allowed(&self.asker)?;
            let (keys, bytes) = (self.keys, self.bytes());
            self.core.slow.tell_pieces(self.took, &self.request, keys, bytes);
            out.put_slice(&self.tail);
        }
        Ok(())
    }
}

type Piece = Result<Bytes, Status>;
type Pieces = SmallVec<[Piece; PIECES_AT_ONCE]>;

/// A long answer is read by other threads, some pieces ahead of what its client has taken. No thread waits for a client.
struct Ahead(JoinHandle<(Pieces, Option<Box<RangePieces>>)>);

impl Ahead {
    fn new(pieces: Box<RangePieces>) -> Ahead {
        Ahead(tokio::task::spawn_blocking(move || {
            let (mut read, mut rest) = (Pieces::new(), Some(pieces));
            while read.len() < PIECES_AT_ONCE
                && let Some(pieces) = rest.take()
            {
                let (piece, left) = pieces.read();
                read.push(piece);
                rest = left;
            }
            (read, rest)
        }))
    }

    /// What was read, and what is being read from now on.
    async fn next(self) -> (Pieces, Option<Ahead>) {
        match self.0.await {
            Ok((pieces, rest)) => (pieces, rest.map(Ahead::new)),
            Err(_) => (smallvec![Err(status::stopped())], None),
        }
    }
}
