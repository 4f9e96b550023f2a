//! Whether the order of revisions is the order of time, over all keys: who is called after another has returned is
//! told no lower revision, and a write a higher one.

use super::decode::{Call, Request};
use crate::checker::Judgement;
use crate::history::{FaultRecord, Phase};
use serde_json::Value;
use std::collections::HashMap;

/// Holds the linearizable operations against each other.
pub(super) fn check_real_time(calls: &[Call<'_>], judgement: &mut Judgement) {
    let told: Vec<(&Call<'_>, i64)> = calls
        .iter()
        .filter(|call| call.request != Request::GetSerializable)
        .filter_map(|call| Some((call, call.op.revision()?)))
        .collect();
    let mut by_call = told.clone();
    by_call.sort_by_key(|(call, _)| call.op.call_ns);
    let mut by_return = told;
    by_return.sort_by_key(|(call, _)| call.op.return_ns);
    let mut returned = by_return.into_iter().peekable();
    let mut highest: Option<(&Call<'_>, i64)> = None;
    for (call, revision) in by_call {
        while let Some(before) =
            returned.next_if(|(before, _)| before.op.return_ns.is_some_and(|ns| ns < call.op.call_ns))
        {
            if highest.is_none_or(|(_, highest)| before.1 > highest) {
                highest = Some(before);
            }
        }
        let Some((before, floor)) = highest else { continue };
        let ops = vec![before.op.index, call.op.index];
        if call.wrote() && revision <= floor {
            let message = format!(
                "{} on {} has revision {revision}, and {} on {}, which returned before it was called, {floor}",
                call.text(),
                call.key,
                before.text(),
                before.key
            );
            judgement.fail("revision-rewind", message, ops, Value::Null);
        } else if revision < floor {
            let message = format!(
                "{} on {} was answered at revision {revision}, though {} on {} had returned revision {floor} before it was called",
                call.text(),
                call.key,
                before.text(),
                before.key
            );
            judgement.fail("stale-read", message, ops, Value::Null);
        }
    }
}

/// No two writes share a revision.
pub(super) fn check_unique(calls: &[Call<'_>], judgement: &mut Judgement) {
    let mut writes: HashMap<i64, &Call<'_>> = HashMap::new();
    for call in calls.iter().filter(|call| call.wrote()) {
        let Some(revision) = call.op.revision() else { continue };
        if let Some(other) = writes.insert(revision, call) {
            let message = format!(
                "{} on {} and {} on {} both have revision {revision}",
                other.text(),
                other.key,
                call.text(),
                call.key
            );
            judgement.fail(
                "duplicate-revision",
                message,
                vec![other.op.index, call.op.index],
                Value::Null,
            );
        }
    }
}

/// A member's serializable reads do not go back for one client, as long as no fault has struck the member: one that
/// was started anew may have less than it had shown.
pub(super) fn check_serializable(calls: &[Call<'_>], faults: &[FaultRecord], judgement: &mut Judgement) {
    let mut last: HashMap<(u64, usize), (&Call<'_>, i64)> = HashMap::new();
    let mut sorted: Vec<&Call<'_>> = calls
        .iter()
        .filter(|call| call.request == Request::GetSerializable && call.op.node > 0)
        .collect();
    sorted.sort_by_key(|call| call.op.call_ns);
    for call in sorted {
        let (Some(revision), Some(end_ns)) = (call.op.revision(), call.op.return_ns) else {
            continue;
        };
        let Some((before, floor)) = last.insert((call.op.process, call.op.node), (call, revision)) else {
            continue;
        };
        let struck = faults.iter().any(|fault| {
            fault.phase != Phase::Effect
                && fault.nodes.contains(&call.op.node)
                && (before.op.call_ns..=end_ns).contains(&fault.time_ns)
        });
        if revision < floor && !struck {
            let message = format!(
                "member {} showed process {} revision {floor} and then {revision} ({} on {}, then {} on {})",
                call.op.node,
                call.op.process,
                before.text(),
                before.key,
                call.text(),
                call.key
            );
            judgement.fail(
                "non-monotonic-read",
                message,
                vec![before.op.index, call.op.index],
                Value::Null,
            );
        }
    }
}
