//! A cycle of transactions: a circle of operations with the dependencies between them.

use super::html::{E, short};
use serde_json::Value;
use std::f64::consts::TAU;
use std::fmt::Write as _;

/// Operations of a cycle that are drawn.
const OPS_MAX: usize = 24;

/// Draws `detail.cycle`, when there is one: each step is an operation and the dependency of the next one on it.
#[allow(clippy::cast_precision_loss)]
pub(super) fn draw(detail: &Value, out: &mut String) {
    let Some(steps) = detail
        .get("cycle")
        .and_then(Value::as_array)
        .filter(|steps| !steps.is_empty())
    else {
        return;
    };
    let steps = &steps[..steps.len().min(OPS_MAX)];
    let radius = 60.0 + 22.0 * steps.len() as f64;
    let (middle_x, middle_y) = (radius + 120.0, radius + 30.0);
    let _ = write!(
        out,
        "<svg class=\"cycle\" viewBox=\"0 0 {:.0} {:.0}\" width=\"{:.0}\"><defs><marker id=\"arrow\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" \
         markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L10 5L0 10z\" fill=\"currentColor\"/></marker></defs>",
        2.0 * middle_x,
        2.0 * middle_y,
        2.0 * middle_x
    );
    let place = |at: usize| {
        let angle = TAU * at as f64 / steps.len() as f64 - TAU / 4.0;
        (middle_x + radius * angle.cos(), middle_y + radius * angle.sin())
    };
    for (at, step) in steps.iter().enumerate() {
        let (from, to) = (place(at), place((at + 1) % steps.len()));
        // Bent outwards, so that two operations have two arrows, and shortened by the circles at its ends.
        let (mx, my) = (f64::midpoint(from.0, to.0), f64::midpoint(from.1, to.1));
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy).max(1.0);
        let (bx, by) = (mx + dy / length * 26.0, my - dx / length * 26.0);
        let cut = |(x, y): (f64, f64)| {
            let (vx, vy) = (bx - x, by - y);
            let far = vx.hypot(vy).max(1.0);
            (x + vx / far * 24.0, y + vy / far * 24.0)
        };
        let (a, b) = (cut(from), cut(to));
        let text = |name: &str| step.get(name).and_then(Value::as_str).unwrap_or_default();
        let label = format!("{} {}", text("edge"), text("key"));
        let _ = write!(
            out,
            "<path class=\"edge\" d=\"M{:.1} {:.1}Q{bx:.1} {by:.1} {:.1} {:.1}\" marker-end=\"url(#arrow)\"><title>{}</title></path>\
             <text x=\"{bx:.1}\" y=\"{by:.1}\" text-anchor=\"middle\">{}</text>",
            a.0,
            a.1,
            b.0,
            b.1,
            E(short(text("text"))),
            E(short(&label))
        );
    }
    for (at, step) in steps.iter().enumerate() {
        let (x, y) = place(at);
        let op = step.get("op").map_or_else(String::new, Value::to_string);
        let _ = write!(
            out,
            "<circle class=\"named\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"22\" opacity=\".85\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            y + 4.0,
            E(op)
        );
    }
    out.push_str("</svg>\n<ol>");
    for step in steps {
        let text = step.get("text").and_then(Value::as_str).unwrap_or_default();
        let edge = step.get("edge").and_then(Value::as_str).unwrap_or_default();
        let _ = write!(out, "<li><b>{}</b> {}</li>", E(edge), E(short(text)));
    }
    out.push_str("</ol>\n");
}
