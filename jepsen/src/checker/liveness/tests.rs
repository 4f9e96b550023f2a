use super::LivenessChecker;
use super::minimums::MinimumsChecker;
use crate::checker::golden::{Run, failed_with, passes};
use crate::checker::{Checker, Evidence, Verdict};
use crate::history::{FaultRecord, Phase};
use serde_json::{Value, json};

/// A run of `register` with twenty puts that went well, and the fault `kill` done once.
fn evidence() -> Evidence {
    let mut run = Run::new();
    for number in 0..20 {
        run.put("register/1", &number.to_string());
        let revision = run.revision();
        run.ok(
            "register",
            1,
            "put",
            Some("register/1"),
            json!(number.to_string()),
            Value::Null,
            Some(revision),
        );
    }
    let mut evidence = run.finals(3).evidence();
    evidence.meta.workloads = vec!["register".to_owned()];
    evidence.meta.faults = vec!["kill".to_owned()];
    line(&mut evidence, Phase::Begin, "kill", json!({}));
    evidence
}

fn line(evidence: &mut Evidence, phase: Phase, fault: &str, detail: Value) {
    evidence.faults.push(FaultRecord {
        time_ns: 1,
        id: 1,
        phase,
        fault: fault.to_owned(),
        nodes: vec![1],
        detail,
    });
}

#[track_caller]
fn is_unknown(evidence: &Evidence) {
    let judgement = MinimumsChecker.check(evidence);
    assert_eq!(judgement.verdict, Verdict::Unknown, "{judgement:#?}");
}

#[test]
fn a_run_with_enough_in_it_passes() {
    let mut good = evidence();
    line(&mut good, Phase::Effect, "recovered", json!({"ms": 7}));
    line(&mut good, Phase::Effect, "healed", json!({"error": null}));
    line(&mut good, Phase::Effect, "ended", json!({"expected": true}));
    line(&mut good, Phase::Effect, "panic", json!({"expected": true}));
    passes(&MinimumsChecker, &good);
    passes(&LivenessChecker, &good);
}

#[test]
fn too_few_operations_are_unknown() {
    let mut few = evidence();
    few.meta.options.insert("ops-min".to_owned(), json!({"register": 21}));
    is_unknown(&few);
    let mut other = evidence();
    other.meta.workloads.push("set".to_owned());
    is_unknown(&other);
    let mut none = evidence();
    none.meta.workloads.clear();
    is_unknown(&none);
}

#[test]
fn faults_without_effect_are_unknown() {
    let mut undone = evidence();
    undone.meta.faults.push("pause".to_owned());
    is_unknown(&undone);
    let mut power = evidence();
    power.meta.faults.push("power-loss".to_owned());
    line(&mut power, Phase::Begin, "power-loss", json!({}));
    is_unknown(&power);
    line(&mut power, Phase::Effect, "bytes-lost", json!({"bytes": 17}));
    passes(&MinimumsChecker, &power);
    let mut calm = evidence();
    for _ in 0..5 {
        line(&mut calm, Phase::Begin, "kill", json!({}));
    }
    is_unknown(&calm);
    line(&mut calm, Phase::Effect, "leader-change", json!({"from": 1, "to": 2}));
    passes(&MinimumsChecker, &calm);
}

#[test]
fn a_cluster_that_does_not_live_fails() {
    for (effect, detail, anomaly) in [
        ("no-recovery", json!({"seen": "no leader"}), "no-recovery"),
        ("healed", json!({"error": "no leader"}), "no-recovery"),
        ("ended", json!({"expected": false}), "unexpected-exit"),
        ("panic", json!({"expected": false, "line": "panicked at"}), "panic"),
    ] {
        let mut bad = evidence();
        line(&mut bad, Phase::Effect, effect, detail);
        failed_with(&LivenessChecker, &bad, anomaly);
    }
}

#[test]
fn a_member_may_end_for_a_while_after_its_disk_failed() {
    let mut run = evidence();
    let mut at = |phase, fault: &str, time_ns, expected: Value| {
        line(&mut run, phase, fault, json!({"expected": expected}));
        if let Some(last) = run.faults.last_mut() {
            last.time_ns = time_ns;
        }
        run.faults.len()
    };
    at(Phase::Begin, "disk-full", 1_000, Value::Null);
    at(Phase::End, "disk-full", 2_000, Value::Null);
    at(Phase::Effect, "ended", 1_000_000_000, json!(false));
    passes(&LivenessChecker, &run);
    run.faults
        .iter_mut()
        .filter(|f| f.fault == "ended")
        .for_each(|f| f.time_ns = 20_000_000_000);
    failed_with(&LivenessChecker, &run, "unexpected-exit");
}

#[test]
fn clients_are_served_after_healing() {
    let mut bad = evidence();
    line(&mut bad, Phase::Effect, "recovered", json!({"ms": 7}));
    for op in &mut bad.history.ops {
        op.outcome = crate::history::Outcome::Info {
            error: "timeout".to_owned(),
        };
    }
    failed_with(&LivenessChecker, &bad, "unavailable");
}

#[test]
fn nothing_read_back_is_unknown() {
    let mut bad = evidence();
    bad.finals.clear();
    assert_eq!(LivenessChecker.check(&bad).verdict, Verdict::Unknown);
}
