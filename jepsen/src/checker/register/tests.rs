#![allow(clippy::unwrap_used)]

use super::*;
use crate::checker::Checker;
use crate::checker::testing::{
    Kept, Request, Schedule, Store, anomalies, assert_finds, assert_passes, evidence, history, spectator,
};
use crate::history::{FaultRecord, Op, Outcome, Phase};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

const GOOD: &str = r#"
    1 0..10    put a "v1"                        -> ok null @2
    2 5..15    get a                             -> ok {"value":"v1","mod":2,"version":1} @2
    1 20..30   cas a {"from":"v1","to":"v2"}     -> ok true @3
    2 20..40   cas a {"from":"v1","to":"v3"}     -> ok false @3
    3 22..?    put a "v4"                        -> info timeout
    2 50..60   get a                             -> ok {"value":"v4","mod":4,"version":3} @4
    1 50..60   cas-mod a {"mod":3,"to":"v5"}     -> ok false @4
    4 52..62   get-serializable a                -> ok {"value":"v2","mod":3,"version":2} @3
    2 70..80   delete a                          -> ok {"deleted":1,"prev":"v4"} @5
    2 90..95   get a                             -> ok {"value":null,"mod":0,"version":0} @5
    5 90..95   put a "v6"                        -> fail unavailable
    2 100..110 cas-mod a {"mod":0,"to":"v7"}     -> ok true @6
    2 120..130 get a                             -> ok {"value":"v7","mod":6,"version":1} @7
"#;

#[test]
fn a_good_history_passes() {
    let evidence = evidence(history("register", GOOD));
    assert_passes(&Replay, &evidence);
    let judged = assert_passes(&Search::default(), &evidence);
    assert_eq!(judged.stats["keys"], 1);
}

/// What each of the two finds in a history.
fn both(text: &str) -> (Vec<String>, Vec<String>) {
    let evidence = evidence(history("register", text));
    (anomalies(&Replay, &evidence), anomalies(&Search::default(), &evidence))
}

#[track_caller]
fn check(text: &str, replay: &[&str], linearizable: bool) {
    let (replayed, searched) = both(text);
    assert_eq!(replayed, replay);
    assert_eq!(searched.is_empty(), linearizable, "{searched:?}");
}

#[test]
fn bad_histories_are_named() {
    // A stale read, once told by its revision and once not.
    check(
        r#" 1 0..10  put a "v1" -> ok null @2
            1 20..30 put a "v2" -> ok null @3
            2 40..50 get a      -> ok {"value":"v1","mod":2,"version":1} @2 "#,
        &["stale-read"],
        false,
    );
    check(
        r#" 1 0..10  put a "v1" -> ok null @2
            1 20..30 put a "v2" -> ok null @3
            2 25..50 get a      -> ok {"value":"v1","mod":2,"version":1} @3 "#,
        &["stale-read"],
        true,
    );
    // An acknowledged write is gone.
    check(
        r#" 1 0..10  put a "v1" -> ok null @2
            2 40..50 get a      -> ok {"value":null,"mod":0,"version":0} @2 "#,
        &["lost-write"],
        false,
    );
    // Two updates of one value.
    check(
        r#" 1 0..10  put a "v1"                    -> ok null @2
            1 20..40 cas a {"from":"v1","to":"v2"} -> ok true @3
            2 20..40 cas a {"from":"v1","to":"v3"} -> ok true @4 "#,
        &["lost-update"],
        false,
    );
    check(
        r#" 1 0..10  put a "v1"                    -> ok null @2
            1 20..40 cas a {"from":"v1","to":"v2"} -> ok false @2 "#,
        &["refused-update"],
        false,
    );
    check(
        r#" 1 0..10  put a "v1" -> fail unavailable
            2 20..30 get a      -> ok {"value":"v1","mod":2,"version":1} @2 "#,
        &["aborted-read"],
        false,
    );
    check(
        r#" 2 20..30 get a -> ok {"value":"v9","mod":2,"version":1} @2 "#,
        &["phantom-value"],
        false,
    );
    check(
        r#" 2 20..30 get a      -> ok {"value":"v1","mod":2,"version":1} @2
            1 40..50 put a "v1" -> ok null @2 "#,
        &["future-read", "revision-rewind"],
        false,
    );
    // The order of revisions contradicts that of time, over keys.
    check(
        r#" 1 0..10  put a "v1" -> ok null @3
            1 20..30 put b "v2" -> ok null @2 "#,
        &["revision-rewind"],
        true,
    );
    check(
        r#" 1 0..10 put a "v1" -> ok null @2
            2 5..15 put b "v2" -> ok null @2 "#,
        &["duplicate-revision"],
        true,
    );
    check(
        r#" 1 0..10  put a "v1" -> ok null @2
            1 20..30 get a      -> ok {"value":"v1","mod":1,"version":1} @2 "#,
        &["wrong-mod-revision"],
        true,
    );
    check(
        r#" 1 0..10  put a "v1" -> ok null @2
            1 20..30 get a      -> ok {"value":"v1","mod":2,"version":2} @2 "#,
        &["wrong-version"],
        true,
    );
    // Members are asked serializably: old states are allowed, wrong ones and going back are not.
    check(
        r#" 1 0..10    put a "v1"         -> ok null @2
            1 20..30   put a "v2"         -> ok null @3
            2/1 40..50 get-serializable a -> ok {"value":"v2","mod":3,"version":2} @3
            2/1 60..70 get-serializable a -> ok {"value":"v1","mod":2,"version":1} @2 "#,
        &["non-monotonic-read"],
        true,
    );
    check(
        r#" 1 0..10    put a "v1"         -> ok null @2
            2/1 40..50 get-serializable a -> ok {"value":null,"mod":0,"version":0} @2 "#,
        &["lost-write"],
        true,
    );
}

