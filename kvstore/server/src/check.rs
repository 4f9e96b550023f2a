//! What is wrong with a request before it is worth a look at the store (as etcd's `v3rpc/key.go` judges it).

use crate::status;
use bytes::Bytes;
use keelson_mvcc::{End, KeyRange, range};
use keelson_proto::etcdserverpb as pb;
use pb::range_request::{SortOrder, SortTarget};
use pb::request_op::Request;
use std::collections::{BTreeMap, HashSet};
use tonic::Status;

pub fn range(r: &pb::RangeRequest) -> Result<(), Status> {
    if r.key.is_empty() {
        return Err(status::empty_key());
    }
    if SortOrder::try_from(r.sort_order).is_err() || SortTarget::try_from(r.sort_target).is_err() {
        return Err(status::invalid_sort_option());
    }
    Ok(())
}

pub fn range_stream(r: &pb::RangeRequest) -> Result<(), Status> {
    range(r)?;
    if !range::is_default_order(r) {
        return Err(Status::unimplemented("RangeStream does not support custom sort orders"));
    }
    if range::has_revision_filters(r) {
        return Err(Status::unimplemented("RangeStream does not support revision filters"));
    }
    Ok(())
}

pub fn put(r: &pb::PutRequest) -> Result<(), Status> {
    if r.key.is_empty() {
        return Err(status::empty_key());
    }
    if r.ignore_value && !r.value.is_empty() {
        return Err(status::value_provided());
    }
    if r.ignore_lease && r.lease != 0 {
        return Err(status::lease_provided());
    }
    Ok(())
}

pub fn delete_range(r: &pb::DeleteRangeRequest) -> Result<(), Status> {
    if r.key.is_empty() {
        Err(status::empty_key())
    } else {
        Ok(())
    }
}

/// `ops_max` bounds each list of a transaction, and a path of nested ones.
pub fn txn(r: &pb::TxnRequest, ops_max: usize) -> Result<(), Status> {
    operations(r, ops_max)?;
    changes(&r.success)?;
    changes(&r.failure)?;
    Ok(())
}

fn operations(r: &pb::TxnRequest, ops_max: usize) -> Result<(), Status> {
    let most = r.compare.len().max(r.success.len()).max(r.failure.len());
    let Some(left) = ops_max.checked_sub(most) else {
        return Err(status::too_many_ops());
    };
    if r.compare.iter().any(|c| c.key.is_empty()) {
        return Err(status::empty_key());
    }
    for op in r.success.iter().chain(&r.failure) {
        match &op.request {
            Some(Request::RequestRange(r)) => range(r)?,
            Some(Request::RequestPut(r)) => put(r)?,
            Some(Request::RequestDeleteRange(r)) => delete_range(r)?,
            Some(Request::RequestTxn(r)) => operations(r, left)?,
            None => return Err(status::key_not_found()),
        }
    }
    Ok(())
}

/// Keys that a list of operations puts and ranges that it deletes.
#[derive(Default)]
struct Changes {
    puts: HashSet<Bytes>,
    deletes: Deletes,
}

/// No key may be put twice, or put and deleted, by operations that can both happen. Deleting twice is fine.
fn changes(ops: &[pb::RequestOp]) -> Result<Changes, Status> {
    let mut all = Changes::default();
    for op in ops {
        if let Some(Request::RequestDeleteRange(r)) = &op.request {
            all.deletes.add(KeyRange::new(r.key.clone(), r.range_end.clone()));
        }
    }
    for op in ops {
        let Some(Request::RequestTxn(r)) = &op.request else {
            continue;
        };
        let (then, other) = (changes(&r.success)?, changes(&r.failure)?);
        for key in &then.puts {
            all.put(key)?;
        }
        for key in &other.puts {
            // Only one of the two branches happens: they may share keys.
            if !then.puts.contains(key) {
                all.put(key)?;
            } else if all.deletes.contain(key) {
                return Err(status::duplicate_key());
            }
        }
        all.deletes.merge(then.deletes);
        all.deletes.merge(other.deletes);
    }
    for op in ops {
        if let Some(Request::RequestPut(r)) = &op.request {
            all.put(&r.key)?;
        }
    }
    Ok(all)
}

impl Changes {
    fn put(&mut self, key: &Bytes) -> Result<(), Status> {
        if self.deletes.contain(key) || !self.puts.insert(key.clone()) {
            return Err(status::duplicate_key());
        }
        Ok(())
    }
}

/// Deleted ranges, joined where they overlap, so that a look-up is one step in a sorted map.
#[derive(Default)]
struct Deletes {
    /// Start to end.
    ranges: BTreeMap<Bytes, Bytes>,
}

impl Deletes {
    fn add(&mut self, range: KeyRange) {
        if range.is_empty() {
            return;
        }
        let end = match range.end {
            End::Single => Bytes::from([range.start.as_ref(), &[0]].concat()),
            End::Before(end) => end,
            // etcd compares the end as it was sent, a zero byte, which lies before every key: it finds no overlap, and
            // lets through what we then do in the order of the operations.
            End::Unbounded => return,
        };
        self.insert(range.start, end);
    }

    fn insert(&mut self, mut start: Bytes, mut end: Bytes) {
        if let Some((before, before_end)) = self.ranges.range(..=start.clone()).next_back()
            && *before_end >= start
        {
            let before = before.clone();
            end = end.max(self.ranges.remove(&before).unwrap_or_default());
            start = before;
        }
        while let Some((next, _)) = self.ranges.range(start.clone()..).next()
            && *next <= end
        {
            let next = next.clone();
            end = end.max(self.ranges.remove(&next).unwrap_or_default());
        }
        self.ranges.insert(start, end);
    }

