//! Whether enough happened for a run to say anything: operations of each workload, and what came of each fault.

use super::effects;
use crate::checker::{Checker, Evidence, Judgement};
use crate::history::Phase;
use std::collections::BTreeSet;

/// Acknowledged operations of a workload, where the run does not tell how many it needs.
const OPS_MIN: u64 = 10;
/// Faults that take a leader's place now and then: after so many of them there was another leader.
const STRIKES_MIN: usize = 5;

/// The checker `minimums`, for every run.
pub struct MinimumsChecker;

impl Checker for MinimumsChecker {
    fn name(&self) -> &'static str {
        "minimums"
    }

    fn check(&self, evidence: &Evidence) -> Judgement {
        let mut judgement = Judgement::new(self.name());
        operations(evidence, &mut judgement);
        faults(evidence, &mut judgement);
        judgement
    }
}

fn operations(evidence: &Evidence, judgement: &mut Judgement) {
    if evidence.meta.workloads.is_empty() {
        judgement.unknown("no workload was done".to_owned());
    }
    for workload in &evidence.meta.workloads {
        let done = evidence
            .history
            .ops
            .iter()
            .filter(|op| op.workload == *workload && op.is_ok())
            .count() as u64;
        let told = evidence
            .meta
            .options
            .get("ops-min")
            .and_then(|o| o.get(workload)?.as_u64());
        let least = told.unwrap_or(OPS_MIN);
        judgement.count(&format!("ok-{workload}"), done);
        if done < least {
            judgement.unknown(format!(
                "{done} operations of {workload} went well: fewer than {least} say nothing"
            ));
        }
    }
}

/// What must come of a fault of that kind, at least once; any of these.
fn effects_of(kind: &str) -> &'static [&'static str] {
    match kind {
        "power-loss" => &["bytes-lost"],
        "compact" => &["compaction"],
        "leader" => &["leader-change"],
        "snapshot" => &["snapshot-install"],
        "churn" => &["replaced"],
        "bit-flip" => &["flips-noticed", "flips-harmless"],
        _ => &[],
    }
}

fn faults(evidence: &Evidence, judgement: &mut Judgement) {
    let seen: BTreeSet<&str> = effects(evidence).map(|f| f.fault.as_str()).collect();
    let begun = |kind: &str| {
        let lines = evidence.faults.iter().filter(|f| f.fault == kind);
        lines.filter(|f| matches!(f.phase, Phase::Begin | Phase::Once)).count()
    };
    for kind in evidence.meta.faults.iter().filter(|k| *k != "none") {
        let times = begun(kind);
        judgement.count(&format!("fault-{kind}"), times as u64);
        let wanted = effects_of(kind);
        if times == 0 {
            let skipped: Vec<_> = effects(evidence)
                .filter(|f| f.fault == "skipped" && f.detail["fault"] == kind.as_str())
                .map(|f| f.detail["why"].to_string())
                .collect();
            judgement.unknown(format!(
                "the fault {kind} was asked for and never done ({})",
                skipped.join(", ")
            ));
        } else if !wanted.is_empty() && !wanted.iter().any(|effect| seen.contains(effect)) {
            judgement.unknown(format!(
                "{times} faults {kind} had no effect: no {}",
                wanted.join(", no ")
            ));
        }
    }
    let strikes = ["kill", "power-loss", "pause", "partition"]
        .map(begun)
        .iter()
        .sum::<usize>();
    if strikes >= STRIKES_MIN && !seen.contains("leader-change") {
        judgement.unknown(format!("{strikes} faults struck members, and the leader never changed"));
    }
    for _ in effects(evidence).filter(|f| f.fault == "fault-panicked") {
        judgement.unknown("a fault panicked: what it did is not known".to_owned());
    }
}
