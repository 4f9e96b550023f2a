//! What locks and elections share: keys below a name, in the order of their creation, each attached to a lease.
//!
//! Both services are clients of the store that happen to live beside it: every step is an ordinary call, with the
//! caller's rights. Errors come back as etcd's do, with code Unknown: in etcd they pass through its client library,
//! which keeps the words and loses the code.

use super::Services;
use crate::auth::Caller;
use crate::watch::stream;
use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::range_request::{SortOrder, SortTarget};
use pb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

/// What a lease gets that a call without one is given, seconds.
const SESSION_TTL_SECONDS: i64 = 60;
/// The lease of calls that only look.
pub const NO_SESSION: i64 = -1;
/// Answers of a watch that wait for the call.
const RESPONSES_WAITING_MAX: usize = 16;

/// The words without the code.
pub fn through_a_client(status: Status) -> Status {
    match status.code() {
        Code::Cancelled | Code::DeadlineExceeded => status,
        _ => Status::unknown(status.message()),
    }
}

/// `name/`: what all keys of a lock or an election begin with.
pub fn prefix(name: &[u8]) -> Vec<u8> {
    let mut prefix = name.to_vec();
    prefix.push(b'/');
    prefix
}

/// `name/lease`, the lease in hexadecimal, with its sign.
pub fn key(name: &[u8], lease: i64) -> Bytes {
    let mut key = prefix(name);
    if lease < 0 {
        key.push(b'-');
    }
    key.extend_from_slice(format!("{:x}", lease.unsigned_abs()).as_bytes());
    key.into()
}

/// Where keys with this prefix end.
fn end_of(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(b"\0")
}

/// The oldest key below a prefix.
pub fn first_created(prefix: &[u8]) -> pb::RangeRequest {
    pb::RangeRequest {
        key: Bytes::copy_from_slice(prefix),
        range_end: end_of(prefix),
        limit: 1,
        sort_order: SortOrder::Ascend as i32,
        sort_target: SortTarget::Create as i32,
        ..Default::default()
    }
}

/// A watch of all keys below a prefix.
pub fn watch_prefix(prefix: &[u8], start_revision: i64) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        key: Bytes::copy_from_slice(prefix),
        range_end: end_of(prefix),
        start_revision,
        ..Default::default()
    }
}

pub fn created_at(key: Bytes, revision: i64) -> pb::Compare {
    pb::Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Create as i32,
        key,
        target_union: Some(TargetUnion::CreateRevision(revision)),
        range_end: Bytes::new(),
    }
}

fn op(request: pb::request_op::Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

pub fn put(key: Bytes, value: Bytes, lease: i64) -> pb::RequestOp {
    let request = pb::PutRequest {
        key,
        value,
        lease,
        ..Default::default()
    };
    op(pb::request_op::Request::RequestPut(request))
}

pub fn get(request: pb::RangeRequest) -> pb::RequestOp {
    op(pb::request_op::Request::RequestRange(request))
}

pub fn delete(key: Bytes) -> pb::RequestOp {
    let request = pb::DeleteRangeRequest {
        key,
        ..Default::default()
    };
    op(pb::request_op::Request::RequestDeleteRange(request))
}

pub fn one(key: Bytes) -> pb::RangeRequest {
    pb::RangeRequest {
        key,
        ..Default::default()
    }
}

/// The first key that the range at this place of a transaction's answer found.
pub fn found(response: &pb::TxnResponse, at: usize) -> Option<&mvccpb::KeyValue> {
    match response.responses.get(at)?.response.as_ref()? {
        pb::response_op::Response::ResponseRange(range) => range.kvs.first(),
        _ => None,
    }
}

pub fn revision_of(header: Option<&pb::ResponseHeader>) -> i64 {
    header.map_or(0, |h| h.revision)
}

/// A watch of one's own, without a socket.
pub struct Follow {
    responses: mpsc::Receiver<Result<pb::WatchResponse, Status>>,
    /// The stream lasts as long as it.
    _requests: mpsc::Sender<pb::WatchRequest>,
}

impl Follow {
    pub fn open(services: &Services, caller: &Caller, create: pb::WatchCreateRequest) -> Follow {
        let (requests, receiver) = mpsc::channel(1);
        let (sender, responses) = mpsc::channel(RESPONSES_WAITING_MAX);
        // The channel is new: there is room for one.
        let _ = requests.try_send(pb::WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create)),
        });
        let stop = services.stop.clone();
        let requests_of_stream = ReceiverStream::new(receiver);
        let run = stream::run(services.core.clone(), caller.clone(), requests_of_stream, sender, stop);
        tokio::spawn(run);
        Follow {
            responses,
            _requests: requests,
        }
    }

    /// The next answer that has events; `None`: their revisions are compacted.
    pub async fn next(&mut self) -> Result<Option<pb::WatchResponse>, Status> {
        loop {
            let response = self.responses.recv().await.ok_or_else(crate::status::stopped)??;
            if response.canceled {
                if response.compact_revision > 0 {
                    return Ok(None);
                }
                return Err(Status::unknown(response.cancel_reason));
            }
            if !response.events.is_empty() {
                return Ok(Some(response));
            }
        }
    }
}

