//! What the log drives: the store, with a clock beside it and a bell for the trimmer. And requests that took too long, for
//! the log of this process: in etcd's words and fields, values left out.

use crate::metrics::Metrics;
use keelson_mvcc::{AppliedState, Command, LogEntry, Reply, Response, StateMachine, Store};
use keelson_mvcc::{SnapshotReader, SnapshotWriter, StorageError};
use keelson_proto::etcdserverpb as pb;
use pb::request_op::Request;
use prost::Message;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What is shown of a request, bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// The store, watched: entries that take long to apply are told, and compactions are handed to the trimmer, whichever
/// member was asked for them.
pub struct WatchedStore {
    pub store: Arc<Store>,
    pub slow: SlowApplies,
    pub compacted: Arc<Notify>,
}

/// From when on applying or reading is slow.
#[derive(Clone)]
pub struct SlowApplies {
    /// Zero: nothing is told.
    pub limit: Duration,
    pub metrics: Arc<Metrics>,
}

impl SlowApplies {
    fn is_slow(&self, begun: Instant) -> bool {
        !self.limit.is_zero() && begun.elapsed() > self.limit
    }

    /// Entries are applied in batches, so it is the batch that took long; its largest entry stands for it.
    fn tell_batch(&self, begun: Instant, entries: &[LogEntry], responses: &[Response]) {
        if !self.is_slow(begun) {
            return;
        }
        let largest = entries.iter().zip(responses).max_by_key(|(e, _)| e.command.len());
        let Some((entry, response)) = largest else { return };
        let request = match Command::decode(entry.command.clone()) {
            Ok(command) => command_text(&command),
            Err(_) => String::new(),
        };
        let (size, error) = match response {
            Ok(reply) => (reply_bytes(reply), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let response = size.map(|size| format!("size:{size}")).unwrap_or_default();
        self.tell(
            begun.elapsed(),
            "",
            &request,
            &response,
            error.as_deref(),
            entries.len(),
        );
    }

    pub fn tell_range(&self, begun: Instant, request: &pb::RangeRequest, response: &pb::RangeResponse) {
        if self.is_slow(begun) {
            let text = format!(
                "range_response_count:{} size:{}",
                response.kvs.len(),
                response.encoded_len()
            );
            self.tell(
                begun.elapsed(),
                "read-only range ",
                &range_text(request),
                &text,
                None,
                1,
            );
        }
    }

    /// A range that was read in pieces, which took so long together.
    pub fn tell_pieces(&self, took: Duration, request: &pb::RangeRequest, count: u64, bytes: u64) {
        if !self.limit.is_zero() && took > self.limit {
            let text = format!("range_response_count:{count} size:{bytes}");
            self.tell(took, "read-only range ", &range_text(request), &text, None, 1);
        }
    }

    pub fn tell_txn(&self, begun: Instant, request: &pb::TxnRequest, response: &pb::TxnResponse) {
        if self.is_slow(begun) {
            let text = format!("responses:{} size:{}", response.responses.len(), response.encoded_len());
            self.tell(begun.elapsed(), "read-only txn ", &txn_text(request), &text, None, 1);
        }
    }

    fn tell(&self, took: Duration, prefix: &str, request: &str, response: &str, error: Option<&str>, entries: usize) {
        self.metrics.raft.applies_slow.inc();
        tracing::warn!(
            took = ?took,
            "expected-duration" = ?self.limit,
            prefix,
            request,
            response,
            error,
            entries,
            "apply request took too long"
        );
    }
}

impl StateMachine for WatchedStore {
    type Response = Response;

    fn applied_state(&self) -> AppliedState {
        self.store.applied_state()
    }
    fn apply(&self, entries: &[LogEntry]) -> Result<Vec<Response>, StorageError> {
        let begun = Instant::now();
        let responses = self.store.apply(entries)?;
        self.slow.tell_batch(begun, entries, &responses);
        if self.store.trim_pending() {
            self.compacted.notify_one();
        }
        Ok(responses)
    }
    fn durable_index(&self) -> Result<u64, StorageError> {
        self.store.durable_index()
    }
    fn flush(&self) -> Result<(), StorageError> {
        self.store.flush()
    }
    fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, StorageError> {
        self.store.snapshot()
    }
    fn begin_install(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        self.store.begin_install()
    }
}

/// What a unary call was about, for the line that says that it took long. An extension of its answer.
#[derive(Clone, Debug)]
pub struct CallStats {
    pub request_count: i64,
    pub request_bytes: usize,
    pub response_count: i64,
    pub response_bytes: usize,
    pub content: String,
}

impl CallStats {
    pub fn range(request: &pb::RangeRequest, response: &pb::RangeResponse) -> CallStats {
        CallStats::range_of(request, response.count, response.encoded_len())
    }

    /// Of a range whose answer is no longer there.
    pub fn range_of(request: &pb::RangeRequest, response_count: i64, response_bytes: usize) -> CallStats {
        CallStats {
            request_count: 0,
            request_bytes: request.encoded_len(),
            response_count,
            response_bytes,
            content: range_text(request),
        }
    }

    pub fn put(request: &pb::PutRequest, response: &pb::PutResponse) -> CallStats {
        CallStats {
            request_count: 1,
            request_bytes: request.encoded_len(),
            response_count: 0,
            response_bytes: response.encoded_len(),
            content: put_text(request),
        }
    }

    pub fn delete_range(request: &pb::DeleteRangeRequest, response: &pb::DeleteRangeResponse) -> CallStats {
        CallStats {
            request_count: 0,
            request_bytes: request.encoded_len(),
            response_count: response.deleted,
            response_bytes: response.encoded_len(),
            content: delete_text(request),
        }
    }

    /// The branch that was taken counts.
    pub fn txn(request: &pb::TxnRequest, response: &pb::TxnResponse) -> CallStats {
        let taken = if response.succeeded {
            &request.success
        } else {
            &request.failure
        };
        CallStats {
            request_count: i64::try_from(taken.len()).unwrap_or(i64::MAX),
            request_bytes: taken.iter().map(Message::encoded_len).sum(),
            response_count: 0,
            response_bytes: response.encoded_len(),
            content: txn_text(request),
        }
    }
}

fn reply_bytes(reply: &Reply) -> Option<usize> {
    match reply {
        Reply::Put(r) => Some(r.encoded_len()),
        Reply::DeleteRange(r) => Some(r.encoded_len()),
        Reply::Txn(r) => Some(r.encoded_len()),
        Reply::Compact(r) => Some(r.encoded_len()),
        Reply::LeaseGrant(r) => Some(r.encoded_len()),
        Reply::LeaseRevoke(r) => Some(r.encoded_len()),
        _ => None,
    }
}

/// Of commands that carry secrets only the kind is shown.
fn command_text(command: &Command) -> String {
    match command {
        Command::Put(r) => format!("put:<{} >", put_text(r)),
        Command::DeleteRange(r) => format!("delete_range:<{} >", delete_text(r)),
        Command::Txn(r) => format!("txn:<{} >", txn_text(r)),
        Command::Compact(r) => format!("compaction:<revision:{} physical:{} >", r.revision, r.physical),
        Command::LeaseGrant(r) => format!("lease_grant:<ttl:{}-second id:{:016x}>", r.ttl, r.id),
        Command::LeaseRevoke(r) => format!("lease_revoke:<id:{:016x}>", r.id),
        Command::LeaseCheckpoint(r) => format!("lease_checkpoint:<checkpoints:{} >", r.checkpoints.len()),
        Command::Alarm(r) => format!(
            "alarm:<action:{} memberID:{} alarm:{} >",
            r.action, r.member_id, r.alarm
        ),
        Command::MemberAttributes(r) => format!("cluster_member_attr_set:<member_ID:{} >", r.member_id),
        Command::ClusterVersion(r) => format!("cluster_version_set:<ver:{:?} >", r.version),
        Command::Downgrade(r) => format!("downgrade_info_set:<enabled:{} >", r.enabled),
        Command::MemberRemoved(r) => format!("member_removed:<member_ID:{} >", r.member_id),
        _ => "auth:<>".to_owned(),
    }
}

fn shown(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.get(..TEXT_BYTES_MAX).unwrap_or(bytes).escape_ascii())
}

fn interval(key: &[u8], end: &[u8]) -> String {
    if end.is_empty() {
        format!("key:{}", shown(key))
    } else {
        format!("key:{} range_end:{}", shown(key), shown(end))
    }
}

fn put_text(r: &pb::PutRequest) -> String {
    let mut text = format!("key:{} value_size:{}", shown(&r.key), r.value.len());
    if r.lease != 0 {
        let _ = write!(text, " lease:{}", r.lease);
    }
    text
}

fn delete_text(r: &pb::DeleteRangeRequest) -> String {
    interval(&r.key, &r.range_end)
}

fn range_text(r: &pb::RangeRequest) -> String {
    let mut text = interval(&r.key, &r.range_end);
    if r.limit != 0 {
        let _ = write!(text, " limit:{}", r.limit);
    }
    if r.revision != 0 {
        let _ = write!(text, " revision:{}", r.revision);
    }
    for (said, words) in [
        (r.serializable, " serializable:true"),
        (r.keys_only, " keys_only:true"),
        (r.count_only, " count_only:true"),
    ] {
        text.push_str(if said { words } else { "" });
    }
    text
}

fn txn_text(r: &pb::TxnRequest) -> String {
    let mut text = String::new();
    for c in &r.compare {
        let _ = write!(text, "compare:<target:{} key:{} > ", c.target, shown(&c.key));
    }
    for (branch, ops) in [("success", &r.success), ("failure", &r.failure)] {
        for op in ops {
            if text.len() > TEXT_BYTES_MAX {
                return text + "…";
            }
            let inner = match &op.request {
                Some(Request::RequestRange(r)) => format!("request_range:<{} >", range_text(r)),
                Some(Request::RequestPut(r)) => format!("request_put:<{} >", put_text(r)),
                Some(Request::RequestDeleteRange(r)) => format!("request_delete_range:<{} >", delete_text(r)),
                Some(Request::RequestTxn(r)) => {
                    format!("request_txn:<operations:{} >", r.success.len() + r.failure.len())
                }
                None => String::new(),
            };
            let _ = write!(text, "{branch}:<{inner}> ");
        }
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(request: Request) -> pb::RequestOp {
        pb::RequestOp { request: Some(request) }
    }

    #[test]
    fn requests_are_shown_without_values_and_not_without_end() {
        let put = pb::PutRequest {
            key: "k\n".into(),
            value: "secret".into(),
            lease: 3,
            ..Default::default()
        };
        let range = pb::RangeRequest {
            key: "a".into(),
            range_end: "b".into(),
            limit: 5,
            serializable: true,
            ..Default::default()
        };
        let txn = pb::TxnRequest {
            compare: vec![pb::Compare {
                key: "c".into(),
                ..Default::default()
            }],
            success: vec![op(Request::RequestPut(put.clone()))],
            failure: vec![op(Request::RequestRange(range))],
        };
        assert_eq!(
            command_text(&Command::Txn(txn.clone())),
            r#"txn:<compare:<target:0 key:"c" > success:<request_put:<key:"k\n" value_size:6 lease:3 >> failure:<request_range:<key:"a" range_end:"b" limit:5 serializable:true >> >"#
        );
        let many = pb::TxnRequest {
            success: vec![op(Request::RequestPut(put)); 10_000],
            ..txn
        };
        assert!(txn_text(&many).len() < 2 * TEXT_BYTES_MAX);
        let add = pb::AuthUserAddRequest {
            name: "u".to_owned(),
            password: "secret".to_owned(),
            ..Default::default()
        };
        assert!(!command_text(&Command::AuthUserAdd(add)).contains("secret"));
    }
}