    fn contain(&self, key: &Bytes) -> bool {
        let before = self.ranges.range(..=key.clone()).next_back();
        before.is_some_and(|(_, end)| key < end)
    }

    fn merge(&mut self, other: Deletes) {
        for (start, end) in other.ranges {
            self.insert(start, end);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn op(request: Request) -> pb::RequestOp {
        pb::RequestOp { request: Some(request) }
    }
    fn puts(key: &'static str) -> pb::RequestOp {
        op(Request::RequestPut(pb::PutRequest {
            key: key.into(),
            ..Default::default()
        }))
    }
    fn deletes(key: &'static str, end: &'static str) -> pb::RequestOp {
        let request = pb::DeleteRangeRequest {
            key: key.into(),
            range_end: end.into(),
            prev_kv: false,
        };
        op(Request::RequestDeleteRange(request))
    }
    fn nested(success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>) -> pb::RequestOp {
        op(Request::RequestTxn(pb::TxnRequest {
            compare: Vec::new(),
            success,
            failure,
        }))
    }
    fn judge(success: Vec<pb::RequestOp>) -> Result<(), String> {
        let request = pb::TxnRequest {
            compare: Vec::new(),
            success,
            failure: Vec::new(),
        };
        txn(&request, crate::options::TXN_OPS_DEFAULT).map_err(|s| s.message().to_owned())
    }

    #[test]
    fn overlapping_changes_are_duplicates() {
        let duplicate = Err("etcdserver: duplicate key given in txn request".to_owned());
        assert_eq!(judge(vec![puts("a"), puts("b")]), Ok(()));
        assert_eq!(judge(vec![puts("a"), puts("a")]), duplicate);
        assert_eq!(judge(vec![puts("a"), deletes("a", "")]), duplicate);
        assert_eq!(judge(vec![deletes("a", "c"), puts("b")]), duplicate);
        assert_eq!(judge(vec![deletes("a", "c"), puts("c")]), Ok(()));
        assert_eq!(judge(vec![deletes("a", "\0"), puts("z")]), Ok(()));
        assert_eq!(judge(vec![deletes("c", "a"), puts("b")]), Ok(()));
        assert_eq!(
            judge(vec![deletes("a", ""), deletes("a", ""), deletes("a", "z")]),
            Ok(())
        );
        assert_eq!(judge(vec![nested(vec![puts("a")], vec![puts("a")])]), Ok(()));
        assert_eq!(judge(vec![nested(vec![puts("a")], vec![]), puts("a")]), duplicate);
        assert_eq!(
            judge(vec![nested(vec![], vec![puts("a")]), nested(vec![puts("a")], vec![])]),
            duplicate
        );
        assert_eq!(
            judge(vec![nested(vec![deletes("a", "b")], vec![]), puts("a")]),
            duplicate
        );
    }

    #[test]
    fn joined_deletes_cover_what_their_parts_covered() {
        let mut deletes = Deletes::default();
        for (start, end) in [("m", "p"), ("a", "c"), ("o", "t"), ("b", "d"), ("x", "\0")] {
            deletes.add(KeyRange::new(start.into(), end.into()));
        }
        let covered = |key: &'static str| deletes.contain(&key.into());
        assert_eq!(deletes.ranges.len(), 2);
        assert!(["a", "b", "c", "m", "o", "p", "s"].into_iter().all(covered));
        assert!(!["d", "l", "t", "w", "x", "zz"].into_iter().any(covered));
    }

    #[test]
    fn the_limit_of_operations_holds_along_a_path() {
        let too_many = Err("etcdserver: too many operations in txn request".to_owned());
        let gets = |n: usize| -> Vec<pb::RequestOp> {
            let get = || {
                op(Request::RequestRange(pb::RangeRequest {
                    key: "k".into(),
                    ..Default::default()
                }))
            };
            (0..n).map(|_| get()).collect()
        };
        assert_eq!(judge(gets(128)), Ok(()));
        assert_eq!(judge(gets(129)), too_many);
        assert_eq!(judge(vec![nested(gets(127), vec![])]), Ok(()));
        assert_eq!(judge(vec![nested(gets(128), vec![])]), too_many);
    }

    #[test]
    fn what_is_missing_or_too_much_is_said_in_etcds_words() {
        let message = |r: Result<(), Status>| r.unwrap_err().message().to_owned();
        assert_eq!(
            message(range(&pb::RangeRequest::default())),
            "etcdserver: key is not provided"
        );
        let unsorted = pb::RangeRequest {
            key: "a".into(),
            sort_order: 7,
            ..Default::default()
        };
        assert_eq!(message(range(&unsorted)), "etcdserver: invalid sort option");
        let value = pb::PutRequest {
            key: "a".into(),
            value: "v".into(),
            ignore_value: true,
            ..Default::default()
        };
        assert_eq!(message(put(&value)), "etcdserver: value is provided");
        let lease = pb::PutRequest {
            key: "a".into(),
            lease: 3,
            ignore_lease: true,
            ..Default::default()
        };
        assert_eq!(message(put(&lease)), "etcdserver: lease is provided");
        assert_eq!(
            judge(vec![pb::RequestOp { request: None }]),
            Err("etcdserver: key not found".to_owned())
        );
        let sorted = pb::RangeRequest {
            key: "a".into(),
            sort_order: 2,
            ..Default::default()
        };
        assert_eq!(
            message(range_stream(&sorted)),
            "RangeStream does not support custom sort orders"
        );
        let filtered = pb::RangeRequest {
            key: "a".into(),
            min_mod_revision: 2,
            ..Default::default()
        };
        assert_eq!(
            message(range_stream(&filtered)),
            "RangeStream does not support revision filters"
        );
    }
}
