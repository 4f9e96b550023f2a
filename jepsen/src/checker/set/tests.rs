#![allow(clippy::unwrap_used)]

use super::*;
use crate::checker::testing::{Request, Schedule, Store, anomalies, assert_finds, assert_passes, evidence, history};
use crate::history::Outcome;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(anomalies(&SetChecker, &evidence(history(WORKLOAD, text))), expected);
}

#[test]
fn good_histories_pass() {
    check(
        r"  1 0..10  add  set/1 1 -> ok
            2 5..?   add  set/2 2 -> info timeout
            3 5..10  add  set/3 3 -> fail unavailable
            1 20..30 read set     -> ok [1]
            2 25..35 read set     -> ok [2, 1]
            2 25..40 add  list 1  -> ok
            1 50..60 read list    -> ok [1]
            1 50..60 read-final set -> ok [1, 2] ",
        &[],
    );
}

#[test]
fn bad_histories_are_named() {
    check("1 0..10 add set/1 1 -> ok\n1 20..30 read-final set -> ok []", &["lost"]);
    check(
        r"  1 0..10  add  set/1 1 -> ok
            1 20..30 read set     -> ok []
            1 40..50 read set     -> ok [1] ",
        &["stale"],
    );
    // It never ended, was seen, and is gone.
    check(
        r"  1 0..?   add  set/1 1 -> info timeout
            2 20..30 read set     -> ok [1]
            2 40..50 read set     -> ok [] ",
        &["lost"],
    );
    check(
        "1 0..10 add set/1 1 -> ok\n1 20..30 read set -> ok [1, 1]",
        &["duplicated"],
    );
    check("1 20..30 read set -> ok [1]", &["phantom"]);
    check("1 20..30 read set -> ok [1]\n1 40..50 add set/1 1 -> ok", &["phantom"]);
    check(
        "1 0..10 add set/1 1 -> fail no\n1 20..30 read set -> ok [1]",
        &["aborted-read"],
    );
}

#[test]
fn a_workload_that_did_nothing_is_unknown() {
    let mut evidence = evidence(Vec::new());
    assert_passes(&SetChecker, &evidence);
    evidence.meta.workloads.push(WORKLOAD.to_owned());
    assert_eq!(SetChecker.check(&evidence).verdict, crate::checker::Verdict::Unknown);
}

fn good(seed: u64, ops: usize) -> Vec<Op> {
    let mut next = 0;
    let mut schedule = Schedule::new(WORKLOAD, seed);
    schedule.ops = ops;
    schedule.run(
        &mut Store::new(),
        |rng, _| {
            next += 1;
            let add = rng.random_ratio(2, 3);
            Request {
                f: if add { "add" } else { "read" },
                key: None,
                value: if add { json!(next) } else { Value::Null },
            }
        },
        |store, _, request| {
            if request.f == "add" {
                let revision = store.put(&request.value.to_string(), "", 0);
                return Some((Value::Null, Some(revision)));
            }
            let all: Vec<i64> = store.keys.keys().map(|key| key.parse().unwrap()).collect();
            Some((json!(all), Some(store.revision)))
        },
    )
}

const ANOMALIES: [&str; 5] = ["lost", "stale", "duplicated", "phantom", "aborted-read"];

/// Spoils one history by a name; `false` when there is no place for it.
fn mutate(ops: &mut [Op], anomaly: &str, rng: &mut StdRng) -> bool {
    let reads: Vec<usize> = (0..ops.len())
        .filter(|&at| ops[at].f == "read" && ops[at].is_ok() && !content(&ops[at]).is_empty())
        .collect();
    if reads.len() < 2 {
        return false;
    }
    let read = reads[rng.random_range(0..reads.len())];
    let has = content(&ops[read]);
    let element = has[rng.random_range(0..has.len())];
    let known = |ops: &[Op], at: usize| {
        ops.iter().any(|op| {
            op.f == "add" && op.value == json!(element) && op.is_ok() && op.return_ns.unwrap() < ops[at].call_ns
        })
    };
    match anomaly {
        "lost" => {
            let due = known(ops, *reads.last().unwrap());
            reads
                .iter()
                .for_each(|&at| change(&mut ops[at], |all| all.retain(|&e| e != element)));
            due
        }
        "stale" => {
            change(&mut ops[read], |all| all.retain(|&e| e != element));
            known(ops, read)
                && reads
                    .iter()
                    .any(|&at| ops[at].call_ns > ops[read].return_ns.unwrap() && content(&ops[at]).contains(&element))
        }
        "duplicated" => {
            change(&mut ops[read], |all| all.push(element));
            true
        }
        "phantom" => {
            change(&mut ops[read], |all| all.push(-1));
            true
        }
        _ => {
            let add = ops
                .iter_mut()
                .find(|op| op.f == "add" && op.value == json!(element))
                .unwrap();
            add.outcome = Outcome::Fail { error: String::new() };
            true
        }
    }
}

fn content(op: &Op) -> Vec<i64> {
    elements(op.answer().unwrap()).unwrap()
}

fn change(op: &mut Op, f: impl FnOnce(&mut Vec<i64>)) {
    let mut all = content(op);
    f(&mut all);
    op.outcome = Outcome::Ok {
        value: json!(all),
        revision: op.revision(),
    };
}

proptest! {
    #[test]
    fn good_ones_pass_and_one_mutation_is_found_by_name(seed: u64, which in 0..ANOMALIES.len()) {
        let mut ops = good(seed, 60);
        assert_passes(&SetChecker, &evidence(ops.clone()));
        let mut rng = StdRng::seed_from_u64(seed);
        prop_assume!(mutate(&mut ops, ANOMALIES[which], &mut rng));
        assert_finds(&SetChecker, &evidence(ops), ANOMALIES[which]);
    }
}
