#![allow(clippy::unwrap_used)]

use super::ElleAppend;
use super::simulated::{Shape, answer_mut, simulate};
use crate::checker::golden::{Dice, Run, evidence_of, failed_with, passes};
use crate::checker::{Checker, Verdict};
use crate::history::{Op, Outcome};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Transactions one after another, each `[[f, key, value]…]`.
fn one_by_one(txns: &[Value]) -> Vec<Op> {
    let mut run = Run::new();
    for (process, txn) in (0..).zip(txns) {
        run.ok("append", process, "txn", None, txn.clone(), txn.clone(), None);
    }
    run.ops
}

/// The same, all at once.
fn at_once(txns: &[Value]) -> Vec<Op> {
    let mut ops = one_by_one(txns);
    for op in &mut ops {
        (op.call_ns, op.return_ns) = (1, Some(1000));
    }
    ops
}

fn anomaly(ops: Vec<Op>, name: &str) {
    failed_with(&ElleAppend, &evidence_of(ops), name);
}

#[test]
fn good_histories_pass() {
    let good = [
        json!([["r", "x", null], ["append", "x", 1], ["r", "x", [1]]]),
        json!([["append", "x", 2], ["append", "y", 1]]),
        json!([["r", "x", [1, 2]], ["r", "y", [1]], ["r", "z", []]]),
    ];
    passes(&ElleAppend, &evidence_of(one_by_one(&good)));
    passes(&ElleAppend, &evidence_of(at_once(&good)));
}

#[test]
fn elements_that_cannot_be_told_apart_are_unknown() {
    let twice = [
        json!([["append", "x", 1]]),
        json!([["append", "x", 1]]),
        json!([["r", "x", [1]]]),
    ];
    assert_eq!(
        ElleAppend.check(&evidence_of(at_once(&twice))).verdict,
        Verdict::Unknown
    );
}

#[test]
fn other_workloads_are_left_alone() {
    passes(&ElleAppend, &evidence_of(Vec::new()));
}

#[test]
fn what_is_wrong_by_itself() {
    let internal = [json!([["append", "x", 1], ["r", "x", []]]), json!([["r", "x", [1]]])];
    anomaly(at_once(&internal), "internal");
    let twice = [json!([["append", "x", 1]]), json!([["r", "x", [1, 1]]])];
    anomaly(at_once(&twice), "duplicate-elements");
    let garbage = [json!([["append", "x", 1]]), json!([["r", "x", [1, 9]]])];
    anomaly(at_once(&garbage), "garbage-read");
    let intermediate = [
        json!([["append", "x", 1], ["append", "x", 2]]),
        json!([["r", "x", [1]]]),
        json!([["r", "x", [1, 2]]]),
    ];
    anomaly(at_once(&intermediate), "G1b");
    let order = [
        json!([["append", "x", 1]]),
        json!([["append", "x", 2]]),
        json!([["r", "x", [1, 2]]]),
        json!([["r", "x", [2]]]),
    ];
    anomaly(at_once(&order), "incompatible-order");
    let lost = [
        json!([["r", "x", []], ["append", "x", 1]]),
        json!([["r", "x", []], ["append", "x", 2]]),
        json!([["r", "x", [1, 2]]]),
    ];
    anomaly(at_once(&lost), "lost-update");
}

#[test]
fn what_was_refused_must_not_be_read() {
    let mut run = Run::new();
    run.fail("append", 0, "txn", None, json!([["append", "x", 1]]));
    run.ok("append", 1, "txn", None, Value::Null, json!([["append", "x", 2]]), None);
    run.ok("append", 2, "txn", None, Value::Null, json!([["r", "x", [1, 2]]]), None);
    failed_with(&ElleAppend, &run.evidence(), "G1a");
    failed_with(&ElleAppend, &run.evidence(), "dirty-update");
}

#[test]
fn what_ended_indefinitely_may_be_read() {
    let mut run = Run::new();
    run.info("append", 0, "txn", None, json!([["append", "x", 1], ["r", "x", null]]));
    run.info("append", 3, "txn", None, json!([["append", "x", 7]]));
    run.ok("append", 1, "txn", None, Value::Null, json!([["append", "x", 2]]), None);
    run.ok("append", 2, "txn", None, Value::Null, json!([["r", "x", [2, 1]]]), None);
    passes(&ElleAppend, &run.evidence());
}

