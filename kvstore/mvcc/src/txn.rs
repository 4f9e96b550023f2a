//! Requests executed: transactions and the operations they are made of.

use crate::compare;
use crate::db::Db;
use crate::error::Error;
use crate::keyrange::KeyRange;
use crate::read::ReadError;
use crate::store::State;
use crate::view::View;
use crate::writer::Writer;
use keelson_proto::etcdserverpb as pb;
use pb::request_op::Request;
use pb::response_op::Response;

/// Nesting of transactions beyond which a log entry is refused; prost itself stops at 100 messages.
const DEPTH_MAX: usize = 64;

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader {
        revision,
        ..Default::default()
    })
}

/// The branches taken: one for this level, then one for each nested transaction of the branch, in order.
struct Path {
    taken: bool,
    nested: Vec<Path>,
}

fn branch<'r>(request: &'r pb::TxnRequest, path: &Path) -> &'r [pb::RequestOp] {
    if path.taken { &request.success } else { &request.failure }
}

/// All guards, nested ones too, are judged on the state before the transaction.
fn decide(view: &View<'_>, request: &pb::TxnRequest, depth: usize) -> Result<Path, ReadError> {
    if depth > DEPTH_MAX {
        return Err(Error::Malformed.into());
    }
    let mut path = Path {
        taken: compare::all_hold(view, &request.compare)?,
        nested: Vec::new(),
    };
    for op in branch(request, &path) {
        if let Some(Request::RequestTxn(nested)) = &op.request {
            path.nested.push(decide(view, nested, depth + 1)?);
        }
    }
    Ok(path)
}

/// Everything that could be refused is refused before anything is changed.
fn check(view: &View<'_>, request: &pb::TxnRequest, path: &Path) -> Result<(), ReadError> {
    let mut nested = path.nested.iter();
    for op in branch(request, path) {
        match &op.request {
            Some(Request::RequestRange(r)) => view.check_range(r)?,
            Some(Request::RequestPut(r)) => check_put(view, r)?,
            Some(Request::RequestTxn(r)) => {
                if let Some(path) = nested.next() {
                    check(view, r, path)?;
                }
            }
            Some(Request::RequestDeleteRange(_)) | None => {}
        }
    }
    Ok(())
}

pub fn check_put(view: &View<'_>, request: &pb::PutRequest) -> Result<(), Error> {
    if request.lease != 0 && view.state.leases.get(request.lease).is_none() {
        return Err(Error::LeaseNotFound);
    }
    let needs_key = request.ignore_value || request.ignore_lease;
    if needs_key && !view.state.index.get(&request.key).is_some_and(|e| e.is_live()) {
        return Err(Error::KeyNotFound);
    }
    Ok(())
}

/// The request must have passed [`check_put`].
pub fn put(writer: &mut Writer<'_>, request: &pb::PutRequest) -> Result<pb::PutResponse, ReadError> {
    let mut previous = None;
    if request.prev_kv || request.ignore_value || request.ignore_lease {
        previous = writer.view().get(&request.key)?;
    }
    let (mut value, mut lease) = (request.value.clone(), request.lease);
    if let Some(previous) = &previous {
        if request.ignore_value {
            value = previous.value.clone();
        }
        if request.ignore_lease {
            lease = previous.lease;
        }
    }
    writer.put(request.key.clone(), value, lease);
    let prev_kv = previous.filter(|_| request.prev_kv);
    Ok(pb::PutResponse {
        header: header(writer.revision()),
        prev_kv,
    })
}

pub fn delete_range(
    writer: &mut Writer<'_>,
    request: &pb::DeleteRangeRequest,
) -> Result<pb::DeleteRangeResponse, ReadError> {
    let range = KeyRange::new(request.key.clone(), request.range_end.clone());
    let prev_kvs = if request.prev_kv {
        writer.view().current(&range, false)?
    } else {
        Vec::new()
    };
    let deleted = writer.delete_range(&range);
    Ok(pb::DeleteRangeResponse {
        header: header(writer.revision()),
        deleted,
        prev_kvs,
    })
}

