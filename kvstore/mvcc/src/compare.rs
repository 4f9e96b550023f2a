//! The guards of a transaction.

use crate::keyrange::KeyRange;
use crate::read::ReadError;
use crate::view::View;
use keelson_proto::etcdserverpb as pb;
use keelson_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelson_proto::mvccpb::KeyValue;
use std::cmp::Ordering;

/// Whether all guards of one level hold.
pub fn all_hold(view: &View<'_>, compares: &[pb::Compare]) -> Result<bool, ReadError> {
    for compare in compares {
        if !holds(view, compare)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds(view: &View<'_>, compare: &pb::Compare) -> Result<bool, ReadError> {
    let range = KeyRange::new(compare.key.clone(), compare.range_end.clone());
    let target = CompareTarget::try_from(compare.target);
    // Only values and leases need the records; everything else is in the index.
    let keys_only = !matches!(target, Ok(CompareTarget::Value | CompareTarget::Lease));
    let found = view.current(&range, keys_only)?;
    if found.is_empty() {
        // A missing key compares as zeros, except that it has no value to compare.
        return Ok(target != Ok(CompareTarget::Value) && matches(compare, &KeyValue::default()));
    }
    Ok(found.iter().all(|kv| matches(compare, kv)))
}

fn matches(compare: &pb::Compare, kv: &KeyValue) -> bool {
    let union = compare.target_union.as_ref();
    // A wanted value that is absent, or of another target, is zero.
    let ordering = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Value) => {
            let wanted = if let Some(TargetUnion::Value(v)) = union {
                v.as_ref()
            } else {
                b""
            };
            kv.value.as_ref().cmp(wanted)
        }
        Ok(CompareTarget::Version) => kv.version.cmp(&if let Some(TargetUnion::Version(v)) = union {
            *v
        } else {
            0
        }),
        Ok(CompareTarget::Create) => kv
            .create_revision
            .cmp(&if let Some(TargetUnion::CreateRevision(v)) = union {
                *v
            } else {
                0
            }),
        Ok(CompareTarget::Mod) => kv.mod_revision.cmp(&if let Some(TargetUnion::ModRevision(v)) = union {
            *v
        } else {
            0
        }),
        Ok(CompareTarget::Lease) => kv
            .lease
            .cmp(&if let Some(TargetUnion::Lease(v)) = union { *v } else { 0 }),
        Err(_) => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Err(_) => true,
    }
}
