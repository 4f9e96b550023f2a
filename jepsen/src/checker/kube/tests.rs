#![allow(clippy::unwrap_used)]

use super::KubeChecker;
use super::simulated::{Kube, WORKLOAD, simulate};
use crate::checker::golden::{failed_with, passes};
use crate::history::Outcome;
use serde_json::{Value, json};

/// Two objects, one of them changed twice: a is at 2, 4 and 5, b at 3.
fn kube() -> Kube {
    let mut kube = Kube::new();
    kube.write("a", "red");
    kube.write("b", "");
    kube.write("a", "blue");
    kube.write("a", "red");
    kube
}

fn anomaly(kube: &Kube, name: &str) {
    failed_with(&KubeChecker, &kube.evidence(), name);
}

/// Changes the answer of the last operation.
fn answer(kube: &mut Kube, change: impl FnOnce(&mut Value)) {
    match &mut kube.run.ops.last_mut().unwrap().outcome {
        Outcome::Ok { value, .. } => change(value),
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn good_runs_pass() {
    let mut kube = kube();
    kube.get("a");
    kube.list("", "", 5, "");
    kube.list("", "", 5, "red");
    kube.list("4", "Exact", 4, "blue");
    kube.list("2", "", 4, "");
    kube.walk(1, 1);
    kube.delete("a");
    kube.get("a");
    kube.write("a", "");
    passes(&KubeChecker, &kube.evidence());
    passes(&KubeChecker, &simulate(1).evidence());
}

#[test]
fn writes_follow_what_they_name() {
    let mut update = kube();
    update.write("a", "").value["rv"] = json!("4");
    anomaly(&update, "precondition-ignored");
    let mut delete = kube();
    delete.delete("a").unwrap().value["rv"] = json!("2");
    anomaly(&delete, "precondition-ignored");
    let mut of_another = kube();
    of_another.delete("a").unwrap().value["uid"] = json!("uid-9-");
    anomaly(&of_another, "precondition-ignored");
    let mut over = kube();
    over.write("a", "").f = "create".to_owned();
    anomaly(&over, "created-over");
}

#[test]
fn what_is_acknowledged_stands_and_what_is_refused_does_not() {
    let mut lost = kube();
    let rv = lost.rv();
    lost.run.ok(
        WORKLOAD,
        1,
        "update",
        Some("a"),
        json!({"v": 99, "color": "", "rv": "4"}),
        json!({}),
        Some(rv),
    );
    anomaly(&lost, "lost-write");
    let mut not_deleted = kube();
    let uid = not_deleted.state(5)["a"].uid.clone();
    not_deleted.run.ok(
        WORKLOAD,
        1,
        "delete",
        Some("a"),
        json!({"rv": "", "uid": ""}),
        json!({"uid": uid}),
        None,
    );
    anomaly(&not_deleted, "lost-delete");
    let mut refused = kube();
    refused.run.ops[2].outcome = Outcome::Fail {
        error: "409 Conflict".to_owned(),
    };
    anomaly(&refused, "aborted-write");
    // It was tried again, and went well or may have.
    let mut again = kube();
    again
        .run
        .fail(WORKLOAD, 1, "create", Some("b"), json!({"v": 2, "color": ""}));
    passes(&KubeChecker, &again.evidence());
}

#[test]
fn reads_of_one_object() {
    let mut stale = kube();
    stale.get("a");
    answer(&mut stale, |seen| {
        (seen["rv"], seen["v"], seen["color"]) = (json!(4), json!(3), json!("blue"));
    });
    anomaly(&stale, "stale-get");
    // Any state of the past is good enough.
    stale.run.ops.last_mut().unwrap().value = json!({"rv": "0"});
    passes(&KubeChecker, &stale.evidence());
    stale.run.ops.last_mut().unwrap().value = json!({"rv": "5"});
    anomaly(&stale, "stale-get");

    let mut absent = kube();
    absent.get("a");
    answer(&mut absent, |seen| *seen = Value::Null);
    anomaly(&absent, "stale-get");

    let mut deleted = kube();
    deleted.get("b");
    let shown = deleted.run.ops.last().unwrap().answer().unwrap().clone();
    deleted.delete("b");
    deleted.get("b");
    answer(&mut deleted, |seen| *seen = shown);
    anomaly(&deleted, "stale-get");

    let mut wrong = kube();
    wrong.get("a");
    answer(&mut wrong, |seen| seen["v"] = json!(2));
    anomaly(&wrong, "wrong-object");
}

#[test]
fn lists_are_of_the_revision_that_they_may_be_of() {
    let mut stale = kube();
    stale.list("", "", 4, "");
    anomaly(&stale, "stale-list");
    let mut older = kube();
    older.list("5", "NotOlderThan", 4, "");
    anomaly(&older, "stale-list");
    let mut any = kube();
    any.list("0", "", 2, "");
    passes(&KubeChecker, &any.evidence());
    let mut other = kube();
    other.list("3", "Exact", 4, "");
    anomaly(&other, "not-exact");
}

#[test]
fn lists_are_the_content() {
    let mut short = kube();
    short.list("", "", 5, "");
    answer(&mut short, |list| drop(list["items"].as_array_mut().unwrap().pop()));
    anomaly(&short, "wrong-list");
    let mut disordered = kube();
    disordered.list("", "", 5, "");
    answer(&mut disordered, |list| list["items"].as_array_mut().unwrap().reverse());
    anomaly(&disordered, "wrong-list");
    let mut unselected = kube();
    unselected.list("", "", 5, "");
    unselected.run.ops.last_mut().unwrap().value["color"] = json!("red");
    anomaly(&unselected, "wrong-list");
}

#[test]
fn pages_stay_on_their_snapshot() {
    let mut left = kube();
    left.walk(1, 1);
    left.write("c", "");
    let page = left
        .run
        .ops
        .iter_mut()
        .find(|op| op.f == "list" && op.value["page"] == 1)
        .unwrap();
    if let Outcome::Ok { value, .. } = &mut page.outcome {
        value["rv"] = json!(4);
    }
    anomaly(&left, "token-left-snapshot");
    let mut again = kube();
    again.walk(1, 1);
    let first = again.run.ops[4].answer().unwrap()["items"].clone();
    answer(&mut again, |page| page["items"] = first);
    anomaly(&again, "wrong-list");
    let mut remaining = kube();
    remaining.walk(1, 1);
    if let Outcome::Ok { value, .. } = &mut remaining.run.ops[4].outcome {
        value["remaining"] = json!(2);
    }
    anomaly(&remaining, "wrong-remaining");
}

#[test]
fn a_full_page_under_a_selector_may_tell_of_more_that_does_not_meet_it() {
    let more = |limit: u64, color: &str, without_b: bool| {
        let mut kube = kube();
        if without_b {
            kube.delete("b");
        }
        let at = kube.rv();
        kube.list("", "", at, color).value["limit"] = json!(limit);
        answer(&mut kube, |page| page["more"] = json!(true));
        kube
    };
    // It has not looked at b.
    passes(&KubeChecker, &more(1, "red", false).evidence());
    anomaly(&more(2, "red", false), "wrong-remaining");
    anomaly(&more(1, "red", true), "wrong-remaining");
    anomaly(&more(2, "", false), "wrong-remaining");
}

#[test]
fn too_old_is_only_what_is_compacted() {
    let ask = json!({"rv": "3", "match": "Exact", "color": "", "limit": 0, "token": "", "walk": 0, "page": 0});
    let refuse = |kube: &mut Kube| {
        let op = kube.run.fail(WORKLOAD, 2, "list", None, ask.clone());
        op.outcome = Outcome::Fail {
            error: "410 Expired: too old".to_owned(),
        };
    };
    let mut compacted = kube();
    compacted
        .run
        .ok(WORKLOAD, 3, "compact", None, json!({"revision": 4}), Value::Null, None);
    refuse(&mut compacted);
    passes(&KubeChecker, &compacted.evidence());
    let mut at_it = kube();
    at_it
        .run
        .ok(WORKLOAD, 3, "compact", None, json!({"revision": 3}), Value::Null, None);
    refuse(&mut at_it);
    anomaly(&at_it, "wrong-410");
}

#[test]
fn a_set_keeps_its_elements() {
    let mut kube = Kube::new();
    kube.run.ok("kube-rv", 1, "add", None, json!(1), Value::Null, None);
    kube.run.ok("kube-rv", 1, "add", None, json!(2), Value::Null, None);
    kube.run.info("kube-rv", 2, "add", None, json!(3));
    kube.run.fail("kube-rv", 1, "add", None, json!(4));
    kube.run
        .ok("kube-rv", 1, "read", None, Value::Null, json!([1, 2, 3]), None);
    passes(&KubeChecker, &kube.evidence());
    for (elements, name) in [
        (json!([2]), "lost-element"),
        (json!([1, 2, 9]), "garbage-element"),
        (json!([1, 2, 4]), "aborted-write"),
    ] {
        answer(&mut kube, |shown| *shown = elements);
        anomaly(&kube, name);
    }
}
