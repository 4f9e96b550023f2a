#![allow(clippy::unwrap_used)]

use super::*;
use crate::checker::testing::{
    Request, Schedule, Store, anomalies, assert_finds, assert_passes, evidence, history, spectator,
};
use crate::history::Outcome;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

fn judged(ops: Vec<Op>, store: &Store) -> Evidence {
    let mut evidence = evidence(ops);
    evidence.watches.insert("spectator-1".to_owned(), spectator(store, 1));
    evidence
}

/// Lease 1 holds from revision 2 to 5, when its key is deleted; lease 2 waits from 3 on; 4 is the first one's write.
fn store() -> Store {
    let mut store = Store::new();
    store.put("lock/m/1", "", 1);
    store.put("lock/m/2", "", 2);
    store.put("lock/fenced-m", "[10]", 0);
    store.delete(&["lock/m/1".to_owned()]);
    store.put("lock/fenced-m", "[10,20]", 0);
    store
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(
        anomalies(&LockChecker, &judged(history("lock", text), &store())),
        expected
    );
}

#[test]
fn good_histories_pass() {
    check(
        r#" 1 0..10  acquire lock/m      {"lease":"1"}                                      -> ok {"key":"lock/m/1","create_revision":2} @2
            2 0..60  acquire lock/m      {"lease":"2"}                                      -> ok {"key":"lock/m/2","create_revision":3} @5
            1 20..30 fenced-write lock/m {"element":10,"owner":"lock/m/1","create":2}  -> ok true @4
            2 70..80 fenced-write lock/m {"element":20,"owner":"lock/m/2","create":3}  -> ok true @6
            1 75..90 fenced-write lock/m {"element":30,"owner":"lock/m/1","create":2}  -> ok false @6
            1 75..90 unfenced-write lock/m {"element":1}                             -> ok
            2 95..99 read-final lock/unfenced-m                                               -> ok []
            2 95..99 read-final lock/fenced-m                                                 -> ok [10,20] "#,
        &[],
    );
}

#[test]
fn bad_histories_are_named() {
    // Told that it holds the lock while another does.
    check(
        r#" 2 0..20 acquire lock/m {"lease":"2"} -> ok {"key":"lock/m/2","create_revision":3} @4 "#,
        &["overlapping-holders"],
    );
    // It waited, its lease ended, it was let in all the same.
    check(
        r#" 1 0..90 acquire lock/m {"lease":"1"} -> ok {"key":"lock/m/1","create_revision":2} @6 "#,
        &["expired-holder"],
    );
    check(
        r#" 1 75..90 fenced-write lock/m {"element":30,"owner":"lock/m/1","create":2} -> ok true @7 "#,
        &["fencing-violation"],
    );
    check(
        r#" 1 20..30 fenced-write lock/m {"element":10,"owner":"lock/m/1","create":2} -> ok true @4
            2 95..99 read-final lock/fenced-m                                                -> ok [20]
            2 70..80 fenced-write lock/m {"element":20,"owner":"lock/m/2","create":3} -> ok true @6 "#,
        &["lost"],
    );
}

#[test]
fn leaders_are_judged_like_holders() {
    let text = r#" 3 0..10 leader lock/m -> ok {"key":"lock/m/1","rev":2,"lease":"1","value":""} @4
                   3 20..30 leader lock/m -> ok {"key":"lock/m/2","rev":3,"lease":"2","value":""} @6 "#;
    assert_passes(&LockChecker, &judged(history("election", text), &store()));
    let text = r#" 3 0..10 leader lock/m -> ok {"key":"lock/m/2","rev":3,"lease":"2","value":""} @4 "#;
    assert_finds(
        &LockChecker,
        &judged(history("election", text), &store()),
        "overlapping-holders",
    );
}

