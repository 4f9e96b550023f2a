//! Findings: the sentence, the operations, and a drawing of what they show.

use super::html::{E, seconds, short};
use super::{Page, close, cycle, partials};
use crate::checker::shrink::{Budget, shrink};
use crate::checker::{self, Finding, Judgement};
use crate::history::{Op, Outcome};
use serde_json::Value;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

/// Findings of a run that are drawn; those after them are sentences.
const DRAWN_MAX: usize = 24;
/// Operations of a finding in its table.
const OPS_MAX: usize = 40;
/// Findings whose history is made smaller, how long that may take for each, and operations that are worth a look then.
const SHRUNK_MAX: usize = 4;
const SHRINK_TIME: Duration = Duration::from_secs(5);
const SMALLEST_OPS_MAX: usize = 60;
/// Head of a table of operations.
const HEADER: &str = "<table class=\"ops\"><tr><th>op<th>process<th>member<th>f<th>key<th>asked<th>end<th>answer\
                      <th>revision<th>called<th>returned</tr>\n";

pub(super) fn draw(page: &Page<'_>, out: &mut String) {
    out.push_str("<h2 id=\"findings\">Findings</h2>\n");
    let judgements = page.ruling.map_or(&[][..], |ruling| &ruling.judgements);
    let mut all: Vec<(&Judgement, &Finding)> = judgements
        .iter()
        .flat_map(|j| j.findings.iter().map(move |f| (j, f)))
        .collect();
    if all.is_empty() {
        out.push_str("<p>None.</p>\n");
        return;
    }
    // The earliest first; what names no operation last.
    all.sort_by_key(|(_, finding)| first_ns(page, finding));
    let mut shrunk: HashSet<(&str, &str)> = HashSet::new();
    for (number, (judgement, finding)) in all.iter().enumerate() {
        let _ = write!(
            out,
            "<section class=\"finding\" id=\"finding-{}\">{}<h3>{} <small>by {}</small></h3>\n<p>{}</p>\n",
            number + 1,
            if number == 0 { "<a id=\"first-error\"></a>" } else { "" },
            E(&finding.anomaly),
            E(&judgement.checker),
            E(short_of(&finding.message)),
        );
        if number < DRAWN_MAX {
            cycle::draw(&finding.detail, out);
            partials::draw(&finding.detail, out);
            close::draw(page, finding, number, out);
            table(page, finding, out);
            if shrunk.insert((judgement.checker.as_str(), finding.anomaly.as_str())) && shrunk.len() <= SHRUNK_MAX {
                smallest(page, judgement, finding, out);
            }
            rest(&finding.detail, out);
        }
        out.push_str("</section>\n");
    }
}

/// The smallest history in which the checker finds the same, when that is worth a look.
fn smallest(page: &Page<'_>, judgement: &Judgement, finding: &Finding, out: &mut String) {
    let checkers = checker::all();
    let Some(checker) = checkers.iter().find(|checker| checker.name() == judgement.checker) else {
        return;
    };
    let budget = Budget {
        time: SHRINK_TIME,
        ..Budget::default()
    };
    let left = shrink(checker.as_ref(), page.evidence, &finding.anomaly, budget);
    let whole = page.evidence.history.ops.len();
    if left.len() == whole || left.len() > SMALLEST_OPS_MAX {
        return;
    }
    let _ = write!(
        out,
        "<details class=\"smallest\"><summary>{} of {whole} operations suffice for {} to find {}</summary>\n{HEADER}",
        left.len(),
        E(&judgement.checker),
        E(&finding.anomaly)
    );
    for op in &left {
        row(op, out);
    }
    out.push_str("</table></details>\n");
}

/// A message may tell a long cycle.
fn short_of(message: &str) -> String {
    message
        .char_indices()
        .nth(4000)
        .map_or_else(|| message.to_owned(), |(at, _)| format!("{}…", &message[..at]))
}

fn first_ns(page: &Page<'_>, finding: &Finding) -> u64 {
    finding
        .ops
        .iter()
        .filter_map(|index| page.ops.get(index))
        .map(|op| op.call_ns)
        .min()
        .unwrap_or(u64::MAX)
}

/// The failing operations.
fn table(page: &Page<'_>, finding: &Finding, out: &mut String) {
    if finding.ops.is_empty() {
        return;
    }
    out.push_str(HEADER);
    for index in finding.ops.iter().take(OPS_MAX) {
        match page.ops.get(index) {
            Some(op) => row(op, out),
            None => {
                let _ = writeln!(out, "<tr><td>{index}<td colspan=\"10\">not in the history</tr>");
            }
        }
    }
    out.push_str("</table>\n");
}

fn row(op: &Op, out: &mut String) {
    let (end, answer) = match &op.outcome {
        Outcome::Ok { value, .. } => ("ok", value.to_string()),
        Outcome::Fail { error } => ("failed", error.clone()),
        Outcome::Info { error } => ("unknown", error.clone()),
    };
    let _ = writeln!(
        out,
        "<tr><td>{}<td>{}<td>{}<td>{}<td class=\"mono\">{}<td class=\"mono\">{}<td>{end}<td class=\"mono\">{}<td>{}<td>{}<td>{}</tr>",
        op.index,
        op.process,
        op.node,
        E(format!("{} {}", op.workload, op.f)),
        E(op.key.as_deref().unwrap_or_default()),
        E(short(&op.value.to_string())),
        E(short(&answer)),
        op.revision().map_or_else(String::new, |revision| revision.to_string()),
        seconds(op.call_ns),
        op.return_ns.map_or_else(String::new, seconds),
    );
}

/// What is told beside and is not drawn.
fn rest(detail: &Value, out: &mut String) {
    let drawn = ["cycle", "partials"];
    let undrawn = match detail {
        Value::Null => false,
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| !drawn.contains(&name.as_str()) && !value.is_null()),
        _ => true,
    };
    if undrawn && let Ok(text) = serde_json::to_string_pretty(detail) {
        let _ = writeln!(
            out,
            "<details><summary>detail</summary><pre>{}</pre></details>",
            E(text)
        );
    }
}