#[test]
fn cycles_of_data() {
    let g0 = [
        json!([["append", "x", 1], ["append", "y", 2]]),
        json!([["append", "x", 2], ["append", "y", 1]]),
        json!([["r", "x", [1, 2]], ["r", "y", [1, 2]]]),
    ];
    anomaly(at_once(&g0), "G0");
    let g1c = [
        json!([["append", "x", 1], ["r", "y", [1]]]),
        json!([["append", "y", 1], ["r", "x", [1]]]),
    ];
    anomaly(at_once(&g1c), "G1c");
    let single = [
        json!([["append", "x", 1], ["append", "y", 1]]),
        json!([["r", "x", [1]], ["r", "y", []]]),
        json!([["r", "y", [1]]]),
    ];
    anomaly(at_once(&single), "G-single");
    let skew = [
        json!([["r", "x", []], ["append", "y", 1]]),
        json!([["r", "y", []], ["append", "x", 1]]),
        json!([["r", "x", [1]], ["r", "y", [1]]]),
    ];
    anomaly(at_once(&skew), "G2-item");
}

#[test]
fn cycles_of_time() {
    let stale = [
        json!([["append", "x", 1]]),
        json!([["r", "x", []]]),
        json!([["r", "x", [1]]]),
    ];
    anomaly(one_by_one(&stale), "G-single-realtime");
    // Never read at all, and yet acknowledged.
    let lost = [
        json!([["append", "x", 1]]),
        json!([["append", "x", 2]]),
        json!([["r", "x", [1]]]),
    ];
    anomaly(one_by_one(&lost), "G-single-realtime");
    let mut same_process = one_by_one(&stale);
    same_process.iter_mut().for_each(|op| op.process = 7);
    anomaly(same_process, "G-single-process");
    let back = [
        json!([["append", "x", 1]]),
        json!([["append", "x", 2]]),
        json!([["r", "x", [2, 1]]]),
    ];
    anomaly(one_by_one(&back), "G0-realtime");
    let future = [json!([["r", "x", [1]]]), json!([["append", "x", 1]])];
    anomaly(one_by_one(&future), "G1c-realtime");
}

#[test]
fn a_cycle_tells_its_operations_and_why() {
    let stale = [
        json!([["append", "x", 1]]),
        json!([["r", "x", []]]),
        json!([["r", "x", [1]]]),
    ];
    let judgement = ElleAppend.check(&evidence_of(one_by_one(&stale)));
    let cycle = judgement.findings[0].detail["cycle"].as_array().unwrap().clone();
    assert_eq!(judgement.findings[0].ops.len(), 2);
    let rw = cycle.iter().find(|e| e["edge"] == "rw").unwrap();
    assert_eq!((rw["op"].as_u64(), rw["key"].as_str()), (Some(1), Some("x")));
    assert_eq!(rw["text"], "1 read \"x\" with nothing last, before 0 wrote 1");
}

#[test]
fn many_transactions_are_judged() {
    let shape = Shape {
        txns: 20_000,
        processes: 20,
        keys: 2000,
        spread_ns: 100,
        ..Shape::small(1, true)
    };
    let evidence = evidence_of(simulate(shape));
    let judgement = ElleAppend.check(&evidence);
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:#?}");
    // Real time costs at most as many edges as there are processes, for each transaction.
    assert!(judgement.stats["edges"] < 20_000 * 30, "{}", judgement.stats["edges"]);
}

/// What is done to a good history; each must be found by name.
const MUTATIONS: [&str; 8] = [
    "internal",
    "duplicate-elements",
    "garbage-read",
    "G1a",
    "G1b",
    "incompatible-order",
    "lost-update",
    "G-single",
];

/// Does it somewhere, if there is a place for it. Returns whether there was.
fn mutate(ops: &mut [Op], name: &str, dice: &mut Dice) -> bool {
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        for (step, value) in op.answer().and_then(Value::as_array).into_iter().flatten().enumerate() {
            if fits(ops, at, step, value, name) {
                places.push((at, step));
            }
        }
    }
    let Some((at, step)) = dice.pick(&places) else {
        return false;
    };
    if name == "G1a" {
        ops[at].outcome = Outcome::Fail {
            error: "refused".to_owned(),
        };
        return true;
    }
    let stale = longest_before(ops, at, step);
    let rival = rival_of(ops, at, step);
    let list = answer_mut(&mut ops[at]).unwrap()[step][2].as_array_mut().unwrap();
    match name {
        "internal" | "G1b" => {
            list.pop();
        }
        "duplicate-elements" => list.push(list[0].clone()),
        "garbage-read" => list.push(json!(1_000_000)),
        "incompatible-order" => list.swap(0, 1),
        "lost-update" => *list = rival.unwrap(),
        "G-single" => *list = stale.unwrap(),
        _ => unreachable!("{name}"),
    }
    true
}

