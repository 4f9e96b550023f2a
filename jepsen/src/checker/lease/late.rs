//! That a lease which nobody renews ends at last.

use super::PREFIX;
use super::life::{Life, S, seconds};
use crate::checker::{Evidence, Judgement};
use crate::history::{FaultRecord, Phase};
use serde_json::Value;
use std::collections::BTreeMap;

/// How long an attempt without an answer may still renew the lease.
const REQUEST_LIFE_NS: u64 = 30 * S;
/// What is allowed beyond twice the TTL: elections, a busy machine.
const SLACK_NS: u64 = 10 * S;
/// Effects after which leases may have their whole time again.
const UPSETTING: [&str; 6] = [
    "leader-change",
    "ended",
    "started-again",
    "replaced",
    "healed",
    "snapshot-install",
];

/// When nothing was broken.
pub(super) struct Calm {
    /// Since when it is so, by the time at which that was noted; `None` while something lasts.
    changes: Vec<(u64, Option<u64>)>,
}

impl Calm {
    pub(super) fn new(faults: &[FaultRecord]) -> Calm {
        let mut sorted: Vec<&FaultRecord> = faults.iter().collect();
        sorted.sort_by_key(|fault| fault.time_ns);
        let mut open = std::collections::HashSet::new();
        let mut changes = Vec::new();
        for fault in sorted {
            match fault.phase {
                Phase::Begin => {
                    open.insert(fault.id);
                }
                Phase::End => {
                    open.remove(&fault.id);
                }
                Phase::Once => {}
                Phase::Effect if UPSETTING.contains(&fault.fault.as_str()) => {}
                Phase::Effect => continue,
            }
            changes.push((fault.time_ns, open.is_empty().then_some(fault.time_ns)));
        }
        Calm { changes }
    }

    /// Since when all was calm, seen from a time; `None` when it is not.
    fn since(&self, ns: u64) -> Option<u64> {
        let next = self.changes.partition_point(|&(at, _)| at <= ns);
        next.checked_sub(1).map_or(Some(0), |last| self.changes[last].1)
    }
}

impl Life<'_> {
    /// When it was renewed last before a time, at the latest.
    fn renewed_ns(&self, before_ns: u64) -> Option<u64> {
        let grant_ns = self.grant?.return_ns?;
        let attempts = self.attempts.iter().filter(|op| op.call_ns < before_ns);
        let last = attempts
            .map(|op| {
                op.return_ns
                    .unwrap_or_else(|| op.call_ns.saturating_add(REQUEST_LIFE_NS))
            })
            .max();
        Some(last.unwrap_or(0).max(grant_ns))
    }

    /// Whether it should have ended before a time, and when.
    fn overdue(&self, calm: &Calm, at_ns: u64) -> Option<u64> {
        let since = self.renewed_ns(at_ns)?.max(calm.since(at_ns)?);
        let due_ns = since
            .saturating_add(2 * self.ttl_s.saturating_mul(S))
            .saturating_add(SLACK_NS);
        (due_ns < at_ns).then_some(due_ns)
    }
}

/// What shows the lease alive must not come when it should have ended long ago.
pub(super) fn check(id: i64, life: &Life<'_>, calm: &Calm, judgement: &mut Judgement) {
    for op in &life.alive {
        if let Some(due_ns) = life.overdue(calm, op.call_ns) {
            let message = format!(
                "lease {id} with a TTL of {} s should have ended by {}, and operation {} ({}), called at {}, shows it alive",
                life.ttl_s,
                seconds(due_ns),
                op.index,
                op.f,
                seconds(op.call_ns)
            );
            let ops = life
                .grant
                .map(|grant| grant.index)
                .into_iter()
                .chain([op.index])
                .collect();
            return judgement.fail("immortal-lease", message, ops, Value::Null);
        }
    }
}

/// What is left at the end is not left by leases that should have ended.
pub(super) fn check_finals(
    evidence: &Evidence,
    lives: &BTreeMap<i64, Life<'_>>,
    calm: &Calm,
    judgement: &mut Judgement,
) {
    // Members are read after the last operation.
    let read_ns = evidence
        .history
        .ops
        .iter()
        .filter_map(|op| op.return_ns)
        .max()
        .unwrap_or(0);
    for state in &evidence.finals {
        for kv in state.kvs.iter().filter(|kv| kv.key.starts_with(PREFIX)) {
            let Some(life) = lives.get(&kv.lease) else { continue };
            if let Some(due_ns) = life.overdue(calm, read_ns) {
                let message = format!(
                    "member {} holds {} in the end, whose lease {} with a TTL of {} s should have ended by {}",
                    state.node,
                    kv.key,
                    kv.lease,
                    life.ttl_s,
                    seconds(due_ns)
                );
                let ops = life.grant.map(|grant| grant.index).into_iter().collect();
                judgement.fail("immortal-lease", message, ops, Value::Null);
            }
        }
    }
}
