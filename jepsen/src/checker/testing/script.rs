//! A history as text, an operation a line:
//!
//! `<process> <call>..<return> <f> <key> <arguments> -> ok <answer> @<revision>`
//!
//! Times are milliseconds. The key is `-` for none. Arguments and answers are JSON, null when left out, and so is the
//! revision. Other ends are `fail <error>` and `info`; an `info` has `?` for its return. A process may be `7/2`: seven,
//! at member two. Lines may be empty, or a comment behind `#`.

use crate::history::{Op, Outcome};
use serde_json::Value;

/// The operations of `text`, in the order of their calls.
pub(crate) fn history(workload: &str, text: &str) -> Vec<Op> {
    let mut ops: Vec<Op> = lines(text).map(|line| operation(workload, line)).collect();
    ops.sort_by_key(|op| op.call_ns);
    for (at, op) in ops.iter_mut().enumerate() {
        op.index = at as u64;
    }
    ops
}

/// The lines that say something.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn operation(workload: &str, line: &str) -> Op {
    let (asked, ended) = line.split_once(" -> ").unwrap_or_else(|| panic!("no end in {line:?}"));
    let mut rest = asked;
    let mut word = || {
        let (word, after) = rest
            .trim_start()
            .split_once(char::is_whitespace)
            .unwrap_or((rest.trim_start(), ""));
        assert!(!word.is_empty(), "too short: {line:?}");
        rest = after;
        word
    };
    let (who, when, f, key) = (word(), word(), word(), word());
    let (process, node) = who.split_once('/').unwrap_or((who, "0"));
    let (call, end) = when
        .split_once("..")
        .unwrap_or_else(|| panic!("no interval in {line:?}"));
    let outcome = outcome(ended.trim());
    Op {
        index: 0,
        process: process.parse().unwrap_or_else(|e| panic!("{line:?}: {e}")),
        node: node.parse().unwrap_or_else(|e| panic!("{line:?}: {e}")),
        workload: workload.to_owned(),
        f: f.to_owned(),
        key: (key != "-").then(|| key.to_owned()),
        value: json(rest),
        call_ns: ms(call),
        return_ns: (end != "?").then(|| ms(end)),
        outcome,
    }
}

fn outcome(text: &str) -> Outcome {
    if let Some(error) = text.strip_prefix("fail") {
        return Outcome::Fail {
            error: error.trim().to_owned(),
        };
    }
    if let Some(error) = text.strip_prefix("info") {
        return Outcome::Info {
            error: error.trim().to_owned(),
        };
    }
    let rest = text
        .strip_prefix("ok")
        .unwrap_or_else(|| panic!("no outcome in {text:?}"));
    let (value, revision) = match rest.rsplit_once('@') {
        Some((value, revision)) => (
            value,
            Some(revision.parse().unwrap_or_else(|e| panic!("{text:?}: {e}"))),
        ),
        None => (rest, None),
    };
    Outcome::Ok {
        value: json(value),
        revision,
    }
}

fn json(text: &str) -> Value {
    match text.trim() {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|e| panic!("{text:?}: {e}")),
    }
}

fn ms(text: &str) -> u64 {
    1_000_000 * text.parse::<u64>().unwrap_or_else(|e| panic!("{text:?}: {e}"))
}
