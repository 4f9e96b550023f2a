//! What a Range request asks for, apart from where it is read: revision, limits, filters, sorting.

use crate::error::Error;
use crate::events::RevisionEvents;
use crate::index::{Entry, KeyIndex, Recorded, Weight, listed_bytes};
use crate::keyrange::KeyRange;
use crate::revision::Version;
use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use keelson_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use keelson_proto::mvccpb::KeyValue;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The range a request names.
pub fn range_of(request: &pb::RangeRequest) -> KeyRange {
    KeyRange::new(request.key.clone(), request.range_end.clone())
}

/// The revision to read at. Zero and negative ones mean the current one.
pub fn resolve_revision(asked: i64, current: i64, compacted: i64) -> Result<i64, Error> {
    if asked > current {
        return Err(Error::FutureRevision);
    }
    let at = if asked <= 0 { current } else { asked };
    if at < compacted { Err(Error::Compacted) } else { Ok(at) }
}

fn order(request: &pb::RangeRequest) -> SortOrder {
    SortOrder::try_from(request.sort_order).unwrap_or(SortOrder::None)
}

fn target(request: &pb::RangeRequest) -> SortTarget {
    SortTarget::try_from(request.sort_target).unwrap_or(SortTarget::Key)
}

/// Whether results come in the index's own order.
pub fn is_default_order(request: &pb::RangeRequest) -> bool {
    order(request) == SortOrder::None || (target(request) == SortTarget::Key && order(request) == SortOrder::Ascend)
}

