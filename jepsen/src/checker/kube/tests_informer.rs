#![allow(clippy::unwrap_used)]

use super::KubeChecker;
use super::simulated::{Content, Kube, PREFIX};
use crate::checker::golden::{failed_with, passes};
use crate::history::{InformerKind, InformerRecord, InformerStart};

/// a: red at 2, blue at 4, gone at 6; b at 3 and 5; and a watcher of it.
fn watched(from: i64, through: i64, color: &str, content: Content) -> Kube {
    let mut kube = Kube::new();
    kube.write("a", "red");
    kube.write("b", "");
    kube.write("a", "blue");
    kube.write("b", "red");
    kube.delete("a");
    kube.watch("kube-watch-0", 1, from, through, color, content);
    kube
}

fn lines(kube: &mut Kube) -> &mut Vec<InformerRecord> {
    kube.informers.get_mut("kube-watch-0").unwrap()
}

fn anomaly(kube: &Kube, name: &str) {
    failed_with(&KubeChecker, &kube.evidence(), name);
}

#[test]
fn good_streams_pass() {
    for content in [Content::None, Content::Marked, Content::Unmarked] {
        for color in ["", "red", "blue"] {
            for from in 1..6 {
                passes(&KubeChecker, &watched(from, 6, color, content).evidence());
            }
        }
    }
}

#[test]
fn selectors_make_transitions() {
    let kube = watched(1, 6, "red", Content::None);
    let kinds: Vec<&str> = kube.informers["kube-watch-0"]
        .iter()
        .filter_map(|l| match l.what {
            InformerKind::Added { .. } => Some("added"),
            InformerKind::Modified { .. } => Some("modified"),
            InformerKind::Deleted { .. } => Some("deleted"),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, ["added", "deleted", "added"]);
    let mut wrong = kube.clone();
    for line in lines(&mut wrong) {
        if let InformerKind::Deleted { object } = line.what.clone() {
            line.what = InformerKind::Modified { object };
        }
    }
    anomaly(&wrong, "wrong-transition");
    let mut unasked = watched(1, 6, "", Content::None);
    for line in lines(&mut unasked) {
        if let InformerKind::Start(InformerStart { color, .. }) = &mut line.what {
            "red".clone_into(color);
        }
    }
    anomaly(&unasked, "phantom-event");
}

#[test]
fn nothing_is_left_out_or_comes_again() {
    let mut lost = watched(1, 6, "", Content::None);
    lines(&mut lost).remove(2);
    anomaly(&lost, "lost-event");
    let mut again = watched(1, 6, "", Content::None);
    let line = lines(&mut again)[2].clone();
    lines(&mut again).insert(3, line);
    anomaly(&again, "duplicate-event");
    let mut swapped = watched(1, 6, "", Content::None);
    lines(&mut swapped).swap(2, 3);
    anomaly(&swapped, "unordered-event");
    let mut before = watched(2, 6, "", Content::None);
    if let InformerKind::Start(start) = &mut lines(&mut before)[0].what {
        start.resource_version = "3".to_owned();
    }
    anomaly(&before, "before-start-event");
}

#[test]
fn bookmarks_promise() {
    let mut early = watched(1, 6, "", Content::None);
    lines(&mut early).insert(
        2,
        InformerRecord {
            time_ns: 0,
            node: 1,
            stream: 1,
            what: InformerKind::Bookmark {
                rv: 2,
                initial_end: false,
            },
        },
    );
    anomaly(&early, "early-bookmark");
    let mut back = watched(1, 6, "", Content::None);
    let end = lines(&mut back).len() - 1;
    lines(&mut back).insert(
        end,
        InformerRecord {
            time_ns: 0,
            node: 1,
            stream: 1,
            what: InformerKind::Bookmark {
                rv: 4,
                initial_end: false,
            },
        },
    );
    anomaly(&back, "stale-bookmark");
}

#[test]
fn initial_events_are_the_content_of_one_revision() {
    // a and b are there at 4; of a the object of revision 2 is shown. Without a mark that is the content of 3, after
    // which the change of 4 is missing.
    for (content, name) in [(Content::Marked, "wrong-initial"), (Content::Unmarked, "lost-event")] {
        let mut old = watched(4, 6, "", content);
        let before = old.transitions(1, 2, "").remove(0);
        lines(&mut old)[2].what = before;
        anomaly(&old, name);
    }
    // b of revision 5 and a of revision 2 never were there together.
    let mut mixed = watched(5, 5, "", Content::Unmarked);
    let before = mixed.transitions(1, 2, "").remove(0);
    lines(&mut mixed).swap(2, 3);
    lines(&mut mixed)[3].what = before;
    anomaly(&mixed, "wrong-initial");
    let mut short = watched(4, 6, "", Content::Marked);
    lines(&mut short).remove(2);
    anomaly(&short, "wrong-initial");
    // A stream that is cut off before the mark has told nothing wrong.
    let mut cut = watched(4, 6, "", Content::Marked);
    lines(&mut cut).truncate(3);
    passes(&KubeChecker, &cut.evidence());
    let mut cut = watched(4, 6, "", Content::Unmarked);
    lines(&mut cut).truncate(3);
    passes(&KubeChecker, &cut.evidence());
}

#[test]
fn content_may_change_before_its_mark() {
    let mut kube = watched(4, 4, "", Content::Marked);
    let more = kube.transitions(4, 6, "");
    let client = "kube-watch-1";
    let start = InformerStart {
        prefix: PREFIX.to_owned(),
        send_initial_events: true,
        ..InformerStart::default()
    };
    kube.line(client, 1, InformerKind::Start(start));
    for line in kube.informers["kube-watch-0"]
        .clone()
        .into_iter()
        .filter(|l| matches!(l.what, InformerKind::Added { .. }))
    {
        kube.line(client, 1, line.what);
    }
    for what in more {
        kube.line(client, 1, what);
    }
    kube.line(
        client,
        1,
        InformerKind::Bookmark {
            rv: 6,
            initial_end: true,
        },
    );
    passes(&KubeChecker, &kube.evidence());
}

#[test]
fn initial_events_are_not_older_than_they_may_be() {
    for content in [Content::Marked, Content::Unmarked] {
        let mut kube = watched(3, 6, "", content);
        for line in lines(&mut kube) {
            if let InformerKind::Start(start) = &mut line.what {
                start.resource_version = String::new();
            }
        }
        anomaly(&kube, "stale-initial");
    }
}

#[test]
fn a_content_that_is_cut_off_is_not_old() {
    // a is blue at 4, b red at 5: of the newest content only one came.
    let mut kube = watched(6, 6, "", Content::Unmarked);
    kube.write("c", "");
    kube.watch("kube-watch-1", 1, 7, 7, "", Content::Unmarked);
    let lines = kube.informers.get_mut("kube-watch-1").unwrap();
    if let InformerKind::Start(start) = &mut lines[0].what {
        start.resource_version = String::new();
    }
    lines.truncate(3);
    passes(&KubeChecker, &kube.evidence());
}

#[test]
fn informers_see_the_end() {
    let mut kube = watched(1, 6, "", Content::None);
    kube.write("last", "");
    anomaly(&kube, "not-converged");
    kube.watch("kube-watch-0", 2, 6, 7, "", Content::None);
    passes(&KubeChecker, &kube.evidence());
}