/// Whether a step of a committed transaction can be changed so that this anomaly must come of it.
fn fits(ops: &[Op], at: usize, step: usize, value: &Value, name: &str) -> bool {
    let steps = ops[at].answer().and_then(Value::as_array).unwrap();
    let list = value[2].as_array();
    let before = &steps[..step];
    let touched = before.iter().any(|s| s[1] == value[1]);
    match (name, list) {
        ("internal", Some(list)) => !list.is_empty() && before.iter().any(|s| s[0] == "append" && s[1] == value[1]),
        ("duplicate-elements" | "garbage-read", Some(list)) => !list.is_empty(),
        ("incompatible-order", Some(list)) => list.len() >= 2 && !touched && others_read_two(ops, at, &value[1]),
        // Refused although somebody else read it.
        ("G1a", None) => ops
            .iter()
            .enumerate()
            .any(|(o, op)| o != at && saw(op, &value[1], &value[2])),
        ("G1b", Some(list)) => !touched && list.len() >= 2 && same_writer(ops, at, &value[1], &list[list.len() - 2..]),
        ("lost-update", Some(_)) => !touched && rival_of(ops, at, step).is_some(),
        ("G-single", Some(list)) => {
            steps.len() == 1 && longest_before(ops, at, step).is_some_and(|old| old.len() < list.len())
        }
        _ => false,
    }
}

fn reads_of<'a>(op: &'a Op, key: &'a Value) -> impl Iterator<Item = &'a Vec<Value>> {
    let steps = op.answer().and_then(Value::as_array).into_iter().flatten();
    steps
        .filter(move |s| s[0] == "r" && s[1] == *key)
        .filter_map(|s| s[2].as_array())
}

fn saw(op: &Op, key: &Value, element: &Value) -> bool {
    reads_of(op, key).any(|list| list.contains(element))
}

fn others_read_two(ops: &[Op], at: usize, key: &Value) -> bool {
    ops.iter()
        .enumerate()
        .any(|(o, op)| o != at && reads_of(op, key).any(|list| list.len() >= 2))
}

fn same_writer(ops: &[Op], at: usize, key: &Value, pair: &[Value]) -> bool {
    ops.iter().enumerate().any(|(o, op)| {
        o != at
            && pair
                .iter()
                .all(|e| op.value.as_array().unwrap().contains(&json!(["append", key, e])))
    })
}

/// What another transaction read before it appended, for one that also read and appended.
fn rival_of(ops: &[Op], at: usize, step: usize) -> Option<Vec<Value>> {
    let updates = |op: &Op, key: &Value| -> Option<(usize, Vec<Value>)> {
        let steps = op.answer()?.as_array()?;
        let first = steps
            .iter()
            .position(|s| s[1] == *key)
            .filter(|&f| steps[f][0] == "r")?;
        steps
            .iter()
            .any(|s| s[0] == "append" && s[1] == *key)
            .then(|| (first, steps[first][2].as_array().unwrap().clone()))
    };
    let key = &ops[at].value[step][1];
    updates(&ops[at], key).filter(|(first, _)| *first == step)?;
    ops[..at]
        .iter()
        .rev()
        .find_map(|op| updates(op, key))
        .map(|(_, list)| list)
}

/// A state of the key that had been overwritten, by a transaction of one step, before this was called.
fn longest_before(ops: &[Op], at: usize, step: usize) -> Option<Vec<Value>> {
    let key = &ops[at].value[step][1];
    let list = reads_of(&ops[at], key).next()?;
    let lost = list.iter().position(|e| {
        ops.iter().any(|op| {
            op.return_ns.is_some_and(|r| r < ops[at].call_ns)
                && op.process != ops[at].process
                && op.answer() == Some(&json!([["append", key, e]]))
        })
    })?;
    Some(list[..lost].to_vec())
}

#[test]
fn every_mutation_finds_a_place() {
    for name in MUTATIONS {
        let places = (0..20)
            .filter(|&s| mutate(&mut simulate(Shape::small(s, true)), name, &mut Dice::new(s)))
            .count();
        assert!(places > 10, "{name}: {places} of 20");
    }
}

/// A good history passes, and fails by name with each mutation.
fn judged_by_name(seed: u64) -> Result<(), TestCaseError> {
    let ops = simulate(Shape::small(seed, true));
    let judgement = ElleAppend.check(&evidence_of(ops.clone()));
    prop_assert_eq!(judgement.verdict, Verdict::Pass, "{:#?}", judgement);
    for name in MUTATIONS {
        let mut bad = ops.clone();
        if !mutate(&mut bad, name, &mut Dice::new(seed)) {
            continue;
        }
        let judgement = ElleAppend.check(&evidence_of(bad));
        prop_assert!(
            judgement.findings.iter().any(|f| f.anomaly.starts_with(name)),
            "no {}: {:#?}",
            name,
            judgement
        );
    }
    Ok(())
}

/// Both a G2 by the order of processes and a G-single by real time: the first must not hide the second.
#[test]
fn a_weaker_cycle_hides_no_worse_one() {
    judged_by_name(2_661_198_821_462_762_164).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn good_histories_pass_and_mutated_ones_fail_by_name(seed in any::<u64>()) {
        judged_by_name(seed)?;
    }
}
