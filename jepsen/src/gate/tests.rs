//! The table is whole, and outcomes come to the right verdict.

#![allow(clippy::unwrap_used)]

use super::attempt::Seen;
use super::{Clean, Hunt, Outcome, chosen, rows};
use crate::checker::Verdict;
use keelson_bugs::Bug;
use std::time::Duration;

fn seen(verdict: Option<Verdict>, findings: &[(&str, &str)]) -> Seen {
    Seen {
        verdict,
        findings: findings
            .iter()
            .map(|(c, a)| ((*c).to_owned(), (*a).to_owned()))
            .collect(),
        folder: None,
        said: String::new(),
    }
}

#[test]
fn every_bug_has_a_row_that_can_be_run() {
    let bugs: Vec<Bug> = rows().iter().map(|row| row.bug).collect();
    assert_eq!(bugs, Bug::ALL);
    for row in rows() {
        assert!(!row.workloads.is_empty() && !row.expect.is_empty(), "{:?}", row.bug);
        assert!(row.expect.iter().all(|(_, names)| !names.is_empty()), "{:?}", row.bug);
        assert!(
            row.time <= row.budget && row.budget <= Duration::from_secs(120),
            "{:?}",
            row.bug
        );
    }
}

#[test]
fn a_failure_for_another_reason_is_no_catch() {
    let row = chosen(&["lease-on-wall-clock".to_owned()]).unwrap().remove(0);
    let (checker, names) = row.expect[0];
    assert_eq!(
        seen(Some(Verdict::Fail), &[("cluster", "no-recovery")]).expected(&row),
        None
    );
    assert_eq!(seen(Some(Verdict::Fail), &[("cluster", names[0])]).expected(&row), None);
    let caught = seen(Some(Verdict::Fail), &[("cluster", "no-recovery"), (checker, names[0])]);
    assert_eq!(caught.expected(&row), Some(format!("{checker}: {}", names[0])));
    assert!(chosen(&["none-such".to_owned()]).is_err());
}

#[test]
fn a_missed_bug_and_a_clean_build_that_is_not_green_close_the_gate() {
    let row = rows().remove(0);
    let mut hunt = Hunt::new(&row);
    hunt.note(&seen(Some(Verdict::Fail), &[("x", "y")]), 1);
    let missed = Outcome {
        hunts: vec![hunt.clone()],
        clean: Vec::new(),
    };
    assert_eq!(missed.verdict(), Verdict::Fail);
    hunt.note(&seen(Some(Verdict::Fail), &[("register", "lost-write")]), 2);
    hunt.caught("register: lost-write".to_owned(), 2, Duration::from_secs(31));
    assert_eq!((hunt.runs, hunt.others.len()), (2, 1));
    let mut clean = Clean::new(&row);
    clean.note(&seen(Some(Verdict::Pass), &[]), 1);
    let mut outcome = Outcome {
        hunts: vec![hunt],
        clean: vec![clean],
    };
    assert_eq!(outcome.verdict(), Verdict::Pass);
    // A run that did not come about is not green either.
    outcome.clean[0].note(&seen(None, &[]), 2);
    assert_eq!(outcome.verdict(), Verdict::Unknown);
    outcome.clean[0].note(&seen(Some(Verdict::Fail), &[("x", "y")]), 3);
    assert_eq!(outcome.verdict(), Verdict::Fail);
    assert_eq!((outcome.clean[0].runs, outcome.clean[0].others.len()), (3, 2));
}

#[test]
fn seeds_go_on_after_those_that_are_named() {
    let row = super::Row {
        seeds: &[7, 3],
        ..rows().remove(0)
    };
    let of = |first| (0..4).map(|n| row.seed(first, n)).collect::<Vec<_>>();
    assert_eq!(of(None), [7, 3, 4, 5]);
    assert_eq!(of(Some(90)), [90, 91, 92, 93]);
}
