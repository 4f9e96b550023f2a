//! Leases: none ends before its time to live is over, each ends at last, and one that ends takes all of its keys with
//! it at one revision.
//!
//! # What is sound
//! A grant or keepalive that was acknowledged was served after its call, so the lease lives until call + TTL at least;
//! whatever shows its end before that time is `early-expiry`. A leader that is elected may let leases live longer, by
//! up to their TTL each time, and a lease that nobody renews may linger while the cluster is broken; so that it lives
//! for ever is only said after calm times ([`late`]).

mod events;
mod late;
mod life;
#[cfg(test)]
mod tests;

use super::replay::Replay;
use super::{Checker, Evidence, Judgement};
use crate::history::Op;
use life::Life;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// Name of the workload.
pub const WORKLOAD: &str = "lease";
/// What its keys begin with.
pub const PREFIX: &str = "lease/";

/// Judges leases.
pub struct LeaseChecker;

impl Checker for LeaseChecker {
    fn name(&self) -> &'static str {
        "lease"
    }

    fn check(&self, evidence: &Evidence) -> Judgement {
        let mut judgement = Judgement::new(self.name());
        let ops: Vec<&Op> = evidence
            .history
            .ops
            .iter()
            .filter(|op| op.workload == WORKLOAD)
            .collect();
        // Of a key that a client deletes its end tells nothing of a lease.
        let deleted: HashSet<&str> = ops
            .iter()
            .filter(|op| op.f == "delete")
            .filter_map(|op| op.key.as_deref())
            .collect();
        let mut lives: BTreeMap<i64, Life<'_>> = BTreeMap::new();
        for op in &ops {
            if !life::note(op, &mut lives) {
                judgement.unknown(format!(
                    "operation {} ({}) is not of the form of the lease workload",
                    op.index, op.f
                ));
            }
        }
        life::note_reads(&ops, &deleted, &mut lives);
        let replay = Replay::build(evidence);
        events::check(evidence, &replay, &deleted, &mut lives, &mut judgement);
        let calm = late::Calm::new(&evidence.faults);
        for (id, life) in &lives {
            life.check_early(*id, &mut judgement);
            late::check(*id, life, &calm, &mut judgement);
        }
        late::check_finals(evidence, &lives, &calm, &mut judgement);
        judgement.count(
            "leases",
            lives.values().filter(|life| life.grant.is_some()).count() as u64,
        );
        judgement.count("renewals", lives.values().map(|life| life.promises.len() as u64).sum());
        judgement.count(
            "ends seen",
            lives.values().filter(|life| !life.ends.is_empty()).count() as u64,
        );
        if lives.is_empty() && evidence.meta.workloads.iter().any(|name| name == WORKLOAD) {
            judgement.unknown("no lease was granted".to_owned());
        }
        judgement
    }
}

/// A lease's number, which is written as text.
fn id_of(value: &Value) -> Option<i64> {
    match value.get("id")? {
        Value::String(text) => text.parse().ok(),
        other => other.as_i64(),
    }
}