fn execute(writer: &mut Writer<'_>, request: &pb::TxnRequest, path: &Path) -> Result<pb::TxnResponse, ReadError> {
    let mut nested = path.nested.iter();
    let mut responses = Vec::new();
    for op in branch(request, path) {
        let response = match &op.request {
            Some(Request::RequestRange(r)) => Some(Response::ResponseRange(writer.view().range(r)?)),
            Some(Request::RequestPut(r)) => Some(Response::ResponsePut(put(writer, r)?)),
            Some(Request::RequestDeleteRange(r)) => Some(Response::ResponseDeleteRange(delete_range(writer, r)?)),
            Some(Request::RequestTxn(r)) => match nested.next() {
                Some(path) => Some(Response::ResponseTxn(execute(writer, r, path)?)),
                None => None,
            },
            None => None,
        };
        responses.push(pb::ResponseOp { response });
    }
    // As in etcd, a nested answer has a header without a revision; the outermost one gets it from its caller.
    Ok(pb::TxnResponse {
        header: header(0),
        succeeded: path.taken,
        responses,
    })
}

/// Runs a transaction; on a refusal nothing has changed.
pub fn run(writer: &mut Writer<'_>, request: &pb::TxnRequest) -> Result<pb::TxnResponse, ReadError> {
    let view = writer.view();
    let path = decide(&view, request, 0)?;
    check(&view, request, &path)?;
    let mut response = execute(writer, request, &path)?;
    response.header = header(writer.revision());
    Ok(response)
}

/// Whether the transaction, whichever branch it takes, only reads. One with a nested transaction does not count.
pub fn is_readonly(request: &pb::TxnRequest) -> bool {
    let reads = |op: &pb::RequestOp| matches!(op.request, Some(Request::RequestRange(_)));
    request.success.iter().chain(&request.failure).all(reads)
}

/// Whether all its reads are serializable.
pub fn is_serializable(request: &pb::TxnRequest) -> bool {
    let serializable = |op: &pb::RequestOp| matches!(&op.request, Some(Request::RequestRange(r)) if r.serializable);
    request.success.iter().chain(&request.failure).all(serializable)
}

/// Whether a put is in either branch, at any level: what a store without space refuses.
pub fn has_put(request: &pb::TxnRequest) -> bool {
    request
        .success
        .iter()
        .chain(&request.failure)
        .any(|op| match &op.request {
            Some(Request::RequestPut(_)) => true,
            Some(Request::RequestTxn(nested)) => has_put(nested),
            _ => false,
        })
}

fn view_of<'a>(db: &'a Db, state: &'a State) -> View<'a> {
    View {
        db,
        state,
        pending: &[],
        revision: state.revision,
    }
}

/// See [`crate::Store::decided`]. Nested transactions keep their guards.
#[cfg(feature = "seeded-bugs")]
pub fn decided(db: &Db, state: &State, request: &pb::TxnRequest) -> Result<(pb::TxnRequest, bool), ReadError> {
    let path = decide(&view_of(db, state), request, 0)?;
    let taken = pb::TxnRequest {
        success: branch(request, &path).to_vec(),
        ..Default::default()
    };
    Ok((taken, path.taken))
}

/// A transaction for which [`is_readonly`] holds.
pub fn run_readonly(db: &Db, state: &State, request: &pb::TxnRequest) -> Result<pb::TxnResponse, ReadError> {
    let view = view_of(db, state);
    let path = decide(&view, request, 0)?;
    check(&view, request, &path)?;
    let responses = branch(request, &path)
        .iter()
        .map(|op| match &op.request {
            Some(Request::RequestRange(r)) => Ok(pb::ResponseOp {
                response: Some(Response::ResponseRange(view.range(r)?)),
            }),
            _ => Err(Error::Malformed.into()),
        })
        .collect::<Result<_, ReadError>>()?;
    Ok(pb::TxnResponse {
        header: header(state.revision),
        succeeded: path.taken,
        responses,
    })
}
