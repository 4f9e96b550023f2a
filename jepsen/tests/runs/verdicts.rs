//! What was recorded can be judged again, with the same verdict; what is changed in it is found.
#![allow(clippy::unwrap_used)]

use crate::program::{Runner, said};
use serde_json::{Value, json};
use std::path::Path;

fn verdict(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("verdict.json")).unwrap()).unwrap()
}

#[test]
fn a_run_is_judged_again_and_a_change_in_it_is_found() {
    let runner = Runner::new();
    runner.passes("--time 4s --workload register --faults none --seed 1");
    let first = verdict(&runner.folder());
    assert_eq!(first["verdict"], "pass");
    let out = runner.check();
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    assert_eq!(verdict(&runner.folder()), first);

    // A read that saw what nobody wrote.
    let history = runner.folder().join("history.jsonl");
    let text = std::fs::read_to_string(&history).unwrap();
    let mut changed = false;
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            let mut record: Value = serde_json::from_str(line).unwrap();
            if !changed && record["kind"] == "ok" && record["f"] == "get" && record["value"]["value"].is_string() {
                record["value"]["value"] = json!("nobody wrote this");
                changed = true;
            }
            record.to_string() + "\n"
        })
        .collect();
    assert!(changed);
    std::fs::write(&history, lines.concat()).unwrap();
    let out = runner.check();
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    assert_eq!(verdict(&runner.folder())["verdict"], "fail");

    // Nothing was recorded: nothing can be said.
    std::fs::write(&history, "").unwrap();
    let out = runner.check();
    assert_eq!(out.status.code(), Some(2), "{}", said(&out));
    assert_eq!(verdict(&runner.folder())["verdict"], "unknown");

    // What is no history is an error.
    std::fs::write(&history, "{}\n").unwrap();
    let out = runner.check();
    assert_eq!(out.status.code(), Some(3), "{}", said(&out));
    assert!(said(&out).contains("history.jsonl:1"), "{}", said(&out));
}

#[test]
fn wrong_uses_are_refused() {
    let runner = Runner::new();
    for (arguments, word) in [
        ("", "Usage"),
        ("fly", "fly"),
        ("run --workload registers --binary /bin/true", "registers"),
        ("run --faults kil --workload register --binary /bin/true", "kil"),
        ("run --time 0s", "0s"),
        ("run --time soon", "soon"),
        ("run --nodes 0", "nodes"),
        ("run --rate nan", "rate"),
        ("run --binary /nowhere/keelson", "/nowhere/keelson"),
        ("run --binary /bin/false --workload register --faults none", "false"),
        ("check nowhere", "nowhere"),
        ("soak --workload x --binary /bin/true", "x"),
        ("gate --bug none-of-them", "none-of-them"),
    ] {
        let out = crate::program::finish(runner.command(arguments).spawn().unwrap());
        assert_eq!(out.status.code(), Some(3), "{arguments}: {}", said(&out));
        assert!(said(&out).contains(word), "{arguments}: {}", said(&out));
        assert!(!said(&out).contains("panicked"), "{arguments}: {}", said(&out));
    }
    let out = runner.command("list").output().unwrap();
    assert_eq!(out.status.code(), Some(0));
    for word in ["register", "kube-rv", "power-loss"] {
        assert!(said(&out).contains(word), "{}", said(&out));
    }
}
