//! The Storage trait in etcd's requests, whoever answers them (upstream: apiserver/pkg/storage/etcd3).
//!
//! Both stores share this code, so that they can only differ where the answers do.
use super::leases::{self, Shared};
use super::{Error, Guarded, KeyValue, ListResult, Revision, Storage, VersionTxn, WatchItem, WatchReceiver};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use keelson_proto::{etcdserverpb as pb, mvccpb};
use parking_lot::Mutex;
use pb::{compare, request_op, response_op, watch_request};
use std::pin::Pin;
use std::time::Instant;
use tokio::sync::mpsc;
use tonic::{Code, Status};

pub type WatchStream = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

/// Batches of events that wait for a reader; then the store's own flow control holds them.
const WATCH_BATCHES_MAX: usize = 16;
/// Requests that wait on one watch stream: its creation, then progress requests.
const WATCH_REQUESTS_MAX: usize = 4;

/// The calls of an etcd v3 that the API server needs.
#[async_trait::async_trait]
pub trait Calls: Send + Sync + 'static {
    async fn range(&self, r: pb::RangeRequest) -> Result<pb::RangeResponse, Status>;
    async fn txn(&self, r: pb::TxnRequest) -> Result<pb::TxnResponse, Status>;
    async fn compact(&self, r: pb::CompactionRequest) -> Result<(), Status>;
    async fn lease_grant(&self, r: pb::LeaseGrantRequest) -> Result<pb::LeaseGrantResponse, Status>;
    async fn watch(&self, requests: mpsc::Receiver<pb::WatchRequest>) -> Result<WatchStream, Status>;
}

struct OpenWatch {
    prefix: Bytes,
    requests: mpsc::WeakSender<pb::WatchRequest>,
}

pub struct Etcd3<C> {
    calls: C,
    lease: tokio::sync::Mutex<Shared>,
    watches: Mutex<Vec<OpenWatch>>,
}

impl<C: Calls> Etcd3<C> {
    pub fn new(calls: C) -> Self {
        Etcd3 {
            calls,
            lease: tokio::sync::Mutex::default(),
            watches: Mutex::default(),
        }
    }

    async fn lease(&self, ttl_seconds: u64, fresh: bool) -> Result<i64, Error> {
        if ttl_seconds == 0 {
            return Ok(0);
        }
        let mut shared = self.lease.lock().await;
        if !fresh && let Some(id) = shared.take(ttl_seconds, Instant::now()) {
            return Ok(id);
        }
        let before = Instant::now();
        let request = pb::LeaseGrantRequest {
            ttl: leases::granted_seconds(ttl_seconds),
            id: 0,
        };
        let granted = self.calls.lease_grant(request).await.map_err(error)?;
        shared.set(granted.id, ttl_seconds, before);
        Ok(granted.id)
    }

    async fn guarded(&self, key: &[u8], expected: Revision, write: request_op::Request) -> Result<Guarded, Status> {
        let target = compare::TargetUnion::ModRevision(signed(expected));
        let answer = self
            .calls
            .txn(when(key, compare::CompareTarget::Mod, target, write))
            .await?;
        let revision = revision(answer.header.as_ref());
        if answer.succeeded {
            return Ok(Guarded::Done(revision));
        }
        Ok(Guarded::Conflict {
            current: first_kv(answer).map(key_value),
            revision,
        })
    }
}

/// `If key's target == value Then write Else Range key`.
fn when(
    key: &[u8],
    target: compare::CompareTarget,
    value: compare::TargetUnion,
    write: request_op::Request,
) -> pb::TxnRequest {
    let read = pb::RangeRequest {
        key: Bytes::copy_from_slice(key),
        limit: 1,
        ..Default::default()
    };
    pb::TxnRequest {
        compare: vec![pb::Compare {
            result: compare::CompareResult::Equal.into(),
            target: target.into(),
            key: Bytes::copy_from_slice(key),
            target_union: Some(value),
            ..Default::default()
        }],
        success: vec![pb::RequestOp { request: Some(write) }],
        failure: vec![pb::RequestOp {
            request: Some(request_op::Request::RequestRange(read)),
        }],
    }
}

fn first_kv(answer: pb::TxnResponse) -> Option<mvccpb::KeyValue> {
    match answer.responses.into_iter().next()?.response? {
        response_op::Response::ResponseRange(r) => r.kvs.into_iter().next(),
        _ => None,
    }
}

