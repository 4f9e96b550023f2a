//! A good run; one change to it must be found by name.

#![allow(clippy::unwrap_used)]

use super::KubeChecker;
use super::simulated::{Kube, simulate};
use crate::checker::golden::Dice;
use crate::checker::{Checker, Verdict};
use crate::history::{InformerKind, Op, Outcome, Seen};
use proptest::prelude::*;
use serde_json::{Value, json};

const OF_OPERATIONS: [&str; 6] = [
    "precondition-ignored",
    "lost-write",
    "wrong-object",
    "wrong-list",
    "not-exact",
    "token-left-snapshot",
];

const OF_INFORMERS: [&str; 5] = [
    "lost-event",
    "duplicate-event",
    "wrong-transition",
    "phantom-event",
    "stale-bookmark",
];

fn mutate(kube: &mut Kube, name: &str, dice: &mut Dice) -> bool {
    if OF_OPERATIONS.contains(&name) {
        operation(kube, name, dice)
    } else {
        informer(kube, name, dice)
    }
}

fn operation(kube: &mut Kube, name: &str, dice: &mut Dice) -> bool {
    let fits = |op: &&mut Op| match name {
        "precondition-ignored" => op.f == "update",
        "lost-write" => op.f == "update" || op.f == "create",
        "wrong-object" => op.f == "get" && op.answer().is_some_and(|a| !a.is_null()),
        "wrong-list" => op.f == "list" && op.answer().is_some_and(|a| !a["items"].as_array().unwrap().is_empty()),
        "not-exact" => op.f == "list" && op.value["match"] == "Exact",
        _ => op.f == "list" && op.value["token"] == "consistent",
    };
    let mut places: Vec<&mut Op> = kube.run.ops.iter_mut().filter(fits).collect();
    if places.is_empty() {
        return false;
    }
    let at = dice.below(places.len() as u64) as usize;
    let op = places.swap_remove(at);
    let Outcome::Ok { value, .. } = &mut op.outcome else {
        unreachable!()
    };
    match name {
        "precondition-ignored" => op.value["rv"] = json!("1"),
        "lost-write" => op.value["v"] = json!(1_000_000),
        "wrong-object" => value["v"] = json!(1_000_000),
        "wrong-list" => drop(value["items"].as_array_mut().unwrap().remove(0)),
        _ => value["rv"] = Value::from(value["rv"].as_i64().unwrap() - 1),
    }
    true
}

fn informer(kube: &mut Kube, name: &str, dice: &mut Dice) -> bool {
    let client = format!("kube-watch-{}", dice.below(6));
    let lines = kube.informers.get_mut(&client).unwrap();
    // After the first bookmark of a stream that begins with nothing, all are transitions.
    let mut plain = false;
    let mut places: Vec<usize> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if let InformerKind::Start(start) = &line.what {
            plain = start.resource_version != "0";
        }
        let next = lines.get(at + 1).map(|l| &l.what);
        let fits = match name {
            "lost-event" => seen(&line.what).is_some() && next.is_some_and(|n| seen(n).is_some()),
            "wrong-transition" => matches!(line.what, InformerKind::Modified { .. }),
            _ => seen(&line.what).is_some(),
        };
        if plain && fits {
            places.push(at);
        }
    }
    let Some(at) = dice.pick(&places) else { return false };
    let mut line = lines[at].clone();
    let object = seen(&line.what).unwrap().clone();
    match name {
        "lost-event" => drop(lines.remove(at)),
        "duplicate-event" => lines.insert(at + 1, line),
        "wrong-transition" => lines[at].what = InformerKind::Deleted { object },
        "phantom-event" => {
            line.what = InformerKind::Added {
                object: Seen {
                    name: "other".to_owned(),
                    ..object
                },
            };
            lines.insert(at + 1, line);
        }
        _ => {
            line.what = InformerKind::Bookmark {
                rv: object.rv - 1,
                initial_end: false,
            };
            lines.insert(at + 1, line);
        }
    }
    true
}

fn seen(what: &InformerKind) -> Option<&Seen> {
    match what {
        InformerKind::Added { object } | InformerKind::Modified { object } | InformerKind::Deleted { object } => {
            Some(object)
        }
        _ => None,
    }
}

#[test]
fn every_mutation_finds_a_place() {
    for name in OF_OPERATIONS.into_iter().chain(OF_INFORMERS) {
        let places = (0..40)
            .filter(|&seed| mutate(&mut simulate(seed), name, &mut Dice::new(seed)))
            .count();
        assert!(places > 10, "{name}: {places} of 40");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn good_runs_pass_and_mutated_ones_fail_by_name(seed in any::<u64>()) {
        let kube = simulate(seed);
        let judgement = KubeChecker.check(&kube.evidence());
        prop_assert_eq!(judgement.verdict, Verdict::Pass, "{:#?}", judgement);
        for name in OF_OPERATIONS.into_iter().chain(OF_INFORMERS) {
            let mut bad = kube.clone();
            if !mutate(&mut bad, name, &mut Dice::new(seed)) {
                continue;
            }
            let judgement = KubeChecker.check(&bad.evidence());
            prop_assert!(judgement.findings.iter().any(|f| f.anomaly == name), "no {}: {:#?}", name, judgement);
        }
    }
}