pub fn has_revision_filters(request: &pb::RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

/// Keys to read: one more than the limit, to know whether there are more; all of them where the limit comes last.
pub fn keys_to_read(request: &pb::RangeRequest) -> usize {
    let limited = request.limit > 0 && is_default_order(request) && !has_revision_filters(request);
    if !limited {
        return usize::MAX;
    }
    usize::try_from(request.limit).unwrap_or(usize::MAX).saturating_add(1)
}

/// Keys alone come from the index, without their leases (as in etcd 3.7).
pub fn is_keys_from_index(request: &pb::RangeRequest) -> bool {
    request.keys_only && target(request) != SortTarget::Value
}

/// A result before its record is read.
pub enum Found {
    Record(Version),
    /// All that was asked for is in the index.
    Key(KeyValue),
}

/// One slice of results, ascending, and where the next one starts.
pub struct FoundSlice {
    pub found: Vec<Found>,
    pub next: Option<Bytes>,
}

fn live_at(entry: &Entry, at: i64) -> Option<Version> {
    entry.at(at).filter(|v| !v.tombstone)
}

/// Up to `max` keys of the range that exist at revision `at`, from `from` on.
pub fn find(index: &KeyIndex, range: &KeyRange, from: &[u8], at: i64, keys_only: bool, max: usize) -> FoundSlice {
    let mut found = Vec::new();
    let mut next = None;
    index.walk(range, from, |key, entry| {
        let Some(version) = live_at(entry, at) else {
            return ControlFlow::Continue(());
        };
        if found.len() == max {
            next = Some(Bytes::copy_from_slice(key));
            return ControlFlow::Break(());
        }
        found.push(if keys_only && version == entry.latest() {
            Found::Key(KeyValue {
                key: Bytes::copy_from_slice(key),
                create_revision: entry.create,
                mod_revision: version.rev.main,
                version: entry.version,
                ..KeyValue::default()
            })
        } else {
            Found::Record(version)
        });
        ControlFlow::Continue(())
    });
    FoundSlice { found, next }
}

/// Up to `max_keys` keys of the range that exist at revision `at`, from `from` on: where their records are. It ends early
/// when these take `max_bytes` in an answer; one key it takes in any case.
pub fn find_records(
    index: &KeyIndex,
    range: &KeyRange,
    from: &[u8],
    at: i64,
    max_keys: usize,
    max_bytes: u64,
) -> Records {
    let mut records = Records::default();
    index.walk(range, from, |key, entry| {
        let Some(recorded) = entry.recorded_at(at).filter(|r| !r.version.tombstone) else {
            return ControlFlow::Continue(());
        };
        if records.found.len() == max_keys || records.bytes >= max_bytes {
            records.next = Some(Bytes::copy_from_slice(key));
            return ControlFlow::Break(());
        }
        records.bytes += listed_bytes(recorded.bytes);
        records.found.push(recorded);
        ControlFlow::Continue(())
    });
    records
}

/// What [`find_records`] found.
#[derive(Default)]
pub struct Records {
    pub found: Vec<Recorded>,
    /// What they take in an answer.
    pub bytes: u64,
    /// Where the next ones start.
    pub next: Option<Bytes>,
}

/// Keys of the range that exist at revision `at`, and what they take in an answer: O(log n) when that is the newest
/// the index knows.
pub fn weight(index: &KeyIndex, range: &KeyRange, at: i64, newest: i64) -> Weight {
    if at >= newest {
        return index.weight(range);
    }
    let mut weight = Weight::default();
    if range.is_empty() {
        return weight;
    }
    index.walk(range, b"", |_, entry| {
        if let Some(recorded) = entry.recorded_at(at).filter(|r| !r.version.tombstone) {
            weight += Weight::of_record(recorded.bytes);
        }
        ControlFlow::Continue(())
    });
    weight
}

/// The same from what it is now and from everything that was changed since: pages of a list go on at the revision of
/// the first one, which is soon not the newest.
pub fn weight_before(
    index: &KeyIndex,
    range: &KeyRange,
    at: i64,
    now: Weight,
    changes: &[Arc<RevisionEvents>],
) -> Weight {
    let events = changes.iter().flat_map(|revision| &revision.events);
    let mut keys: Vec<&Bytes> = events.map(|e| &e.kv.key).filter(|key| range.contains(key)).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut weight = now;
    for entry in keys.into_iter().filter_map(|key| index.get(key)) {
        weight -= entry.weight();
        if let Some(recorded) = entry.recorded_at(at).filter(|r| !r.version.tombstone) {
            weight += Weight::of_record(recorded.bytes);
        }
    }
    weight
}

/// Keys of the range that exist at revision `at`.
pub fn count(index: &KeyIndex, range: &KeyRange, at: i64, newest: i64) -> i64 {
    weight(index, range, at, newest).keys as i64
}

/// Applies filters, order and limit to what was read, in etcd's order of doing so.
pub fn assemble(request: &pb::RangeRequest, mut kvs: Vec<KeyValue>, count: i64, revision: i64) -> pb::RangeResponse {
    filter(request, &mut kvs);
    sort(request, &mut kvs);
    let mut more = false;
    if let Ok(limit) = usize::try_from(request.limit)
        && limit > 0
        && kvs.len() > limit
    {
        kvs.truncate(limit);
        more = true;
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    let header = Some(pb::ResponseHeader {
        revision,
        ..Default::default()
    });
    pb::RangeResponse {
        header,
        kvs,
        more,
        count,
    }
}

fn filter(request: &pb::RangeRequest, kvs: &mut Vec<KeyValue>) {
    if !has_revision_filters(request) {
        return;
    }
    let r = request;
    kvs.retain(|kv| {
        (r.max_mod_revision == 0 || kv.mod_revision <= r.max_mod_revision)
            && (r.min_mod_revision == 0 || kv.mod_revision >= r.min_mod_revision)
            && (r.max_create_revision == 0 || kv.create_revision <= r.max_create_revision)
            && (r.min_create_revision == 0 || kv.create_revision >= r.min_create_revision)
    });
}

fn sort(request: &pb::RangeRequest, kvs: &mut [KeyValue]) {
    let target = target(request);
    let order = match order(request) {
        SortOrder::None if target != SortTarget::Key => SortOrder::Ascend,
        order => order,
    };
    if order == SortOrder::None || (target == SortTarget::Key && order == SortOrder::Ascend) {
        return;
    }
    let ascending = |a: &KeyValue, b: &KeyValue| match target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    };
    if order == SortOrder::Descend {
        kvs.sort_by(|a, b| ascending(b, a));
    } else {
        kvs.sort_by(ascending);
    }
}
