//! The longest partial linearizations: how far an order can go, and what cannot follow.

use super::html::{E, short};
use serde_json::Value;
use std::fmt::Write as _;

/// Operations of an order that are shown, from its end.
const TAIL_MAX: usize = 16;

/// Draws `detail.partials`, when there are any.
pub(super) fn draw(detail: &Value, out: &mut String) {
    let Some(partials) = detail
        .get("partials")
        .and_then(Value::as_array)
        .filter(|partials| !partials.is_empty())
    else {
        return;
    };
    out.push_str("<h4>Longest partial linearizations</h4>\n");
    for (number, partial) in partials.iter().enumerate() {
        let length = partial.get("length").and_then(Value::as_u64).unwrap_or(0);
        let _ = writeln!(
            out,
            "<details class=\"partial\"{}><summary>{length} operations, the last of them here in their order</summary>\
             <table><tr><th>op<th>what<th>value after it</tr>",
            if number == 0 { " open" } else { "" }
        );
        let tail = partial
            .get("tail")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        for op in &tail[tail.len().saturating_sub(TAIL_MAX)..] {
            let _ = writeln!(
                out,
                "<tr><td>{}<td class=\"mono\">{}<td class=\"mono\">{}</tr>",
                number_of(op),
                text(op, "text"),
                text(op, "state")
            );
        }
        out.push_str("</table><p>None of these can follow:</p><table>\n");
        let stuck = partial.get("stuck").and_then(|stuck| stuck.get("op"));
        for op in partial.get("refused").and_then(Value::as_array).into_iter().flatten() {
            let first = if stuck.is_some() && op.get("op") == stuck {
                " — it returned first"
            } else {
                ""
            };
            let _ = writeln!(
                out,
                "<tr><td>{}<td class=\"mono\">{}{first}</tr>",
                number_of(op),
                text(op, "text")
            );
        }
        out.push_str("</table></details>\n");
    }
}

fn number_of(op: &Value) -> String {
    op.get("op")
        .and_then(Value::as_u64)
        .map_or_else(String::new, |index| index.to_string())
}

fn text(op: &Value, field: &str) -> String {
    E(short(op.get(field).and_then(Value::as_str).unwrap_or_default())).to_string()
}
