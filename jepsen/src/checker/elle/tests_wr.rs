#![allow(clippy::unwrap_used)]

use super::ElleWr;
use super::simulated::{Shape, answer_mut, simulate};
use crate::checker::golden::{Dice, Run, evidence_of, failed_with, passes};
use crate::checker::{Checker, Verdict};
use crate::history::{Op, Outcome};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Transactions one after another, each with a revision, where it has one.
fn one_by_one(txns: &[(Value, Option<i64>)]) -> Vec<Op> {
    let mut run = Run::new();
    for (process, (txn, revision)) in (0..).zip(txns) {
        run.ok("wr", process, "txn", None, txn.clone(), txn.clone(), *revision);
    }
    run.ops
}

fn at_once(txns: &[(Value, Option<i64>)]) -> Vec<Op> {
    let mut ops = one_by_one(txns);
    for op in &mut ops {
        (op.call_ns, op.return_ns) = (1, Some(1000));
    }
    ops
}

fn anomaly(ops: Vec<Op>, name: &str) {
    failed_with(&ElleWr, &evidence_of(ops), name);
}

#[test]
fn good_histories_pass() {
    let good = [
        (json!([["r", "x", null], ["w", "x", 1], ["r", "x", 1]]), Some(2)),
        (json!([["w", "x", 2], ["w", "y", 1]]), Some(3)),
        (json!([["r", "x", 2], ["r", "y", 1], ["r", "z", null]]), Some(3)),
    ];
    passes(&ElleWr, &evidence_of(one_by_one(&good)));
    passes(&ElleWr, &evidence_of(at_once(&good)));
}

#[test]
fn what_is_wrong_by_itself() {
    anomaly(
        at_once(&[
            (json!([["w", "x", 1], ["r", "x", null]]), None),
            (json!([["r", "x", 1]]), None),
        ]),
        "internal",
    );
    anomaly(
        at_once(&[(json!([["w", "x", 1]]), None), (json!([["r", "x", 9]]), None)]),
        "garbage-read",
    );
    anomaly(
        at_once(&[
            (json!([["w", "x", 1], ["w", "x", 2]]), None),
            (json!([["r", "x", 1]]), None),
        ]),
        "G1b",
    );
    let lost = [
        (json!([["r", "x", null], ["w", "x", 1]]), None),
        (json!([["r", "x", null], ["w", "x", 2]]), None),
    ];
    anomaly(at_once(&lost), "lost-update");
    let mut refused = at_once(&[(json!([["w", "x", 1]]), None), (json!([["r", "x", 1]]), None)]);
    refused[0].outcome = Outcome::Fail { error: String::new() };
    anomaly(refused, "G1a");
    // 1 before 2 by what the second transaction read, 2 before 1 by time.
    let circle = [
        (json!([["r", "x", 1], ["w", "x", 2]]), None),
        (json!([["w", "x", 1]]), None),
    ];
    anomaly(one_by_one(&circle), "cyclic-versions");
}

#[test]
fn cycles_by_inference() {
    let g1c = [
        (json!([["w", "x", 1], ["r", "y", 1]]), None),
        (json!([["w", "y", 1], ["r", "x", 1]]), None),
    ];
    anomaly(at_once(&g1c), "G1c");
    let single = [
        (json!([["w", "x", 1], ["w", "y", 1]]), None),
        (json!([["r", "x", 1], ["r", "y", null]]), None),
    ];
    anomaly(at_once(&single), "G-single");
    let skew = [
        (json!([["r", "x", null], ["w", "y", 1]]), None),
        (json!([["r", "y", null], ["w", "x", 1]]), None),
    ];
    anomaly(at_once(&skew), "G2-item");
    let stale = [
        (json!([["w", "x", 1]]), None),
        (json!([["w", "x", 2]]), None),
        (json!([["r", "x", 1]]), None),
    ];
    anomaly(one_by_one(&stale), "G-single-realtime");
}

#[test]
fn cycles_by_revisions() {
    // The writes are concurrent: that they went in opposite orders only the revisions tell.
    let g0 = [
        (json!([["w", "x", 1]]), Some(2)),
        (json!([["w", "x", 2]]), Some(3)),
        (json!([["r", "x", 2]]), Some(3)),
        (json!([["r", "x", 1]]), Some(3)),
    ];
    let mut ops = one_by_one(&g0);
    ops[0].return_ns = Some(ops[1].return_ns.unwrap());
    ops[0].call_ns = ops[1].call_ns;
    let judgement = ElleWr.check(&evidence_of(ops));
    assert_eq!(judgement.findings[0].anomaly, "G-single-realtime", "{judgement:#?}");
    assert_eq!(judgement.findings[0].detail["evidence"], "revisions");
}

#[test]
fn many_transactions_are_judged() {
    for keys in [10, 2000] {
        let shape = Shape {
            txns: 20_000,
            processes: 20,
            keys,
            spread_ns: 100,
            ..Shape::small(1, false)
        };
        let judgement = ElleWr.check(&evidence_of(simulate(shape)));
        assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:#?}");
    }
}

