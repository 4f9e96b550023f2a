#![allow(clippy::unwrap_used)]

use super::*;
use crate::checker::register::{Replay, Search};
use crate::checker::testing::{evidence, history};
use crate::checker::{Checker, Judgement};
use crate::history::{FaultRecord, Phase};
use serde_json::{Value, json};

/// A run with a stale read, faults, and members that say who leads.
fn failing() -> Evidence {
    let mut evidence = evidence(history(
        "register",
        r#" 1/1 0..10    put <a> "v1" -> ok null @2
            1/1 20..30   put <a> "v2" -> ok null @3
            2/2 40..50   get <a>      -> ok {"value":"v1","mod":2,"version":1} @2
            3/3 45..?    put <a> "v3" -> info timeout
            4/3 60..2000 put <a> "v4" -> fail unavailable "#,
    ));
    let fault = |time_ms: u64, id, phase, fault: &str, node, detail| FaultRecord {
        time_ns: time_ms * 1_000_000,
        id,
        phase,
        fault: fault.to_owned(),
        nodes: vec![node],
        detail,
    };
    let status = |role: &str, term: u64| json!({"role": role, "term": term, "revision": 3});
    evidence.faults = vec![
        fault(5, 0, Phase::Effect, "status", 1, status("leader", 2)),
        fault(5, 0, Phase::Effect, "status", 2, status("follower", 2)),
        fault(
            35,
            1,
            Phase::Begin,
            "partition",
            2,
            json!({"halves": "<script>alert(1)</script>"}),
        ),
        fault(70, 1, Phase::End, "partition", 2, Value::Null),
        fault(80, 2, Phase::Once, "kill", 1, Value::Null),
        fault(
            90,
            0,
            Phase::Effect,
            "leader-change",
            2,
            json!({"from": 1, "to": 2, "term": 3}),
        ),
        fault(1005, 0, Phase::Effect, "status", 2, status("leader", 3)),
    ];
    evidence
}

fn ruling(evidence: &Evidence) -> Ruling {
    let mut elle = Judgement::new("elle-append");
    let cycle = json!({"cycle": [
        {"op": 0, "edge": "ww", "key": "k", "text": "0 wrote 1 to \"k\", after which 1 wrote 2"},
        {"op": 1, "edge": "rw", "key": "k", "text": "1 read \"k\""},
    ]});
    elle.fail(
        "G-single",
        "two transactions <b>depend</b> on each other".to_owned(),
        vec![0, 1],
        cycle,
    );
    let mut slow = Judgement::new("slow");
    slow.unknown("it took too long".to_owned());
    Ruling {
        verdict: Verdict::Fail,
        judgements: vec![Replay.check(evidence), Search::default().check(evidence), elle, slow],
    }
}

#[test]
fn a_failing_run_has_all_parts() {
    let evidence = failing();
    let page = render(&evidence, Some(&ruling(&evidence)));
    for part in [
        "class=\"verdict fail\"",
        "jump to the first error",
        "id=\"first-error\"",
        "id=\"finding-1\"",
        "stale-read",
        "non-linearizable",
        "Longest partial linearizations",
        "None of these can follow",
        "class=\"cycle\"",
        "marker-end",
        "id=\"close-1\"",
        "id=\"fault-bands\"",
        "partition",
        "id=\"members\"",
        "leader in term 3",
        "id=\"lanes\"",
        "id=\"latency\"",
        "id=\"rate\"",
        "class=\"ops\"",
        "3 of 5 operations suffice",
        "it took too long",
        "seed <b>0</b>",
    ] {
        assert!(page.contains(part), "no {part}");
    }
    // Verdict and findings come before the drawings of the whole run.
    let at = |part: &str| page.find(part).unwrap();
    assert!(at("id=\"verdict\"") < at("id=\"findings\"") && at("id=\"findings\"") < at("id=\"timeline\""));
}

#[test]
fn everything_is_escaped_and_nothing_is_loaded() {
    let evidence = failing();
    let page = render(&evidence, Some(&ruling(&evidence)));
    for foreign in [
        "<script",
        "http:",
        "https:",
        "src=",
        "@import",
        "url(h",
        "<b>depend",
        "<a> \"",
        ">NaN",
        "inf\"",
    ] {
        assert!(!page.contains(foreign), "{foreign} in the page");
    }
    assert!(page.contains("&lt;script&gt;"));
    assert!(page.contains("&lt;b&gt;depend"));
    assert_eq!(E("a\u{1}<\"'&é").to_string(), "a\u{fffd}&lt;&quot;&#39;&amp;é");
    assert_balanced(&page);
}

/// Tags that are opened are closed, in the drawings at least.
fn assert_balanced(page: &str) {
    for tag in ["svg", "g", "section", "details", "table", "main", "title", "text"] {
        let open = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(open, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn an_empty_run_that_was_not_judged_has_a_page() {
    let page = render(&evidence(Vec::new()), None);
    assert!(page.contains("not judged") && page.contains("None."));
    assert_balanced(&page);
}

#[test]
fn a_long_run_makes_a_small_page() {
    let mut ops = Vec::new();
    let one = history("register", r#"1 0..1 put a "v1" -> ok null @2"#).remove(0);
    for at in 0..100_000_u64 {
        let mut op = one.clone();
        op.index = at;
        op.process = at % 50;
        op.call_ns = at * 1_000_000;
        op.return_ns = Some(op.call_ns + 1_000_000 + (at % 97) * 500_000);
        ops.push(op);
    }
    let began = std::time::Instant::now();
    let page = render(&evidence(ops), None);
    assert!(page.len() < 8_000_000, "{} bytes", page.len());
    assert!(began.elapsed().as_secs() < 10, "took {:?}", began.elapsed());
}

#[test]
fn the_page_stands_in_the_folder_of_its_run() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::create(dir.path()).unwrap();
    let evidence = failing();
    folder.write_json("meta.json", &evidence.meta).unwrap();
    folder.write_json("verdict.json", &ruling(&evidence)).unwrap();
    folder.write_lines("faults.jsonl", &evidence.faults).unwrap();
    let path = write(&folder).unwrap();
    assert!(std::fs::read_to_string(path).unwrap().contains("not in the history"));
}