#[test]
fn a_member_that_was_killed_may_go_back() {
    let mut evidence = evidence(history(
        "register",
        r#" 1 0..10    put a "v1"         -> ok null @2
            1 20..30   put a "v2"         -> ok null @3
            2/1 40..50 get-serializable a -> ok {"value":"v2","mod":3,"version":2} @3
            2/1 60..70 get-serializable a -> ok {"value":"v1","mod":2,"version":1} @2 "#,
    ));
    evidence.faults.push(FaultRecord {
        time_ns: 55_000_000,
        id: 1,
        phase: Phase::Once,
        fault: "kill".to_owned(),
        nodes: vec![1],
        detail: Value::Null,
    });
    assert_passes(&Replay, &evidence);
}

#[test]
fn what_never_ended_excuses_what_it_can_explain_only() {
    check(
        r#" 1 0..10  put a "v1" -> ok null @2
            3 12..?  delete a   -> info timeout
            2 40..50 get a      -> ok {"value":null,"mod":0,"version":0} @3
            2 60..70 get a      -> ok {"value":null,"mod":0,"version":0} @4 "#,
        &[],
        true,
    );
    // It was called after the read returned.
    check(
        r#" 1 0..10  put a "v1" -> ok null @2
            2 40..50 get a      -> ok {"value":null,"mod":0,"version":0} @3
            3 52..?  delete a   -> info timeout "#,
        &["lost-write"],
        false,
    );
    // A write that was seen cannot be unseen.
    check(
        r#" 1 0..10  put a "v1" -> ok null @2
            3 12..?  put a "v2" -> info timeout
            2 40..50 get a      -> ok {"value":"v2","mod":3,"version":2} @3
            2 60..70 get a      -> ok {"value":"v1","mod":2,"version":1} @3 "#,
        &["stale-read"],
        false,
    );
}

#[test]
fn an_operation_of_another_form_is_unknown() {
    let evidence = evidence(history("register", "1 0..10 fly a -> ok null @2"));
    for checker in [&Replay as &dyn Checker, &Search::default()] {
        assert_eq!(checker.check(&evidence).verdict, crate::checker::Verdict::Unknown);
    }
}

/// A good history of three keys at a time, with what the store logged.
fn good(seed: u64, ops: usize) -> (Vec<Op>, Store) {
    good_on(Store::new(), seed, ops, u64::MAX)
}

/// After `key_ops` operations others take the place of the keys.
fn good_on(mut store: Store, seed: u64, ops: usize, key_ops: u64) -> (Vec<Op>, Store) {
    let mut written = 0_u64;
    let mut schedule = Schedule::new(WORKLOAD, seed);
    schedule.ops = ops;
    let ops = schedule.run(
        &mut store,
        |rng, _| {
            written += 1;
            let to = format!("v{written}");
            let from = format!("v{}", rng.random_range(written.saturating_sub(8)..=written));
            let (f, value) = match rng.random_range(0..12) {
                0..4 => ("put", json!(to)),
                4..7 => ("get", Value::Null),
                7 => ("get-serializable", Value::Null),
                8 | 9 => ("cas", json!({"from": from, "to": to})),
                10 => ("cas-mod", json!({"mod": rng.random_range(0..40), "to": to})),
                _ => ("delete", Value::Null),
            };
            Request {
                f,
                key: Some(format!(
                    "{}{}",
                    ["a", "b", "c"][rng.random_range(0..3)],
                    written / key_ops
                )),
                value,
            }
        },
        |store, _, request| Some(apply(store, request)),
    );
    (ops, store)
}

