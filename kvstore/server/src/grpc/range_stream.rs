//! RangeStream: one read in chunks of bounded size, all at one revision that no compaction takes away meanwhile.

use crate::auth::Caller;
use crate::core::Core;
use crate::{check, status};
use futures::stream::{self, BoxStream, StreamExt};
use keelson_mvcc::{Asker, Cursor, SLICE_KEYS_MAX};
use keelson_proto::etcdserverpb as pb;
use prost::Message;
use std::sync::Arc;
use tonic::Status;

pub type RangeStream = BoxStream<'static, Result<pb::RangeStreamResponse, Status>>;

/// Keys in the first chunk; the next ones double or halve to stay within half and twice the request size.
const FIRST_CHUNK_KEYS: usize = 10;

struct Chunks {
    core: Arc<Core>,
    /// Who reads: the last chunk says that this was allowed all along.
    asker: Asker,
    cursor: Cursor,
    keys_only: bool,
    /// Keys still to send.
    left: usize,
    chunk_keys: usize,
}

pub async fn open(core: Arc<Core>, caller: &Caller, request: pb::RangeRequest) -> Result<RangeStream, Status> {
    check::range_stream(&request)?;
    if !request.serializable {
        core.barrier().await?;
    }
    let asker = core.require_range(caller, &request.key, &request.range_end).await?;
    let cursor = core.store.cursor(&request).map_err(status::refused)?;
    let left = usize::try_from(request.limit)
        .ok()
        .filter(|n| *n > 0)
        .unwrap_or(usize::MAX);
    let chunks = Chunks {
        core,
        asker,
        cursor,
        keys_only: request.keys_only,
        left,
        chunk_keys: FIRST_CHUNK_KEYS,
    };
    Ok(stream::unfold(Some(chunks), |chunks| async move {
        let (response, rest) = chunks?.next();
        Some((response, rest))
    })
    .boxed())
}

impl Chunks {
    /// The next message, and what is left unless it was the last one.
    fn next(mut self) -> (Result<pb::RangeStreamResponse, Status>, Option<Chunks>) {
        let mut kvs = match self.cursor.next(self.chunk_keys.min(self.left)) {
            Ok(kvs) => kvs,
            Err(error) => return (Err(status::read(error)), None),
        };
        if self.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = bytes::Bytes::new());
        }
        self.left -= kvs.len();
        let mut range = pb::RangeResponse {
            kvs,
            ..Default::default()
        };
        let bytes = range.encoded_len();
        if bytes < self.core.limits.request_bytes / 2 {
            self.chunk_keys = (self.chunk_keys * 2).min(SLICE_KEYS_MAX);
        } else if bytes > self.core.limits.request_bytes.saturating_mul(2) {
            self.chunk_keys = (self.chunk_keys / 2).max(1);
        }
        let last = self.cursor.is_done() || self.left == 0;
        if last {
            if let Err(refused) = self.core.still_allowed(&self.asker) {
                return (Err(refused), None);
            }
            range.header = Some(self.core.header(self.cursor.revision));
            range.count = self.cursor.count;
            range.more = !self.cursor.is_done();
        }
        (
            Ok(pb::RangeStreamResponse {
                range_response: Some(range),
            }),
            (!last).then_some(self),
        )
    }
}
