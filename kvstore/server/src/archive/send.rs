//! Maintenance.Snapshot: a bbolt file in pieces, and its SHA-256 behind it.
//!
//! The file is built first, on the store's disk, because its length is told with the first piece and its meta pages
//! are written last. It has no name: whatever happens, nothing is left of it.

use super::{ArchiveError, Rows, contents};
use crate::status;
use futures::StreamExt;
use futures::stream::BoxStream;
use keelson_bolt::etcd::{FileSink, STORAGE_VERSION, write};
use keelson_mvcc::Store;
use keelson_proto::etcdserverpb as pb;
use keelson_raft::runtime::{self, Pace};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

pub type SnapshotStream = BoxStream<'static, Result<pb::SnapshotResponse, Status>>;

/// Bytes of one message: etcd's `snapshotSendBufferSize`.
const PIECE_BYTES: usize = 32 << 10;
/// Bytes read at once.
const READ_BYTES: usize = 16 * PIECE_BYTES;
/// Others are served meanwhile: rests between reads take so many times as long as the pieces before.
const RESTS: u32 = 1;
/// Messages that wait for the client.
const PIECES_WAITING_MAX: usize = 16;
/// Snapshots under way at once: each is a copy of the store on its disk.
pub const SNAPSHOTS_MAX: usize = 2;
/// A client that takes no piece for this long is given up, and so makes room for others.
const STALL_MAX: Duration = Duration::from_secs(60);

/// What a member's snapshots under way take their place in.
pub fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(SNAPSHOTS_MAX))
}

fn build(store: &Arc<Store>, members: &[pb::Member], pieces: &Pieces) -> Result<File, ArchiveError> {
    let dump = store.dump();
    let contents = contents(&dump.holdings, members);
    let mut sink = FileSink::create(store.scratch_file()?)?;
    let mut rows = Rows::new(dump).until(|| pieces.is_closed());
    write(&mut sink, &contents, &mut rows)?;
    Ok(sink.finish()?)
}

fn failed(error: &dyn std::fmt::Display) -> Status {
    tracing::warn!(%error, "make a snapshot");
    Status::internal(format!("etcdserver: snapshot: {error}"))
}

/// A snapshot of the state as of now. The stream begins when the file is built; giving it up stops the work.
pub fn open(store: Arc<Store>, members: Vec<pb::Member>, room: &Arc<Semaphore>) -> Result<SnapshotStream, Status> {
    let permit = room
        .clone()
        .try_acquire_owned()
        .map_err(|_| status::too_many_requests())?;
    let (pieces, stream) = mpsc::channel(PIECES_WAITING_MAX);
    tokio::spawn(run(store, members, pieces, permit));
    Ok(ReceiverStream::new(stream).boxed())
}

type Pieces = mpsc::Sender<Result<pb::SnapshotResponse, Status>>;

/// False: the client is gone, or as good as.
async fn give(pieces: &Pieces, piece: Result<pb::SnapshotResponse, Status>) -> bool {
    match tokio::time::timeout(STALL_MAX, pieces.send(piece)).await {
        Ok(sent) => sent.is_ok(),
        Err(_) => {
            tracing::warn!(
                seconds = STALL_MAX.as_secs(),
                "a client takes no more of its snapshot: given up"
            );
            false
        }
    }
}

async fn run(store: Arc<Store>, members: Vec<pb::Member>, pieces: Pieces, permit: OwnedSemaphorePermit) {
    let began = Instant::now();
    let listener = pieces.clone();
    let built = runtime::spawn_aside("snapshot", move || build(&store, &members, &listener)).await;
    let file = match built {
        Ok(Ok(file)) => Arc::new(file),
        Ok(Err(error)) => {
            give(&pieces, Err(failed(&error))).await;
            return;
        }
        Err(_) => {
            give(&pieces, Err(status::stopped())).await;
            return;
        }
    };
    match send(&file, &pieces).await {
        Ok(Some(total_bytes)) => tracing::info!(
            total_bytes,
            took_ms = began.elapsed().as_millis() as u64,
            "successfully sent database snapshot to client"
        ),
        Ok(None) => {}
        Err(error) => {
            give(&pieces, Err(failed(&error))).await;
        }
    }
    drop(permit);
}

fn message(remaining_bytes: u64, blob: bytes::Bytes) -> pb::SnapshotResponse {
    // Without a header, as etcd's.
    pb::SnapshotResponse {
        header: None,
        remaining_bytes,
        blob,
        version: STORAGE_VERSION.to_owned(),
    }
}

/// Bytes of the file when all was sent; `None` when nobody takes it any more.
async fn send(file: &Arc<File>, pieces: &Pieces) -> Result<Option<u64>, ArchiveError> {
    let io = |what: &str| {
        let what = what.to_owned();
        move |e| ArchiveError::Io(what, e)
    };
    let total = file.metadata().map_err(io("read the snapshot's size"))?.len();
    tracing::info!(total_bytes = total, "sending database snapshot to client");
    let mut sum = Sha256::new();
    let (mut at, mut pace) = (0, Pace::resting(RESTS));
    while at < total {
        let want = (total - at).min(READ_BYTES as u64) as usize;
        let (source, mut summed) = (file.clone(), sum);
        // Hashed there too: it takes longer than reading.
        let read = runtime::spawn_aside("snapshot", move || {
            let mut bytes = vec![0; want];
            source.read_exact_at(&mut bytes, at)?;
            summed.update(&bytes);
            Ok((bytes, summed))
        });
        let (bytes, summed) = match read.await {
            Ok(read) => read.map_err(io("read the snapshot"))?,
            Err(_) => return Ok(None),
        };
        sum = summed;
        let mut rest = bytes::Bytes::from(bytes);
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(PIECE_BYTES));
            at += piece.len() as u64;
            if !give(pieces, Ok(message(total - at, piece))).await {
                return Ok(None);
            }
        }
        pace.rest_async().await;
    }
    let sum = bytes::Bytes::copy_from_slice(&sum.finalize());
    Ok(give(pieces, Ok(message(0, sum))).await.then_some(total))
}