#[test]
fn who_is_elected_is_alone_by_the_time_that_others_ask() {
    // The answer has the revision of the candidacy; the one before it went at 5.
    let elected = r#" 2 0..60 campaign lock/m {"lease":"2","value":"x"} -> ok {"key":"lock/m/2","rev":3,"lease":"2","value":"x"} @3 "#;
    let asked = |revision| {
        format!(
            r#"{elected}
        3 70..80 proclaim lock/m {{"key":"lock/m/9","rev":9,"value":"y"}} -> ok null @{revision}"#
        )
    };
    assert_eq!(
        anomalies(&LockChecker, &judged(history("election", &asked(4)), &store())),
        ["fencing-violation", "overlapping-holders"]
    );
    assert_eq!(
        anomalies(&LockChecker, &judged(history("election", &asked(6)), &store())),
        ["fencing-violation"]
    );
}

#[test]
fn what_is_lost_in_the_end_is_named_and_the_control_is_counted() {
    let text = r#"
        1 20..30 fenced-write   lock/m {"element":30,"owner":"lock/m/1","create":2} -> ok true @4
        1 20..30 unfenced-write lock/m {"element":31,"owner":"lock/m/1","create":2} -> ok true @4 "#;
    let mut evidence = judged(history("lock", text), &store());
    evidence.finals = crate::checker::testing::finals(&store());
    assert_eq!(anomalies(&LockChecker, &evidence), ["lost"]);
    assert_eq!(
        LockChecker.check(&evidence).stats["unfenced writes lost (the control)"],
        1
    );
}

#[test]
fn without_spectators_nothing_can_be_said() {
    let ops = history(
        "lock",
        r#"1 0..10 acquire lock/m {"lease":"1"} -> ok {"key":"lock/m/1","create_revision":2} @2"#,
    );
    assert_eq!(
        LockChecker.check(&evidence(ops)).verdict,
        crate::checker::Verdict::Unknown
    );
}

fn lowest(store: &Store) -> Option<(String, i64)> {
    let contenders = store.keys.iter().filter(|(key, _)| key.starts_with("lock/m/"));
    contenders
        .map(|(key, kept)| (key.clone(), kept.create))
        .min_by_key(|(_, create)| *create)
}

/// A good history: each process contends with a key of its own, which now and then is deleted as if its lease ended.
fn good(seed: u64) -> (Vec<Op>, Store) {
    let mut schedule = Schedule::new("lock", seed);
    schedule.ops = 100;
    let mut store = Store::new();
    let mut element = 0;
    // What each process believes to hold.
    let believed = std::cell::RefCell::new(std::collections::HashMap::<u64, (String, i64)>::new());
    let mut written: Vec<i64> = Vec::new();
    let ops = schedule.run(
        &mut store,
        |rng, process| {
            let own = format!("lock/m/{process}");
            let held = believed.borrow().get(&process).cloned();
            let chance = rng.random_range(0..10);
            let (f, key, value) = match held {
                Some((key, create)) if chance < 6 => {
                    element += 1;
                    (
                        "fenced-write",
                        "lock/m".to_owned(),
                        json!({"element": element, "owner": key, "create": create}),
                    )
                }
                _ if chance < 2 => ("read", "lock/fenced-m".to_owned(), Value::Null),
                _ if chance < 3 => ("release", own, Value::Null),
                _ => (
                    "acquire",
                    "lock/m".to_owned(),
                    json!({"lease": process.to_string(), "own": own}),
                ),
            };
            Request {
                f,
                key: Some(key),
                value,
            }
        },
        |store, rng, request| {
            let holder = lowest(store);
            if let Some((key, _)) = holder.filter(|_| rng.random_ratio(1, 12)) {
                store.delete(&[key]);
            }
            let answer = match request.f {
                "acquire" => {
                    let own = request.value["own"].as_str().unwrap();
                    if !store.keys.contains_key(own) {
                        store.put(own, "", 1);
                    }
                    let (key, create) = lowest(store).filter(|(key, _)| key == own)?;
                    believed
                        .borrow_mut()
                        .insert(own["lock/m/".len()..].parse().unwrap(), (key.clone(), create));
                    json!({"key": key, "create_revision": create})
                }
                "fenced-write" => {
                    let own = Ownership::of(&request.value).unwrap();
                    let fits = store.keys.get(own.key).is_some_and(|kept| kept.create == own.create);
                    if fits {
                        written.push(request.value["element"].as_i64().unwrap());
                        store.put("lock/fenced-m", &json!(written).to_string(), 0);
                    }
                    json!(fits)
                }
                "release" => {
                    store.delete(&[request.key.clone().unwrap()]);
                    Value::Null
                }
                _ => json!(written),
            };
            Some((answer, Some(store.revision)))
        },
    );
    (ops, store)
}

