#![allow(clippy::unwrap_used)]

use super::*;
use crate::checker::testing::{
    Request, Schedule, Store, anomalies, assert_finds, assert_passes, evidence, history, spectator,
};
use crate::history::{FaultRecord, Outcome, Phase};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::collections::HashMap;

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(anomalies(&LeaseChecker, &evidence(history(WORKLOAD, text))), expected);
}

#[test]
fn good_histories_pass() {
    check(
        r#" 1 0..10        grant     -       {"ttl":2}            -> ok {"id":"7","ttl":2}
            1 20..30       attach    lease/a {"id":"7","v":"x"}   -> ok null @2
            1 1000..1010   keepalive -       {"id":"7"}           -> ok {"ttl":2}
            2 2500..2510   get       lease/a                      -> ok {"value":"x"}
            2 2600..2610   ttl       -       {"id":"7"}           -> ok {"ttl":0,"granted":2,"keys":[]}
            # Between call + TTL and return + TTL it may be gone.
            2 2900..3001   get       lease/a                      -> ok {"value":null}
            2 3100..3110   ttl       -       {"id":"7"}           -> ok {"ttl":-1,"granted":0,"keys":[]}
            1 4000..4010   keepalive -       {"id":"7"}           -> ok {"ttl":0}
            1 4000..4010   grant     -       {"ttl":60}           -> ok {"id":"-9","ttl":60}
            1 4020..4030   revoke    -       {"id":"-9"}          -> ok null @3
            1 4040..4050   keepalive -       {"id":"-9"}          -> ok {"ttl":0}
            1 4060..4070   attach    lease/b {"id":"-9","v":"y"}  -> fail etcdserver: requested lease not found "#,
        &[],
    );
}

