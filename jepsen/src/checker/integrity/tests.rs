#![allow(clippy::unwrap_used)]

use super::*;
use crate::checker::testing::{
    Request, Schedule, Store, anomalies, assert_finds, assert_passes, evidence, finals, history,
};
use crate::history::Op;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

/// A store with a key that was written twice, one that was deleted, and a list.
fn store() -> Store {
    let mut store = Store::new();
    store.put("register/a", "v1", 0);
    store.put("register/a", "v2", 0);
    store.put("register/b", "v3", 0);
    store.delete(&["register/b".to_owned()]);
    store.put("append/k", "[1,2]", 0);
    store.put("set/7", "7", 0);
    store.put("set/list", "[8]", 0);
    store
}

const OPS: &str = r#"
    1 0..10  put    register/a "v1" -> ok null @2
    1 20..30 put    register/a "v2" -> ok null @3
    1 40..50 put    register/b "v3" -> ok null @4
    2 60..?  delete register/b      -> info timeout
    9/1 90..99 hash -               -> ok {"hash":5,"revision":4,"compact":0}
    9/2 90..99 hash -               -> ok {"hash":5,"revision":4,"compact":0}
    9/3 90..99 hash -               -> ok {"hash":6,"revision":4,"compact":2}
"#;

fn good_evidence() -> Evidence {
    let mut ops = history("register", OPS);
    ops.extend(history(
        "append",
        r#"3 60..70 txn - [["append","k",1],["append","k",2]] -> ok [["append","k",1]] @6"#,
    ));
    ops.extend(history(
        "set",
        "4 80..90 add - 7 -> ok null @7\n4 91..92 add list 8 -> ok null @8",
    ));
    let mut evidence = evidence(ops);
    evidence.finals = finals(&store());
    evidence
}

#[test]
fn a_good_run_passes() {
    let judged = assert_passes(&IntegrityChecker, &good_evidence());
    assert_eq!(judged.stats["hashes compared"], 3);
}

#[test]
fn bad_runs_are_named() {
    let spoilt = |spoil: fn(&mut Evidence)| {
        let mut evidence = good_evidence();
        spoil(&mut evidence);
        anomalies(&IntegrityChecker, &evidence)
    };
    assert_eq!(spoilt(|e| e.finals[1].hash += 1), ["hash-mismatch"]);
    assert_eq!(
        spoilt(|e| {
            let hash = e.history.ops.iter_mut().find(|op| op.node == 2).unwrap();
            hash.outcome = crate::history::Outcome::Ok {
                value: json!({"hash": 7, "revision": 4, "compact": 0}),
                revision: None,
            };
        }),
        ["hash-mismatch"]
    );
    assert_eq!(spoilt(|e| e.finals[2].kvs[0].version = 9), ["divergent-state"]);
    assert_eq!(
        spoilt(|e| drop(e.finals[2].kvs.remove(1))),
        ["divergent-state", "lost-write"]
    );
    assert_eq!(
        spoilt(|e| {
            for state in &mut e.finals {
                state.kvs[1].mod_revision = 2;
                state.kvs[1].value = "v1".to_owned();
            }
        }),
        ["lost-write"]
    );
    assert_eq!(
        spoilt(|e| e.finals.iter_mut().for_each(|s| drop(s.kvs.remove(2)))),
        ["lost-write"]
    );
    assert_eq!(
        spoilt(|e| e.finals.iter_mut().for_each(|s| s.kvs[3].value = "[]".to_owned())),
        ["lost-append"]
    );
    assert_eq!(
        spoilt(|e| e.finals.iter_mut().for_each(|s| s.kvs[0].value = "[2]".to_owned())),
        ["lost-append"]
    );
}

#[test]
fn a_member_that_is_behind_agrees_in_what_it_has() {
    let mut evidence = good_evidence();
    let behind = &mut evidence.finals[0];
    behind.revision = 4;
    behind.hash_revision = 4;
    behind.hash = 5;
    behind.kvs.retain(|kv| kv.key == "register/a");
    let kv = behind.kvs[0].clone();
    behind.kvs.push(FinalKv {
        key: "register/b".to_owned(),
        value: "v3".to_owned(),
        create_revision: 4,
        mod_revision: 4,
        version: 1,
        ..kv
    });
    assert_passes(&IntegrityChecker, &evidence);
}

#[test]
fn members_that_were_not_read_make_it_unknown() {
    let mut evidence = good_evidence();
    evidence.meta.workloads.push("register".to_owned());
    assert_passes(&IntegrityChecker, &evidence);
    evidence.finals.pop();
    assert_eq!(
        IntegrityChecker.check(&evidence).verdict,
        crate::checker::Verdict::Unknown
    );
}

/// Puts and deletions of a few keys.
fn good(seed: u64) -> (Vec<Op>, Store) {
    let mut store = Store::new();
    let mut written = 0;
    let ops = Schedule::new("register", seed).run(
        &mut store,
        |rng, _| {
            written += 1;
            let put = rng.random_ratio(5, 6);
            Request {
                f: if put { "put" } else { "delete" },
                key: Some(format!("register/{}", rng.random_range(0..6))),
                value: if put { json!(format!("v{written}")) } else { Value::Null },
            }
        },
        |store, _, request| {
            let key = request.key.clone().unwrap();
            let answer = match request.value.as_str() {
                Some(value) => {
                    store.put(&key, value, 0);
                    Value::Null
                }
                None => json!({"deleted": store.delete(&[key]), "prev": null}),
            };
            Some((answer, Some(store.revision)))
        },
    );
    (ops, store)
}

const ANOMALIES: [&str; 3] = ["hash-mismatch", "divergent-state", "lost-write"];

proptest! {
    #[test]
    fn good_ones_pass_and_one_mutation_is_found_by_name(seed: u64, which in 0..ANOMALIES.len()) {
        let (ops, store) = good(seed);
        let mut evidence = evidence(ops);
        evidence.finals = finals(&store);
        assert_passes(&IntegrityChecker, &evidence);
        let mut rng = StdRng::seed_from_u64(seed);
        let node = rng.random_range(0..3);
        match ANOMALIES[which] {
            "hash-mismatch" => evidence.finals[node].hash ^= 1 << rng.random_range(0..32),
            "divergent-state" => {
                let kvs = &mut evidence.finals[node].kvs;
                prop_assume!(!kvs.is_empty());
                let at = rng.random_range(0..kvs.len());
                kvs[at].value.push('!');
            }
            _ => {
                // A key whose last write was acknowledged and that nobody may have deleted since.
                let safe = |key: &str, modified: i64| {
                    evidence.history.ops.iter().any(|op| op.revision() == Some(modified) && op.f == "put")
                        && !evidence.history.ops.iter().any(|op| op.f == "delete" && op.key.as_deref() == Some(key) && op.is_info())
                };
                let Some(at) = evidence.finals[0].kvs.iter().position(|kv| safe(&kv.key, kv.mod_revision)) else {
                    return Err(TestCaseError::reject("no such key"));
                };
                for state in &mut evidence.finals {
                    state.kvs.remove(at);
                }
            }
        }
        assert_finds(&IntegrityChecker, &evidence, ANOMALIES[which]);
    }
}