pub fn is_delete(event: &mvccpb::Event) -> bool {
    event.r#type == mvccpb::event::EventType::Delete as i32
}

impl Services {
    /// The lease itself; a new one for 0. One that is given has its time begin again, if it exists.
    pub async fn session(&self, caller: &Caller, lease: i64) -> Result<i64, Status> {
        if lease == 0 {
            let request = pb::LeaseGrantRequest {
                id: 0,
                ttl: SESSION_TTL_SECONDS,
            };
            return Ok(self.core.lease_grant(caller, request).await?.id);
        }
        if lease != NO_SESSION
            && let Err(error) = self.core.lease_keep_alive(caller, lease).await
        {
            // What needs the lease will say so.
            tracing::debug!(lease, %error, "keep a session's lease alive");
        }
        Ok(lease)
    }

    /// Returns when no key below the prefix is older than `created`.
    pub async fn wait_for_elders(&self, caller: &Caller, prefix: &[u8], created: i64) -> Result<(), Status> {
        loop {
            let elder = pb::RangeRequest {
                sort_order: SortOrder::Descend as i32,
                max_create_revision: created - 1,
                ..first_created(prefix)
            };
            let read = self.core.range(caller, elder).await?;
            let Some(last) = read.kvs.first() else { return Ok(()) };
            let create = pb::WatchCreateRequest {
                key: last.key.clone(),
                start_revision: revision_of(read.header.as_ref()),
                ..Default::default()
            };
            let mut follow = Follow::open(self, caller, create);
            // What was compacted away is looked at again.
            while let Some(response) = follow.next().await? {
                if response.events.iter().any(is_delete) {
                    break;
                }
            }
        }
    }
}

/// Takes a key away when the call that waits with it is dropped.
pub struct Cleanup {
    then: Option<(Services, Caller, pb::TxnRequest)>,
}

impl Cleanup {
    pub fn new(services: &Services, caller: &Caller, request: pb::TxnRequest) -> Cleanup {
        Cleanup {
            then: Some((services.clone(), caller.clone(), request)),
        }
    }

    /// The call has got what it waited for.
    pub fn disarm(mut self) {
        self.then = None;
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        let Some((services, caller, request)) = self.then.take() else {
            return;
        };
        tokio::spawn(async move {
            if let Err(error) = services.core.txn(&caller, request).await {
                // The lease takes it away in the end.
                tracing::debug!(%error, "take back a key that waited");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_name_and_the_lease_in_hexadecimal() {
        assert_eq!(key(b"a", 0x2040_a218), "a/2040a218");
        assert_eq!(key(b"", -5), "/-5");
        assert_eq!(end_of(b"a/"), "a0");
        assert_eq!(end_of(b"a\xff"), "b");
        assert_eq!(end_of(b"\xff"), "\0");
    }
}
