//! Whether the cluster lived: it recovered after healing, no member ended by itself, and clients were served again.
//!
//! | promise | broken |
//! |---|---|
//! | everything is healthy within a bound after healing | `no-recovery` |
//! | a member ends only when a fault makes it, and does not panic | `unexpected-exit`, `panic` |
//! | clients are served after healing | `unavailable` |

pub mod minimums;
#[cfg(test)]
mod tests;

use super::{Checker, Evidence, Judgement};
use crate::history::{FaultRecord, Phase};
use serde_json::json;

/// Operations of a workload after healing, from which on one of them must have gone well.
const CALLS_MIN: usize = 10;
/// Faults of its disk make a member end.
const OF_DISKS: [&str; 4] = ["disk-full", "fsync-error", "fsync-lie", "bit-flip"];
/// How long a member may take to end after such a fault: it closes what it can.
const GRACE_NS: u64 = 10_000_000_000;
/// Findings of one kind that are told of.
const FINDINGS_MAX: usize = 10;

/// The checker `liveness`, for every run.
pub struct LivenessChecker;

impl Checker for LivenessChecker {
    fn name(&self) -> &'static str {
        "liveness"
    }

    fn check(&self, evidence: &Evidence) -> Judgement {
        let mut judgement = Judgement::new(self.name());
        for fault in effects(evidence) {
            if let Some((anomaly, message)) = broken(fault).filter(|(anomaly, _)| !is_excused(fault, anomaly, evidence))
            {
                let told = judgement.findings.iter().filter(|f| f.anomaly == anomaly).count();
                if told < FINDINGS_MAX {
                    judgement.fail(
                        anomaly,
                        message,
                        Vec::new(),
                        json!({"time_ns": fault.time_ns, "nodes": fault.nodes}),
                    );
                }
            }
        }
        served(evidence, &mut judgement);
        if evidence.finals.is_empty() && judgement.findings.is_empty() {
            judgement.unknown("nothing was read back after healing".to_owned());
        }
        judgement
    }
}

/// Lines of what came of faults.
fn effects(evidence: &Evidence) -> impl Iterator<Item = &FaultRecord> {
    evidence.faults.iter().filter(|f| f.phase == Phase::Effect)
}

/// What is wrong about an effect.
fn broken(fault: &FaultRecord) -> Option<(&'static str, String)> {
    let (nodes, detail) = (&fault.nodes, &fault.detail);
    let is_expected = detail["expected"] == true;
    match fault.fault.as_str() {
        "no-recovery" => Some((
            "no-recovery",
            format!("the cluster was not healthy in time after healing: {detail}"),
        )),
        "healed" if !detail["error"].is_null() => Some((
            "no-recovery",
            format!("the cluster was not healed: {}", detail["error"]),
        )),
        "ended" if !is_expected => Some(("unexpected-exit", format!("member {nodes:?} ended by itself: {detail}"))),
        "panic" if !is_expected => Some(("panic", format!("member {nodes:?}: {}", detail["line"]))),
        _ => None,
    }
}

/// Whether a member ended because its disk had failed it.
fn is_excused(effect: &FaultRecord, anomaly: &str, evidence: &Evidence) -> bool {
    if !matches!(anomaly, "unexpected-exit" | "panic") {
        return false;
    }
    let of_disks = evidence.faults.iter().filter(|f| OF_DISKS.contains(&f.fault.as_str()));
    let (begun, ended): (Vec<_>, Vec<_>) = of_disks
        .filter(|f| effect.nodes.iter().any(|node| f.nodes.contains(node)))
        .partition(|f| matches!(f.phase, Phase::Begin | Phase::Once));
    begun.iter().any(|begin| {
        let end = ended
            .iter()
            .find(|e| e.id == begin.id && e.phase == Phase::End)
            .map(|e| e.time_ns);
        begin.time_ns <= effect.time_ns && end.is_none_or(|end| effect.time_ns <= end.saturating_add(GRACE_NS))
    })
}

/// Who was asked after the recovery also served.
fn served(evidence: &Evidence, judgement: &mut Judgement) {
    let Some(since_ns) = effects(evidence).find(|f| f.fault == "recovered").map(|f| f.time_ns) else {
        return;
    };
    for workload in &evidence.meta.workloads {
        let called: Vec<_> = evidence
            .history
            .ops
            .iter()
            .filter(|op| op.workload == *workload && op.call_ns > since_ns)
            .collect();
        judgement.count("calls-after-recovery", called.len() as u64);
        if called.len() >= CALLS_MIN && !called.iter().any(|op| op.is_ok()) {
            let message = format!(
                "after the recovery none of {} operations of {workload} went well",
                called.len()
            );
            let ops = called.iter().take(FINDINGS_MAX).map(|op| op.index).collect();
            judgement.fail("unavailable", message, ops, json!({"workload": workload}));
        }
    }
}
