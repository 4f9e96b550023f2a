//! Reads of the model.

use super::{Keys, Model, header, in_range};
use keelson_mvcc::Error;
use keelson_proto::etcdserverpb as pb;

impl Model {
    /// The answer of a member that has come to `current`, which is what its header says. Whether it has compacted yet
    /// is its own affair, so that is not judged here.
    pub fn range(&self, r: &pb::RangeRequest, current: i64) -> Result<pb::RangeResponse, Error> {
        if r.revision > current {
            return Err(Error::FutureRevision);
        }
        let at = if r.revision > 0 { r.revision } else { current };
        let keys = self.at(at).ok_or(Error::FutureRevision)?;
        Ok(range_of(r, &keys, current))
    }
}

/// Without sorting and revision filters, which are the store's own tests.
pub(super) fn range_of(r: &pb::RangeRequest, keys: &Keys, current: i64) -> pb::RangeResponse {
    let mut kvs: Vec<_> = keys
        .values()
        .filter(|kv| in_range(&kv.key, &r.key, &r.range_end))
        .cloned()
        .collect();
    let count = kvs.len() as i64;
    let mut more = false;
    if let Ok(limit) = usize::try_from(r.limit)
        && limit > 0
        && kvs.len() > limit
        && !r.count_only
    {
        kvs.truncate(limit);
        more = true;
    }
    if r.count_only {
        kvs.clear();
    }
    pb::RangeResponse {
        header: header(current),
        kvs,
        more,
        count,
    }
}
