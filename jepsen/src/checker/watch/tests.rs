use super::WatchChecker;
use crate::checker::golden::{Run, failed_with, passes};
use crate::checker::{Checker, Verdict};
use crate::history::{WatchKind, WatchStart};
use serde_json::{Value, json};

/// Keys a and b at revisions 2 to 8, a transaction of both at 5, and a spectator of it all.
fn run() -> Run {
    let mut run = Run::new();
    run.put("a", "1").put("b", "1").put("a", "2");
    run.txn(&[("a", Some("3")), ("b", Some("3"))]);
    run.put("a", "4").delete("a").put("a", "5");
    run.spectators(1);
    run
}

fn of_a(start_revision: i64) -> WatchStart {
    WatchStart {
        key: "a".to_owned(),
        range_end: String::new(),
        ..WatchStart::everything(start_revision)
    }
}

fn begin(run: &mut Run, start: &WatchStart) {
    run.line("w", 1, WatchKind::Start(start.clone()))
        .line("w", 1, WatchKind::Created { revision: 8 });
}

fn compacted(compact_revision: i64) -> WatchKind {
    WatchKind::Cancelled {
        revision: 0,
        compact_revision,
        reason: String::new(),
    }
}

#[test]
fn good_watches_pass() {
    let mut run = run();
    begin(&mut run, &of_a(3));
    run.deliver("w", 1, &of_a(3), 3, 5)
        .line("w", 1, WatchKind::Progress { revision: 5 });
    run.line("w", 1, WatchKind::Broken { error: String::new() });
    // It resumes, without puts now.
    let deletions = WatchStart {
        no_put: true,
        prev_kv: false,
        ..of_a(6)
    };
    run.line("w", 2, WatchKind::Start(deletions.clone()))
        .line("w", 2, WatchKind::Created { revision: 8 });
    run.deliver("w", 2, &deletions, 6, 8)
        .line("w", 2, WatchKind::Progress { revision: 8 });
    passes(&WatchChecker, &run.finals(3).evidence());
}

#[test]
fn a_revision_may_come_in_fragments() {
    let mut run = run();
    begin(&mut run, &WatchStart::everything(5));
    let events: Vec<_> = run.events.iter().filter(|e| e.mod_revision == 5).cloned().collect();
    for (fragment, event) in [(true, &events[0]), (false, &events[1])] {
        let events = vec![event.clone()];
        run.line(
            "w",
            1,
            WatchKind::Events {
                revision: 8,
                fragment,
                events,
            },
        );
    }
    passes(&WatchChecker, &run.evidence());
    // Without the flag they are apart.
    for line in run.watches.get_mut("w").into_iter().flatten() {
        if let WatchKind::Events { fragment, .. } = &mut line.what {
            *fragment = false;
        }
    }
    failed_with(&WatchChecker, &run.evidence(), "split-revision");
}

#[test]
fn a_stream_that_breaks_amid_a_fragment_has_not_lost_the_rest() {
    let mut run = run();
    begin(&mut run, &WatchStart::everything(4));
    run.deliver("w", 1, &WatchStart::everything(4), 4, 4);
    let events: Vec<_> = run
        .events
        .iter()
        .filter(|e| e.mod_revision == 5)
        .take(1)
        .cloned()
        .collect();
    run.line(
        "w",
        1,
        WatchKind::Events {
            revision: 8,
            fragment: true,
            events,
        },
    );
    run.line("w", 1, WatchKind::Broken { error: String::new() });
    passes(&WatchChecker, &run.evidence());
}

#[test]
fn progress_promises_what_was_sent() {
    let mut early = run();
    begin(&mut early, &of_a(2));
    early
        .deliver("w", 1, &of_a(2), 2, 2)
        .line("w", 1, WatchKind::Progress { revision: 4 });
    let mut late = early.clone();
    failed_with(&WatchChecker, &early.evidence(), "early-progress");
    late.deliver("w", 1, &of_a(2), 4, 8);
    failed_with(&WatchChecker, &late.evidence(), "early-progress");
    let mut stale = run();
    begin(&mut stale, &of_a(2));
    stale
        .deliver("w", 1, &of_a(2), 2, 8)
        .line("w", 1, WatchKind::Progress { revision: 7 });
    failed_with(&WatchChecker, &stale.evidence(), "stale-progress");
}

