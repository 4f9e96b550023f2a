//! Transactions of the model: guards on the state before, then one operation after the other.

use super::{Edit, Keys, Model, header, in_range, read::range_of};
use keelson_mvcc::Error;
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb::KeyValue;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request;
use pb::response_op::Response;
use std::cmp::Ordering;

impl Model {
    pub(super) fn txn(&self, edit: &mut Edit, r: &pb::TxnRequest) -> Result<pb::TxnResponse, Error> {
        let before = edit.keys.clone();
        self.check(edit, &before, r)?;
        let mut response = self.execute(edit, &before, r);
        response.header = header(self.seen_revision(edit));
        Ok(response)
    }

    fn check(&self, edit: &Edit, before: &Keys, r: &pb::TxnRequest) -> Result<(), Error> {
        for op in branch(before, r) {
            match &op.request {
                Some(Request::RequestPut(put)) => self.check_put(edit, put)?,
                Some(Request::RequestRange(range)) if range.revision != 0 => {
                    if range.revision > self.revision() {
                        return Err(Error::FutureRevision);
                    }
                    if range.revision < self.compacted {
                        return Err(Error::Compacted);
                    }
                }
                Some(Request::RequestTxn(nested)) => self.check(edit, before, nested)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn execute(&self, edit: &mut Edit, before: &Keys, r: &pb::TxnRequest) -> pb::TxnResponse {
        let mut responses = Vec::new();
        for op in branch(before, r) {
            let response = op.request.as_ref().map(|request| match request {
                Request::RequestPut(put) => Response::ResponsePut(self.put(edit, put)),
                Request::RequestDeleteRange(delete) => Response::ResponseDeleteRange(self.delete(edit, delete)),
                Request::RequestTxn(nested) => Response::ResponseTxn(self.execute(edit, before, nested)),
                Request::RequestRange(range) => {
                    let current = self.seen_revision(edit);
                    let past = self.at(range.revision).filter(|_| range.revision > 0);
                    let keys = past.as_deref().unwrap_or(&edit.keys);
                    Response::ResponseRange(range_of(range, keys, current))
                }
            });
            responses.push(pb::ResponseOp { response });
        }
        pb::TxnResponse {
            header: header(0),
            succeeded: holds(before, r),
            responses,
        }
    }
}

fn branch<'r>(before: &Keys, r: &'r pb::TxnRequest) -> &'r [pb::RequestOp] {
    if holds(before, r) { &r.success } else { &r.failure }
}

fn holds(before: &Keys, r: &pb::TxnRequest) -> bool {
    r.compare.iter().all(|compare| {
        let mut found: Vec<&KeyValue> = before
            .values()
            .filter(|kv| in_range(&kv.key, &compare.key, &compare.range_end))
            .collect();
        let absent = KeyValue::default();
        if found.is_empty() {
            if compare.target == CompareTarget::Value as i32 {
                return false;
            }
            found.push(&absent);
        }
        found.into_iter().all(|kv| one_holds(compare, kv))
    })
}

fn one_holds(compare: &pb::Compare, kv: &KeyValue) -> bool {
    let ordering = match &compare.target_union {
        Some(TargetUnion::Version(v)) => kv.version.cmp(v),
        Some(TargetUnion::CreateRevision(v)) => kv.create_revision.cmp(v),
        Some(TargetUnion::ModRevision(v)) => kv.mod_revision.cmp(v),
        Some(TargetUnion::Lease(v)) => kv.lease.cmp(v),
        Some(TargetUnion::Value(v)) => kv.value.cmp(v),
        None => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Err(_) => true,
    }
}
