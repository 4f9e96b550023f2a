//! A good run with watchers of all sorts; one change to it must be found by name.

#![allow(clippy::unwrap_used)]

use super::WatchChecker;
use crate::checker::golden::{Dice, Run};
use crate::checker::{Checker, Verdict};
use crate::history::{WatchEvent, WatchKind, WatchStart};
use proptest::prelude::*;

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
const WATCHERS: u64 = 6;

fn simulate(seed: u64) -> Run {
    let mut dice = Dice::new(seed);
    let mut run = Run::new();
    for number in 0..60 {
        let value = number.to_string();
        let first = dice.below(5) as usize;
        let change = |dice: &mut Dice, key: usize| (KEYS[key], (dice.below(4) > 0).then_some(value.as_str()));
        match dice.below(3) {
            0 => run.txn(&[
                change(&mut dice, first),
                change(&mut dice, (first + 1) % 5),
                change(&mut dice, (first + 2) % 5),
            ]),
            _ => run.txn(&[change(&mut dice, first)]),
        };
    }
    run.spectators(3);
    for watcher in 0..WATCHERS {
        watch(&mut run, &format!("w{watcher}"), &mut dice);
    }
    run
}

/// A watcher whose stream breaks now and then, and that resumes.
fn watch(run: &mut Run, client: &str, dice: &mut Dice) {
    let last = run.revision();
    let mut start = WatchStart {
        key: KEYS[dice.below(2) as usize].to_owned(),
        range_end: ["d", "\0"][dice.below(2) as usize].to_owned(),
        prev_kv: dice.below(3) > 0,
        no_put: dice.below(6) == 0,
        no_delete: dice.below(6) == 0,
        ..WatchStart::everything(1 + dice.below(10) as i64)
    };
    for stream in 1.. {
        let from = start.start_revision;
        run.line(client, stream, WatchKind::Start(start.clone())).line(
            client,
            stream,
            WatchKind::Created { revision: last },
        );
        let through = (from + dice.below(40) as i64).min(last);
        let middle = from + dice.below((through - from + 1) as u64) as i64;
        run.deliver(client, stream, &start, from, middle);
        run.line(client, stream, WatchKind::Progress { revision: middle });
        run.deliver(client, stream, &start, middle + 1, through);
        if through == last {
            break;
        }
        run.line(client, stream, WatchKind::Broken { error: String::new() });
        // It knows all events up to here, whether or not the last revision was of its kind.
        start.start_revision = through + 1;
    }
}

const MUTATIONS: [&str; 13] = [
    "lost-event",
    "partial-revision",
    "unordered-event",
    "duplicate-event",
    "split-revision",
    "early-progress",
    "stale-progress",
    "wrong-prev-kv",
    "missing-prev-kv",
    "wrong-event",
    "phantom-event",
    "unfiltered-event",
    "wrong-compacted-cancel",
];

/// Changes one line of one watcher, if there is a place for it.
fn mutate(run: &mut Run, name: &str, dice: &mut Dice) -> bool {
    let client = format!("w{}", dice.below(WATCHERS));
    let lines = &run.watches[&client];
    let events_at = |at: usize| match &lines.get(at)?.what {
        WatchKind::Events { events, .. } => Some(events.clone()),
        _ => None,
    };
    let start_of = |at: usize| {
        lines[..at].iter().rev().find_map(|l| match &l.what {
            WatchKind::Start(start) => Some(start.clone()),
            _ => None,
        })
    };
    let fits = |at: usize| -> bool {
        let next = at + 1;
        let pair = events_at(at).is_some() && events_at(next).is_some();
        match name {
            "lost-event" | "unordered-event" | "stale-progress" => pair,
            "early-progress" => pair && !matches!(lines[at].what, WatchKind::Progress { .. }),
            "partial-revision" | "split-revision" => events_at(at).is_some_and(|e| e.len() > 1),
            "wrong-prev-kv" | "missing-prev-kv" => events_at(at).is_some_and(|e| e[0].prev.is_some()),
            "wrong-event" => events_at(at).is_some_and(|e| !e[0].delete),
            "unfiltered-event" => events_at(at).is_some() && start_of(at).is_some_and(|s| s.range_end == "d"),
            _ => events_at(at).is_some(),
        }
    };
    let places: Vec<usize> = (0..lines.len()).filter(|&at| fits(at)).collect();
    let Some(at) = dice.pick(&places) else { return false };
    let mut line = lines[at].clone();
    let lines = run.watches.get_mut(&client).unwrap();
    let newest = events_of(&mut line.what).last().unwrap().mod_revision;
    match name {
        "lost-event" => drop(lines.remove(at)),
        "unordered-event" => lines.swap(at, at + 1),
        "duplicate-event" => lines.insert(at + 1, line),
        "early-progress" | "stale-progress" => {
            let revision = if name == "early-progress" { newest } else { newest - 1 };
            line.what = WatchKind::Progress { revision };
            lines.insert(if name == "early-progress" { at } else { at + 1 }, line);
        }
        "partial-revision" => drop(events_of(&mut lines[at].what).remove(0)),
        "split-revision" => {
            let rest = events_of(&mut lines[at].what).split_off(1);
            *events_of(&mut line.what) = rest;
            lines.insert(at + 1, line);
        }
        "wrong-prev-kv" => events_of(&mut lines[at].what)[0].prev.as_mut().unwrap().version += 1,
        "missing-prev-kv" => events_of(&mut lines[at].what)[0].prev = None,
        "wrong-event" => events_of(&mut lines[at].what)[0].value.push('!'),
        "phantom-event" | "unfiltered-event" => {
            let key = if name == "phantom-event" { "bb" } else { "e" };
            let extra = WatchEvent {
                key: key.to_owned(),
                ..events_of(&mut line.what)[0].clone()
            };
            events_of(&mut lines[at].what).push(extra);
        }
        "wrong-compacted-cancel" => {
            line.what = WatchKind::Cancelled {
                revision: 0,
                compact_revision: newest + 1,
                reason: String::new(),
            };
            lines.insert(at + 1, line);
        }
        _ => unreachable!("{name}"),
    }
    true
}

fn events_of(what: &mut WatchKind) -> &mut Vec<WatchEvent> {
    match what {
        WatchKind::Events { events, .. } => events,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn every_mutation_finds_a_place() {
    for name in MUTATIONS {
        let places = (0..40)
            .filter(|&seed| mutate(&mut simulate(seed), name, &mut Dice::new(seed)))
            .count();
        assert!(places > 10, "{name}: {places} of 40");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn good_runs_pass_and_mutated_ones_fail_by_name(seed in any::<u64>()) {
        let run = simulate(seed);
        let judgement = WatchChecker.check(&run.evidence());
        prop_assert_eq!(judgement.verdict, Verdict::Pass, "{:#?}", judgement);
        for name in MUTATIONS {
            let mut bad = run.clone();
            if !mutate(&mut bad, name, &mut Dice::new(seed)) {
                continue;
            }
            let judgement = WatchChecker.check(&bad.evidence());
            prop_assert!(judgement.findings.iter().any(|f| f.anomaly == name), "no {}: {:#?}", name, judgement);
        }
    }
}