#[test]
fn a_watch_from_now_on_begins_after_its_creation() {
    let now = WatchStart {
        start_revision: 0,
        ..of_a(0)
    };
    let mut good = run();
    good.line("w", 1, WatchKind::Start(now.clone()))
        .line("w", 1, WatchKind::Created { revision: 5 });
    good.deliver("w", 1, &now, 6, 8);
    passes(&WatchChecker, &good.evidence());
    let mut old = run();
    old.line("w", 1, WatchKind::Start(now.clone()))
        .line("w", 1, WatchKind::Created { revision: 5 });
    old.deliver("w", 1, &now, 5, 8);
    failed_with(&WatchChecker, &old.evidence(), "before-start-event");
}

#[test]
fn what_comes_again_after_a_break_is_told_of() {
    let mut run = run();
    begin(&mut run, &of_a(2));
    run.deliver("w", 1, &of_a(2), 2, 4)
        .line("w", 1, WatchKind::Broken { error: String::new() });
    run.line("w", 2, WatchKind::Start(of_a(5)))
        .line("w", 2, WatchKind::Created { revision: 8 });
    run.deliver("w", 2, &of_a(5), 4, 8);
    failed_with(&WatchChecker, &run.evidence(), "duplicate-event");
}

#[test]
fn compaction_ends_only_what_needs_what_is_gone() {
    let mut good = run();
    good.ok("watch", 1, "compact", None, json!(5), Value::Null, None);
    begin(&mut good, &of_a(4));
    good.line("w", 1, compacted(5));
    passes(&WatchChecker, &good.evidence());

    let mut at_start = run();
    at_start.ok("watch", 1, "compact", None, json!(5), Value::Null, None);
    begin(&mut at_start, &of_a(5));
    at_start.line("w", 1, compacted(5));
    failed_with(&WatchChecker, &at_start.evidence(), "wrong-compacted-cancel");

    let mut never_asked = run();
    begin(&mut never_asked, &of_a(4));
    never_asked.line("w", 1, compacted(5));
    failed_with(&WatchChecker, &never_asked.evidence(), "wrong-compacted-cancel");

    // It was not ended, but what was compacted is left out without a word.
    let mut silent = run();
    silent.ok("watch", 1, "compact", None, json!(5), Value::Null, None);
    begin(&mut silent, &of_a(2));
    silent.deliver("w", 1, &of_a(2), 5, 8);
    failed_with(&WatchChecker, &silent.evidence(), "lost-event");
}

#[test]
fn what_stood_before_is_shown_unless_it_is_compacted() {
    let mut run = run();
    begin(&mut run, &of_a(4));
    run.deliver("w", 1, &of_a(4), 4, 8);
    run.change_events("w", |e| e.prev = None);
    failed_with(&WatchChecker, &run.evidence(), "missing-prev-kv");
    run.ok("watch", 1, "compact", None, json!(8), Value::Null, None).call_ns = 0;
    passes(&WatchChecker, &run.evidence());
}

#[test]
fn spectators_reach_the_end() {
    let mut run = run();
    run.put("a", "6");
    let mut evidence = run.finals(1).evidence();
    assert_eq!(WatchChecker.check(&evidence).verdict, Verdict::Unknown);
    evidence.faults.push(crate::history::FaultRecord {
        time_ns: 0,
        id: 0,
        phase: crate::history::Phase::Effect,
        fault: "spectators-late".to_owned(),
        nodes: Vec::new(),
        detail: Value::Null,
    });
    failed_with(&WatchChecker, &evidence, "not-converged");
}
