#![allow(clippy::unwrap_used)]

use super::check::ReplayChecker;
use super::*;
use crate::checker::golden::{Run, failed_with, passes};
use crate::checker::{Checker, Verdict};
use crate::history::FinalKv;
use serde_json::{Value, json};

fn chain() -> Run {
    let mut run = Run::new();
    run.put("a", "1").put("b", "1").put("a", "2").delete("a").put("a", "3");
    run
}

#[test]
fn a_key_is_what_it_was_at_each_revision() {
    let evidence = chain().spectators(2).evidence();
    let replay = Replay::build(&evidence);
    let a: Vec<_> = (1..=6)
        .map(|r| replay.at("a", r).known().unwrap().map(|v| v.value.unwrap()))
        .collect();
    assert_eq!(a, [None, Some("1"), Some("1"), Some("2"), None, Some("3")]);
    assert_eq!(replay.last(), 6);
    assert_eq!(replay.at("a", 7), Known::Unknown);
    assert_eq!(replay.written("a", "2"), Some(4));
    let all: Vec<_> = replay
        .range("", "\0", 5)
        .known()
        .unwrap()
        .iter()
        .map(|(k, _)| *k)
        .collect();
    assert_eq!(all, ["b"]);
    assert_eq!(replay.events_between(3, 4).count(), 2);
    assert_eq!(replay.events_between(4, 3).count(), 0);
    passes(&ReplayChecker, &evidence);
}

#[test]
fn what_was_compacted_before_any_saw_it_is_unknown() {
    let mut run = chain();
    run.put("b", "2").put("c", "1");
    // One spectator that was away for revisions 3 to 5.
    let evidence = run.spectator_with_gap(1, 3, 5).evidence();
    let replay = Replay::build(&evidence);
    assert_eq!(replay.gaps(), [(3, 5)]);
    assert_eq!(replay.at("a", 2).known().unwrap().unwrap().value, Some("1"));
    assert_eq!(replay.at("a", 4), Known::Unknown);
    assert_eq!(replay.at("a", 6).known().unwrap().unwrap().value, Some("3"));
    // The event of revision 7 tells of the one before it.
    assert_eq!(replay.at("b", 7).known().unwrap().unwrap().value, Some("2"));
    assert_eq!(replay.written("b", "1"), Some(3));
    assert!(!replay.covers(2, 4) && replay.covers(6, 8));
    passes(&ReplayChecker, &evidence);
}

#[test]
fn a_revision_that_nobody_was_sent_is_lost() {
    let mut run = chain();
    run.spectators(3);
    run.drop_events(|e| e.mod_revision == 4);
    failed_with(&ReplayChecker, &run.evidence(), "lost-event");
}

#[test]
fn members_that_disagree_are_told_of() {
    let mut run = chain();
    run.spectators(3);
    run.change_events("spectator-2", |e| {
        if e.mod_revision == 4 {
            e.value = "else".to_owned();
        }
    });
    failed_with(&ReplayChecker, &run.evidence(), "member-disagreement");
}

#[test]
fn numbers_of_a_key_must_go_on() {
    let mut run = chain();
    run.txn(&[("a", Some("4")), ("d", Some("1"))])
        .put("a", "5")
        .spectators(2);
    run.drop_events(|e| e.mod_revision == 7 && e.key == "a");
    failed_with(&ReplayChecker, &run.evidence(), "broken-chain");
}

#[test]
fn acknowledged_writes_stand_at_their_revision() {
    let mut run = chain();
    run.spectators(3);
    run.ok(
        "watch",
        1,
        "put",
        Some("a"),
        json!([["put", "a", "9"]]),
        Value::Null,
        Some(4),
    );
    failed_with(&ReplayChecker, &run.evidence(), "lost-write");
}

#[test]
fn what_spectators_do_not_reach_is_unknown() {
    let mut run = chain();
    run.ok(
        "watch",
        1,
        "put",
        Some("z"),
        json!([["put", "z", "9"]]),
        Value::Null,
        Some(9),
    );
    let judgement = ReplayChecker.check(&run.evidence());
    assert_eq!(judgement.verdict, Verdict::Unknown, "{judgement:#?}");
}

#[test]
fn refused_writes_stand_nowhere() {
    let mut run = chain();
    run.spectators(3);
    run.fail("register", 1, "put", Some("a"), json!("2"));
    failed_with(&ReplayChecker, &run.evidence(), "aborted-write");
}

#[test]
fn members_end_in_what_the_sequence_ends_in() {
    let mut run = chain();
    run.spectators(3);
    let mut evidence = run.finals(3).evidence();
    passes(&ReplayChecker, &evidence);
    evidence.finals[1].kvs[0].value = "old".to_owned();
    failed_with(&ReplayChecker, &evidence, "final-state-differs");
    let mut evidence = run.evidence();
    evidence.finals[2].kvs.push(FinalKv {
        key: "z".to_owned(),
        value: String::new(),
        create_revision: 2,
        mod_revision: 2,
        version: 1,
        lease: 0,
    });
    failed_with(&ReplayChecker, &evidence, "final-state-differs");
}