/// Changes one thing so that this anomaly must come of it, if there is a place for it.
fn mutate(ops: &mut [Op], name: &str, dice: &mut Dice) -> bool {
    let mut places: Vec<(usize, usize, Value)> = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        let Some(steps) = op.answer().and_then(Value::as_array) else {
            continue;
        };
        for (step, value) in steps.iter().enumerate() {
            let is_first = steps[..step].iter().all(|s| s[1] != value[1]);
            let is_read = value[0] == "r";
            let change = match name {
                "internal" if is_read && !is_first => Some(json!(-1)),
                "garbage-read" if is_read && is_first => Some(json!(-1)),
                "G1a" if !is_read => ops
                    .iter()
                    .enumerate()
                    .any(|(o, op)| o != at && reads(op, value))
                    .then_some(Value::Null),
                "G-single" if is_read && is_first && steps.len() == 1 => {
                    stale(ops, at, &value[1]).filter(|old| *old != value[2])
                }
                _ => None,
            };
            if let Some(change) = change {
                places.push((at, step, change));
            }
        }
    }
    let place = dice.below(places.len() as u64) as usize;
    let Some((at, step, change)) = places.get(place).cloned() else {
        return false;
    };
    if name == "G1a" {
        ops[at].outcome = Outcome::Fail {
            error: "refused".to_owned(),
        };
    } else {
        answer_mut(&mut ops[at]).unwrap()[step][2] = change;
    }
    true
}

fn reads(op: &Op, write: &Value) -> bool {
    let steps = op.answer().and_then(Value::as_array);
    steps.is_some_and(|steps| {
        let first = steps.iter().find(|s| s[1] == write[1]);
        first.is_some_and(|s| s[0] == "r" && s[2] == write[2])
    })
}

/// A value whose overwriting had been called after its own return, and had itself returned before this was called.
fn stale(ops: &[Op], at: usize, key: &Value) -> Option<Value> {
    let wrote = |op: &Op| -> Option<Value> {
        let steps = op.answer()?.as_array()?;
        let write = steps.iter().find(|s| s[0] == "w" && s[1] == *key)?;
        (steps.len() == 1).then(|| write[2].clone())
    };
    let done: Vec<(&Op, Value)> = ops
        .iter()
        .filter(|op| op.return_ns.is_some_and(|r| r < ops[at].call_ns) && op.process != ops[at].process)
        .filter_map(|op| Some((op, wrote(op)?)))
        .collect();
    let (last, _) = done.last()?;
    done.iter()
        .find(|(op, _)| op.return_ns.is_some_and(|r| r < last.call_ns))
        .map(|(_, value)| value.clone())
}

/// What is done to a good history; each must be found by name.
const MUTATIONS: [&str; 4] = ["internal", "garbage-read", "G1a", "G-single"];

#[test]
fn every_mutation_finds_a_place() {
    for name in MUTATIONS {
        let places = (0..20)
            .filter(|&s| mutate(&mut simulate(Shape::small(s, false)), name, &mut Dice::new(s)))
            .count();
        assert!(places > 10, "{name}: {places} of 20");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn good_histories_pass_and_mutated_ones_fail_by_name(seed in any::<u64>()) {
        let ops = simulate(Shape::small(seed, false));
        let judgement = ElleWr.check(&evidence_of(ops.clone()));
        prop_assert_eq!(judgement.verdict, Verdict::Pass, "{:#?}", judgement);
        for name in MUTATIONS {
            let mut bad = ops.clone();
            if !mutate(&mut bad, name, &mut Dice::new(seed)) {
                continue;
            }
            let judgement = ElleWr.check(&evidence_of(bad));
            prop_assert!(judgement.findings.iter().any(|f| f.anomaly.starts_with(name)), "no {}: {:#?}", name, judgement);
        }
    }
}

#[test]
fn transactions_are_what_the_store_holds_at_their_revisions() {
    let mut run = Run::new();
    run.put("x", "1").put("x", "2").spectators(2);
    let txns = |read: Value, write: i64, revision: i64| {
        let mut run = run.clone();
        run.ok("wr", 1, "txn", None, Value::Null, json!([["w", "x", 1]]), Some(2));
        run.ok(
            "wr",
            2,
            "txn",
            None,
            Value::Null,
            json!([["r", "x", read], ["w", "x", write]]),
            Some(revision),
        );
        run.ok("wr", 3, "txn", None, Value::Null, json!([["r", "x", 2]]), Some(3));
        run.evidence()
    };
    passes(&ElleWr, &txns(json!(1), 2, 3));
    failed_with(&ElleWr, &txns(json!(null), 2, 3), "wrong-read");
    failed_with(&ElleWr, &txns(json!(1), 7, 3), "lost-write");
    // What nobody saw is not known.
    passes(&ElleWr, &{
        let mut evidence = txns(json!(1), 2, 3);
        evidence.watches.clear();
        evidence
    });
}