fn signed(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn unsigned(revision: i64) -> Revision {
    u64::try_from(revision).unwrap_or(0)
}

fn revision(header: Option<&pb::ResponseHeader>) -> Revision {
    header.map_or(0, |h| unsigned(h.revision))
}

fn key_value(kv: mvccpb::KeyValue) -> KeyValue {
    KeyValue {
        key: kv.key,
        value: kv.value,
        mod_revision: unsigned(kv.mod_revision),
    }
}

fn put_request(key: &[u8], value: Bytes, lease: i64) -> request_op::Request {
    request_op::Request::RequestPut(pb::PutRequest {
        key: Bytes::copy_from_slice(key),
        value,
        lease,
        ..Default::default()
    })
}

fn error(s: Status) -> Error {
    let text = s.message();
    match s.code() {
        Code::OutOfRange if text.contains("compacted") => Error::Compacted,
        Code::OutOfRange if text.contains("future revision") => Error::Future,
        Code::InvalidArgument if text.contains("request is too large") => Error::TooLarge,
        Code::ResourceExhausted if text.contains("message larger than max") => Error::TooLarge,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => Error::Unavailable(text.into()),
        _ => Error::Other(text.into()),
    }
}

#[async_trait::async_trait]
impl<C: Calls> Storage for Etcd3<C> {
    async fn get(&self, key: &[u8]) -> Result<(Option<KeyValue>, Revision), Error> {
        let request = pb::RangeRequest {
            key: Bytes::copy_from_slice(key),
            limit: 1,
            ..Default::default()
        };
        let answer = self.calls.range(request).await.map_err(error)?;
        let revision = revision(answer.header.as_ref());
        Ok((answer.kvs.into_iter().next().map(key_value), revision))
    }

    async fn list(&self, start: &[u8], end: &[u8], limit: u64, at: Revision) -> Result<ListResult, Error> {
        let request = pb::RangeRequest {
            key: Bytes::copy_from_slice(start),
            range_end: Bytes::copy_from_slice(end),
            limit: signed(limit),
            revision: signed(at),
            ..Default::default()
        };
        let answer = self.calls.range(request).await.map_err(error)?;
        Ok(ListResult {
            revision: revision(answer.header.as_ref()),
            count: unsigned(answer.count),
            items: answer.kvs.into_iter().map(key_value).collect(),
        })
    }

    async fn put(&self, key: &[u8], value: Bytes, expected: Revision, ttl_seconds: u64) -> Result<Guarded, Error> {
        let lease = self.lease(ttl_seconds, false).await?;
        match self
            .guarded(key, expected, put_request(key, value.clone(), lease))
            .await
        {
            // The shared lease was revoked behind our back, or its store was restored: a fresh one serves.
            Err(s) if lease != 0 && s.code() == Code::NotFound => {
                let lease = self.lease(ttl_seconds, true).await?;
                self.guarded(key, expected, put_request(key, value, lease))
                    .await
                    .map_err(error)
            }
            other => other.map_err(error),
        }
    }

    async fn delete(&self, key: &[u8], expected: Revision) -> Result<Guarded, Error> {
        let write = pb::DeleteRangeRequest {
            key: Bytes::copy_from_slice(key),
            ..Default::default()
        };
        let write = request_op::Request::RequestDeleteRange(write);
        self.guarded(key, expected, write).await.map_err(error)
    }

    async fn watch(&self, prefix: &[u8], from: Revision) -> Result<WatchReceiver, Error> {
        let prefix = Bytes::copy_from_slice(prefix);
        let (requests, receiver) = mpsc::channel(WATCH_REQUESTS_MAX);
        let create = pb::WatchCreateRequest {
            key: prefix.clone(),
            range_end: super::keys::prefix_end(&prefix).into(),
            start_revision: signed(from.saturating_add(1)),
            progress_notify: true,
            prev_kv: true,
            ..Default::default()
        };
        let create = watch_request::RequestUnion::CreateRequest(create);
        // The channel is empty and its receiver is held: this cannot fail, and if it did the watch would end.
        let _ = requests.try_send(pb::WatchRequest {
            request_union: Some(create),
        });
        let stream = self.calls.watch(receiver).await.map_err(error)?;
        {
            let mut open = self.watches.lock();
            open.retain(|w| w.requests.strong_count() > 0);
            open.push(OpenWatch {
                prefix,
                requests: requests.downgrade(),
            });
        }
        let (sender, events) = mpsc::channel(WATCH_BATCHES_MAX);
        tokio::spawn(pump(stream, requests, sender));
        Ok(events)
    }

    async fn request_progress(&self, prefix: &[u8]) -> Result<(), Error> {
        let requests: Vec<_> = self
            .watches
            .lock()
            .iter()
            .filter(|w| w.prefix == prefix)
            .filter_map(|w| w.requests.upgrade())
            .collect();
        for r in requests {
            let ask = watch_request::RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
            // A full queue already holds such a request.
            let _ = r.try_send(pb::WatchRequest {
                request_union: Some(ask),
            });
        }
        Ok(())
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        let request = pb::CompactionRequest {
            revision: signed(revision),
            physical: false,
        };
        self.calls.compact(request).await.map_err(error)
    }

    async fn current_revision(&self) -> Result<Revision, Error> {
        let request = pb::RangeRequest {
            key: Bytes::from_static(b"/registry/health"),
            count_only: true,
            ..Default::default()
        };
        let answer = self.calls.range(request).await.map_err(error)?;
        Ok(revision(answer.header.as_ref()))
    }

    async fn put_version(&self, key: &[u8], version: u64, value: Bytes) -> Result<VersionTxn, Error> {
        let target = compare::TargetUnion::Version(signed(version));
        let write = put_request(key, value.clone(), 0);
        let answer = self
            .calls
            .txn(when(key, compare::CompareTarget::Version, target, write))
            .await
            .map_err(error)?;
        let revision = revision(answer.header.as_ref());
        if answer.succeeded {
            return Ok(VersionTxn {
                done: true,
                version: version + 1,
                value,
                revision,
            });
        }
        let (version, value) = first_kv(answer).map_or((0, Bytes::new()), |kv| (unsigned(kv.version), kv.value));
        Ok(VersionTxn {
            done: false,
            version,
            value,
            revision,
        })
    }
}

/// Carries one watch stream to its reader. `requests` is held so that the stream lives as long as the reader.
async fn pump(
    mut stream: WatchStream,
    requests: mpsc::Sender<pb::WatchRequest>,
    sender: mpsc::Sender<Result<Vec<WatchItem>, Error>>,
) {
    let end = loop {
        let next = tokio::select! {
            () = sender.closed() => break None,
            next = stream.next() => next,
        };
        let response = match next {
            None => break Some(Error::Unavailable("watch stream ended".into())),
            Some(Err(s)) => break Some(error(s)),
            Some(Ok(r)) => r,
        };
        if response.canceled {
            break Some(cancelled(&response));
        }
        match items(response) {
            Err(e) => break Some(e),
            Ok(batch) if batch.is_empty() => {}
            Ok(batch) => {
                if sender.send(Ok(batch)).await.is_err() {
                    break None;
                }
            }
        }
    };
    drop(requests);
    if let Some(e) = end {
        let _ = sender.send(Err(e)).await;
    }
}

fn cancelled(r: &pb::WatchResponse) -> Error {
    if r.compact_revision > 0 || r.cancel_reason.contains("compacted") {
        Error::Compacted
    } else {
        Error::Unavailable(format!("watch cancelled: {}", r.cancel_reason))
    }
}

fn items(r: pb::WatchResponse) -> Result<Vec<WatchItem>, Error> {
    if r.events.is_empty() {
        // `created` is no promise that everything up to its revision was delivered; a notification is.
        let progress = !r.created && !r.fragment;
        return Ok(if progress {
            vec![WatchItem::Progress(revision(r.header.as_ref()))]
        } else {
            Vec::new()
        });
    }
    r.events.into_iter().map(item).collect()
}

fn item(e: mvccpb::Event) -> Result<WatchItem, Error> {
    let kind = e.r#type();
    let kv = e.kv.ok_or_else(|| Error::Other("watch event without a key".into()))?;
    let prev = e.prev_kv.map(key_value);
    Ok(match kind {
        mvccpb::event::EventType::Put => {
            let create = kv.create_revision == kv.mod_revision;
            WatchItem::Put {
                kv: key_value(kv),
                create,
                prev,
            }
        }
        mvccpb::event::EventType::Delete => WatchItem::Delete {
            key: kv.key,
            revision: unsigned(kv.mod_revision),
            prev,
        },
    })
}