#[test]
fn bad_histories_are_named() {
    let granted = r#" 1 0..10  grant  -       {"ttl":2}          -> ok {"id":"7","ttl":2}
                      1 20..30 attach lease/a {"id":"7","v":"x"} -> ok null @2 "#;
    let more = |text: &str| format!("{granted}\n{text}");
    check(
        &more(r#"2 1800..1900 get lease/a -> ok {"value":null}"#),
        &["early-expiry"],
    );
    check(
        &more(r#"2 1800..1900 ttl - {"id":"7"} -> ok {"ttl":-1,"granted":0,"keys":[]}"#),
        &["early-expiry"],
    );
    check(
        &more(r#"2 1800..1900 keepalive - {"id":"7"} -> ok {"ttl":0}"#),
        &["early-expiry"],
    );
    check(
        &more(r#"2 1800..1900 attach lease/b {"id":"7","v":"z"} -> fail lease not found"#),
        &["early-expiry"],
    );
    check(
        &more(
            r#" 1 1500..1510 keepalive - {"id":"7"} -> ok {"ttl":2}
                2 3000..3100 get lease/a            -> ok {"value":null} "#,
        ),
        &["early-expiry"],
    );
    // A revoke that may have been done explains it.
    check(
        &more(
            r#" 1 1500..? revoke - {"id":"7"}       -> info timeout
                2 1800..1900 get lease/a            -> ok {"value":null} "#,
        ),
        &[],
    );
    check(
        &more(
            r#" 2 3000..3100 get lease/a            -> ok {"value":null}
                1 3200..3300 keepalive - {"id":"7"} -> ok {"ttl":2} "#,
        ),
        &["resurrected-lease"],
    );
    // Twice the TTL and ten seconds have passed.
    check(
        &more(r#"2 14500..14600 ttl - {"id":"7"} -> ok {"ttl":1,"granted":2,"keys":[]}"#),
        &["immortal-lease"],
    );
}

#[test]
fn a_fault_lets_leases_live_longer() {
    let text = r#" 1 0..10        grant - {"ttl":2}  -> ok {"id":"7","ttl":2}
                   2 14500..14600 ttl   - {"id":"7"} -> ok {"ttl":1,"granted":2,"keys":[]} "#;
    let mut evidence = evidence(history(WORKLOAD, text));
    evidence.faults.push(FaultRecord {
        time_ns: 12_000_000_000,
        id: 0,
        phase: Phase::Effect,
        fault: "leader-change".to_owned(),
        nodes: vec![1],
        detail: Value::Null,
    });
    assert_passes(&LeaseChecker, &evidence);
}

#[test]
fn all_keys_go_at_one_revision() {
    let ops = history(WORKLOAD, r#" 1 0..10 grant - {"ttl":2} -> ok {"id":"7","ttl":2} "#);
    let ended = |spoil: bool| {
        let mut store = Store::new();
        store.put("lease/a", "x", 7);
        store.put("lease/b", "y", 7);
        store.put("lease/c", "z", 8);
        store.now_ns = 3_000_000_000;
        if spoil {
            store.delete(&["lease/a".to_owned()]);
        }
        store.end_lease(7);
        let mut evidence = evidence(ops.clone());
        evidence.watches.insert("spectator-1".to_owned(), spectator(&store, 1));
        evidence
    };
    assert_passes(&LeaseChecker, &ended(false));
    assert_eq!(anomalies(&LeaseChecker, &ended(true)), ["partial-revoke"]);
}

/// Leases of a simulated store: time to live by the time of the last renewal.
#[derive(Default)]
struct Leases(HashMap<i64, u64>);

const TTL_S: u64 = 2;

/// A good history: the store ends leases when their time is over and a little later.
fn good(seed: u64) -> (Vec<Op>, Store) {
    let mut schedule = Schedule::new(WORKLOAD, seed);
    schedule.step_ns = 40_000_000;
    schedule.ops = 120;
    let mut store = Store::new();
    let mut leases = Leases::default();
    // Nobody asks for a lease that was not granted yet.
    let granted = std::cell::Cell::new(0_i64);
    let ops = schedule.run(
        &mut store,
        |rng, _| {
            let last = granted.get();
            let id = rng.random_range((last - 3).max(1)..=last.max(1)).to_string();
            let key = format!("lease/{id}-{}", rng.random_range(0..2));
            let (f, key, value) = match rng.random_range(0..12) {
                _ if last == 0 => ("grant", None, json!({"ttl": TTL_S})),
                0 | 1 => ("grant", None, json!({"ttl": TTL_S})),
                2..5 => ("attach", Some(key), json!({"id": id, "v": "x"})),
                5..8 => ("keepalive", None, json!({"id": id})),
                8 | 9 => ("ttl", None, json!({"id": id})),
                10 => ("get", Some(key), Value::Null),
                _ => ("revoke", None, json!({"id": id})),
            };
            Request { f, key, value }
        },
        |store, rng, request| {
            let now = store.now_ns;
            let mut over: Vec<i64> = leases
                .0
                .iter()
                .filter(|(_, until)| **until < now && rng.random_ratio(9, 10))
                .map(|(id, _)| *id)
                .collect();
            over.sort_unstable();
            for id in over {
                leases.0.remove(&id);
                store.end_lease(id);
            }
            let until = now + TTL_S * 1_000_000_000;
            let id = id_of(&request.value).unwrap_or(0);
            let alive = leases.0.contains_key(&id);
            let answer = match request.f {
                "grant" => {
                    granted.set(granted.get() + 1);
                    leases.0.insert(granted.get(), until);
                    json!({"id": granted.get().to_string(), "ttl": TTL_S})
                }
                "attach" if alive => {
                    store.put(request.key.as_deref().unwrap(), "x", id);
                    Value::Null
                }
                "keepalive" => {
                    leases.0.entry(id).and_modify(|old| *old = until);
                    json!({"ttl": if alive { TTL_S } else { 0 }})
                }
                "ttl" => json!({"ttl": if alive { 1 } else { -1 }, "granted": TTL_S, "keys": []}),
                "get" => json!({"value": store.keys.get(request.key.as_deref().unwrap()).map(|kept| &kept.value)}),
                "revoke" if alive => {
                    leases.0.remove(&id);
                    store.end_lease(id);
                    Value::Null
                }
                _ => return None,
            };
            Some((answer, Some(store.revision)))
        },
    );
    // Refusals are by the lease that is not there.
    let ops = ops.into_iter().map(|mut op| {
        if matches!(&op.outcome, Outcome::Fail { error } if error == "refused") {
            op.outcome = Outcome::Fail {
                error: "etcdserver: requested lease not found".to_owned(),
            };
        }
        op
    });
    (ops.collect(), store)
}

fn judged(ops: Vec<Op>, store: &Store) -> Evidence {
    let mut evidence = evidence(ops);
    evidence.watches.insert("spectator-1".to_owned(), spectator(store, 1));
    evidence
}

const ANOMALIES: [&str; 3] = ["early-expiry", "resurrected-lease", "partial-revoke"];

fn mutate(ops: &mut [Op], store: &mut Store, anomaly: &str, rng: &mut StdRng) -> bool {
    let start = rng.random_range(0..ops.len());
    let order: Vec<usize> = (start..ops.len()).chain(0..start).collect();
    let revoked = |ops: &[Op], id: i64| {
        ops.iter()
            .any(|op| op.f == "revoke" && !op.is_fail() && id_of(&op.value) == Some(id))
    };
    match anomaly {
        // A renewed lease is answered as gone, soon after.
        "early-expiry" => order.into_iter().any(|at| {
            let Some(id) = id_of(&ops[at].value).filter(|_| ops[at].f == "keepalive" && ops[at].is_ok()) else {
                return false;
            };
            let renewed = ops.iter().any(|op| {
                op.f == "keepalive"
                    && op.index != ops[at].index
                    && id_of(&op.value) == Some(id)
                    && op.answer().is_some_and(|a| a["ttl"] == TTL_S)
                    && op.call_ns < ops[at].call_ns
                    && op.call_ns + TTL_S * 1_000_000_000 > ops[at].return_ns.unwrap()
            });
            if !renewed || revoked(ops, id) {
                return false;
            }
            ops[at].outcome = Outcome::Ok {
                value: json!({"ttl": 0}),
                revision: None,
            };
            true
        }),
        "resurrected-lease" => order.into_iter().any(|at| {
            let Some(id) = id_of(&ops[at].value).filter(|_| ops[at].f == "keepalive" && ops[at].is_ok()) else {
                return false;
            };
            let dead = ops.iter().any(|op| {
                op.f == "ttl"
                    && id_of(&op.value) == Some(id)
                    && op.answer().is_some_and(|a| a["ttl"] == -1)
                    && op.return_ns.unwrap() < ops[at].call_ns
            });
            if dead {
                ops[at].outcome = Outcome::Ok {
                    value: json!({"ttl": TTL_S}),
                    revision: None,
                };
            }
            dead
        }),
        // The log keeps one of the keys that a revoke deleted.
        _ => store.log.iter_mut().any(|(_, events)| {
            let revision = events[0].mod_revision;
            let by_revoke = ops
                .iter()
                .any(|op| op.f == "revoke" && op.is_ok() && op.revision() == Some(revision));
            if events.len() < 2 || !events[0].delete || !by_revoke {
                return false;
            }
            events.pop();
            true
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 20_000, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn good_ones_pass_and_one_mutation_is_found_by_name(seed: u64, which in 0..ANOMALIES.len()) {
        let (mut ops, mut store) = good(seed);
        assert_passes(&LeaseChecker, &judged(ops.clone(), &store));
        let mut rng = StdRng::seed_from_u64(seed);
        prop_assume!(mutate(&mut ops, &mut store, ANOMALIES[which], &mut rng));
        assert_finds(&LeaseChecker, &judged(ops, &store), ANOMALIES[which]);
    }
}