fn apply(store: &mut Store, request: &Request) -> (Value, Option<i64>) {
    let key = request.key.as_deref().unwrap();
    let value = &request.value;
    let now = store.keys.get(key).cloned();
    let swap = |store: &mut Store, fits: bool| {
        if fits {
            store.put(key, value["to"].as_str().unwrap(), 0);
        }
        (json!(fits), Some(store.revision))
    };
    let read = |kept: Option<&Kept>, revision| {
        let answer = json!({
            "value": kept.map(|kept| &kept.value),
            "mod": kept.map_or(0, |kept| kept.modified),
            "version": kept.map_or(0, |kept| kept.version),
        });
        (answer, Some(revision))
    };
    match request.f {
        "put" => (Value::Null, Some(store.put(key, value.as_str().unwrap(), 0))),
        "get" => read(now.as_ref(), store.revision),
        "get-serializable" => {
            // All members lag by one revision, so that none goes back.
            let revision = (store.revision - 1).max(1);
            match store.states.get(usize::try_from(revision).unwrap()) {
                Some(state) => read(state.get(key), revision),
                None => read(now.as_ref(), store.revision),
            }
        }
        "cas" => swap(store, now.is_some_and(|kept| kept.value == value["from"])),
        "cas-mod" => swap(store, now.map_or(0, |kept| kept.modified) == value["mod"]),
        "delete" => {
            let deleted = store.delete(&[key.to_owned()]);
            (
                json!({"deleted": deleted, "prev": now.map(|kept| kept.value)}),
                Some(store.revision),
            )
        }
        other => unreachable!("{other}"),
    }
}

/// A way to spoil a history, and whether it found a place to do so.
type Mutation = fn(&mut [Op], &mut StdRng) -> bool;

/// Each with what the replay names and whether the search must find it too.
const MUTATIONS: [(&str, Mutation, bool); 7] = [
    (
        "phantom-value",
        |ops, rng| spoil(ops, rng, "get", |_, op| set(op, "value", json!("never"))),
        true,
    ),
    ("aborted-read", fail_a_seen_write, true),
    ("stale-read", read_an_overwritten_value, false),
    (
        "lost-write",
        |ops, rng| spoil(ops, rng, "get", |ops, op| no_delete(ops, op) && forget(op)),
        false,
    ),
    (
        "wrong-version",
        |ops, rng| spoil(ops, rng, "get", |_, op| set(op, "version", json!(1000))),
        false,
    ),
    ("duplicate-revision", same_revision, false),
    ("lost-update", update_twice, false),
];

fn answer<'a>(op: &'a Op, field: &str) -> &'a Value {
    &op.answer().unwrap()[field]
}

/// Changes a field of a read that saw a value.
fn set(op: &mut Op, field: &str, to: Value) -> bool {
    match &mut op.outcome {
        Outcome::Ok { value, .. } if !value["value"].is_null() => {
            value[field] = to;
            true
        }
        _ => false,
    }
}

fn forget(op: &mut Op) -> bool {
    set(op, "mod", json!(0)) && set(op, "version", json!(0)) && set(op, "value", Value::Null)
}

/// The value that a read saw was acknowledged, and no deletion that never ended could explain an absent key.
fn no_delete(ops: &[Op], op: &Op) -> bool {
    let seen = answer(op, "value");
    let writes = |other: &&Op| other.value == *seen || other.value.get("to") == Some(seen);
    if !ops
        .iter()
        .filter(writes)
        .any(|other| other.key == op.key && other.is_ok())
    {
        return false;
    }
    !ops.iter()
        .any(|other| other.key == op.key && other.f == "delete" && other.is_info())
}

/// Tries the operations of one kind, from a random one on, until one could be spoiled.
fn spoil(ops: &mut [Op], rng: &mut StdRng, f: &str, mut change: impl FnMut(&[Op], &mut Op) -> bool) -> bool {
    let start = rng.random_range(0..ops.len());
    for at in (start..ops.len()).chain(0..start) {
        if ops[at].f == f && ops[at].is_ok() {
            let mut op = ops[at].clone();
            if change(ops, &mut op) {
                ops[at] = op;
                return true;
            }
        }
    }
    false
}

