//! A finding seen closely: its operations and those around them on the same keys, one by one.

use super::axis::{self, LEFT};
use super::html::{E, short};
use super::{Axis, Page, faults, lanes};
use crate::checker::Finding;
use crate::history::{Op, Outcome};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Operations that are drawn.
const OPS_MAX: usize = 160;
/// Pixels of a process.
const ROW: usize = 18;

pub(super) fn draw(page: &Page<'_>, finding: &Finding, number: usize, out: &mut String) {
    let named: Vec<&Op> = finding
        .ops
        .iter()
        .filter_map(|index| page.ops.get(index).copied())
        .collect();
    let (Some(first), Some(last)) = (
        named.iter().map(|op| op.call_ns).min(),
        named.iter().map(|op| op.return_ns.unwrap_or(op.call_ns)).max(),
    ) else {
        return;
    };
    let around = (last - first) / 12 + 2_000_000;
    let axis = Axis {
        begin_ns: first.saturating_sub(around),
        end_ns: last.saturating_add(around),
    };
    let shown = shown(page, &named, &axis);
    let mut rows: BTreeMap<u64, usize> = BTreeMap::new();
    for op in &shown {
        let next = rows.len();
        rows.entry(op.process).or_insert(next);
    }
    let height = rows.len() * ROW;
    axis::begin(out, &format!("close-{}", number + 1), height);
    faults::behind(page, &axis, out, height);
    for (process, row) in &rows {
        let _ = write!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">process {process}</text>",
            LEFT - 6,
            row * ROW + 13
        );
    }
    for op in &shown {
        let top = rows.get(&op.process).copied().unwrap_or(0) * ROW;
        let x = axis.x(op.call_ns);
        let width = (axis.x(op.return_ns.unwrap_or(axis.end_ns)) - x).max(2.0);
        let text = text(op);
        let _ = write!(
            out,
            "<g><title>{}</title><rect class=\"{}\" x=\"{x}\" y=\"{}\" width=\"{width:.1}\" height=\"{}\" rx=\"2\" opacity=\".75\"/>",
            E(&text),
            lanes::class(page, op),
            top + 2,
            ROW - 4
        );
        // Six pixels a letter.
        if width > 40.0 {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let letters = (width / 6.6) as usize;
            let label: String = text.chars().take(letters).collect();
            let _ = write!(out, "<text x=\"{:.1}\" y=\"{}\">{}</text>", x + 2.0, top + 13, E(label));
        }
        out.push_str("</g>");
    }
    axis.draw(out, height);
    out.push_str("</svg>\n");
}

/// The operations that a finding names, and the others on their keys in the same time.
fn shown<'a>(page: &Page<'a>, named: &[&'a Op], axis: &Axis) -> Vec<&'a Op> {
    let keys: BTreeSet<String> = named.iter().flat_map(|op| keys(op)).collect();
    let mut shown: BTreeMap<u64, &Op> = named.iter().take(OPS_MAX).map(|op| (op.index, *op)).collect();
    for op in &page.evidence.history.ops {
        if shown.len() >= OPS_MAX || op.call_ns > axis.end_ns {
            break;
        }
        let overlaps = op.return_ns.unwrap_or(op.call_ns) >= axis.begin_ns;
        let same_workload = named.iter().any(|named| named.workload == op.workload);
        if overlaps && same_workload && self::keys(op).iter().any(|key| keys.contains(key)) {
            shown.insert(op.index, op);
        }
    }
    shown.into_values().collect()
}

/// The keys that an operation is about: its own, and those of a transaction's steps.
fn keys(op: &Op) -> Vec<String> {
    let steps = op
        .value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|step| step.get(1).and_then(Value::as_str));
    op.key.as_deref().into_iter().chain(steps).map(str::to_owned).collect()
}

fn text(op: &Op) -> String {
    let asked = if op.value.is_null() {
        String::new()
    } else {
        format!(" {}", op.value)
    };
    let end = match &op.outcome {
        Outcome::Ok { value: Value::Null, .. } => String::new(),
        Outcome::Ok { value, .. } => format!(" → {value}"),
        Outcome::Fail { error } => format!(" failed: {error}"),
        Outcome::Info { error } => format!(" ?: {error}"),
    };
    let at = op
        .revision()
        .map_or_else(String::new, |revision| format!(" @{revision}"));
    short(&format!(
        "{}: {}{asked}{end}{at} {}",
        op.index,
        op.f,
        op.key.as_deref().unwrap_or_default()
    ))
}