const ANOMALIES: [&str; 4] = ["overlapping-holders", "expired-holder", "fencing-violation", "lost"];

/// A further acquire, by whoever.
fn acquire(ops: &mut Vec<Op>, key: &str, create: i64, revision: i64) {
    let mut op = ops[0].clone();
    op.f = "acquire".to_owned();
    op.index = 1_000_000;
    op.return_ns = Some(op.call_ns);
    op.outcome = Outcome::Ok {
        value: json!({"key": key, "create_revision": create}),
        revision: Some(revision),
    };
    ops.push(op);
}

fn mutate(ops: &mut Vec<Op>, store: &Store, anomaly: &str, rng: &mut StdRng) -> bool {
    let start = rng.random_range(0..store.log.len());
    let events = store.log[start..]
        .iter()
        .chain(&store.log[..start])
        .map(|(_, events)| events[0].clone());
    let mut contending = events.filter(|event| event.key.starts_with("lock/m/"));
    match anomaly {
        "overlapping-holders" => {
            let waits = contending.find(|event| {
                let at = &store.states[usize::try_from(event.mod_revision).unwrap()];
                !event.delete
                    && at
                        .iter()
                        .any(|(key, kept)| key.starts_with("lock/m/") && kept.create < event.mod_revision)
            });
            waits.is_some_and(|event| {
                acquire(ops, &event.key, event.mod_revision, event.mod_revision);
                true
            })
        }
        "expired-holder" => contending.find(|event| event.delete).is_some_and(|event| {
            acquire(ops, &event.key, event.prev.unwrap().create_revision, event.mod_revision);
            true
        }),
        "fencing-violation" => ops.iter_mut().any(|op| {
            let refused = op.f == "fenced-write" && op.answer() == Some(&json!(false));
            if refused {
                op.outcome = Outcome::Ok {
                    value: json!(true),
                    revision: op.revision().map(|r| r + 1),
                };
            }
            // What comes after it may be later than what is known.
            refused && op.revision().unwrap() <= store.revision
        }),
        _ => {
            let Some(read) = ops
                .iter_mut()
                .rev()
                .find(|op| op.f == "read" && op.answer().is_some_and(|a| a != &json!([])))
            else {
                return false;
            };
            let mut all = elements_of(read);
            let gone = all.remove(rng.random_range(0..all.len()));
            read.outcome = Outcome::Ok {
                value: json!(all),
                revision: None,
            };
            let call_ns = read.call_ns;
            ops.iter().any(|op| {
                op.f == "fenced-write" && op.value["element"] == gone && op.is_ok() && op.return_ns.unwrap() < call_ns
            })
        }
    }
}

fn elements_of(op: &Op) -> Vec<i64> {
    op.answer()
        .unwrap()
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e.as_i64().unwrap())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 20_000, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn good_ones_pass_and_one_mutation_is_found_by_name(seed: u64, which in 0..ANOMALIES.len()) {
        let (mut ops, store) = good(seed);
        assert_passes(&LockChecker, &judged(ops.clone(), &store));
        let mut rng = StdRng::seed_from_u64(seed);
        prop_assume!(mutate(&mut ops, &store, ANOMALIES[which], &mut rng));
        let found = anomalies(&LockChecker, &judged(ops, &store));
        // A read that misses an element which another one after it has is stale, not lost.
        let name = if ANOMALIES[which] == "lost" && found == ["stale"] { "stale" } else { ANOMALIES[which] };
        prop_assert!(found.iter().any(|anomaly| anomaly == name), "wanted {name}, found {found:?}");
    }
}