fn fail_a_seen_write(ops: &mut [Op], rng: &mut StdRng) -> bool {
    let seen: Vec<(Option<String>, Value)> = ops
        .iter()
        .filter(|op| op.f == "get" && op.is_ok())
        .map(|op| (op.key.clone(), answer(op, "value").clone()))
        .collect();
    spoil(ops, rng, "put", |_, op| {
        let was = seen.iter().any(|(key, value)| *key == op.key && *value == op.value);
        op.outcome = Outcome::Fail { error: String::new() };
        was
    })
}

/// The value of an acknowledged put that another acknowledged one followed before the read's revision.
fn read_an_overwritten_value(ops: &mut [Op], rng: &mut StdRng) -> bool {
    spoil(ops, rng, "get", |ops, op| {
        let revision = op.revision().unwrap();
        let mut puts: Vec<&Op> = ops
            .iter()
            .filter(|p| p.f == "put" && p.key == op.key && p.is_ok() && p.revision().unwrap() <= revision)
            .collect();
        puts.sort_by_key(|put| put.revision());
        let Some(old) = puts.len().checked_sub(2).map(|at| puts[at]) else {
            return false;
        };
        let mut version = json!(1);
        for other in ops.iter().filter(|o| o.f == "get" && o.is_ok() && o.key == op.key) {
            if answer(other, "value") == &old.value {
                version = answer(other, "version").clone();
            }
        }
        op.outcome = Outcome::Ok {
            value: json!({"value": old.value, "mod": old.revision(), "version": version}),
            revision: Some(revision),
        };
        true
    })
}

fn same_revision(ops: &mut [Op], rng: &mut StdRng) -> bool {
    let revisions: Vec<i64> = ops.iter().filter(|op| op.f == "put").filter_map(Op::revision).collect();
    spoil(ops, rng, "put", |_, op| {
        let Outcome::Ok { revision, .. } = &mut op.outcome else {
            return false;
        };
        let other = revisions.iter().find(|other| Some(**other) != *revision).copied();
        *revision = other;
        other.is_some()
    })
}

/// A refused cas succeeds.
fn update_twice(ops: &mut [Op], rng: &mut StdRng) -> bool {
    spoil(ops, rng, "cas", |ops, op| {
        let from = &op.value["from"];
        let refused = op.answer() == Some(&json!(false));
        let known = ops
            .iter()
            .any(|o| o.key == op.key && o.f == "put" && o.is_ok() && o.value == *from && o.revision() < op.revision());
        // Another acknowledged write since, so that nothing open can explain it.
        let since = ops.iter().any(|o| {
            o.key == op.key
                && o.f == "put"
                && o.is_ok()
                && o.value != *from
                && o.revision() < op.revision()
                && ops
                    .iter()
                    .any(|p| p.f == "put" && p.key == op.key && p.value == *from && p.revision() < o.revision())
        });
        let revision = op.revision().map(|r| r + 1);
        op.outcome = Outcome::Ok {
            value: json!(true),
            revision,
        };
        refused && known && since
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn good_histories_pass(seed: u64, watched: bool) {
        let (ops, store) = good(seed, 80);
        let mut evidence = evidence(ops);
        if watched {
            evidence.watches.insert("spectator-1".to_owned(), spectator(&store, 1));
        }
        assert_passes(&Replay, &evidence);
        assert_passes(&Search::default(), &evidence);
    }

    #[test]
    fn one_mutation_is_found_by_name(seed: u64, which in 0..MUTATIONS.len()) {
        let (mut ops, _) = good(seed, 80);
        let (anomaly, mutate, searched) = MUTATIONS[which];
        let mut rng = StdRng::seed_from_u64(seed);
        prop_assume!(mutate(&mut ops, &mut rng));
        let evidence = evidence(ops);
        assert_finds(&Replay, &evidence, anomaly);
        if searched {
            let name = if anomaly == "phantom-value" { anomaly } else { "non-linearizable" };
            assert_finds(&Search::default(), &evidence, name);
        }
    }
}

#[test]
fn many_operations_are_judged_in_seconds() {
    let mut store = Store::new();
    store.states.clear();
    let evidence = evidence(good_on(store, 1, 60_000, 1_000).0);
    let began = std::time::Instant::now();
    assert_passes(&Replay, &evidence);
    assert_passes(&Search::default(), &evidence);
    assert!(began.elapsed().as_secs() < 20, "took {:?}", began.elapsed());
}
