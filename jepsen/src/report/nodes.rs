//! Members: role, term and revision over time, from the `status` effects.

use super::axis::{self, LEFT};
use super::html::{E, seconds};
use super::{Page, faults};
use crate::history::{FaultRecord, Phase};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A member that was not heard of for so long has no role.
const SILENT_NS: u64 = 2_500_000_000;
/// Pixels of a strip: roles, and the line of revisions below.
const ROLE: usize = 16;
const STRIP: usize = 44;

/// What a member said of itself.
struct Status<'a> {
    time_ns: u64,
    role: &'a str,
    term: u64,
    revision: u64,
}

impl Status<'_> {
    fn of(record: &FaultRecord) -> Status<'_> {
        let number = |name: &str| record.detail.get(name).and_then(Value::as_u64).unwrap_or(0);
        Status {
            time_ns: record.time_ns,
            role: record.detail.get("role").and_then(Value::as_str).unwrap_or("none"),
            term: number("term"),
            revision: number("revision"),
        }
    }
}

/// A strip a member.
pub(super) fn draw(page: &Page<'_>, out: &mut String) {
    let mut members: BTreeMap<usize, Vec<Status<'_>>> = BTreeMap::new();
    let said = |record: &&FaultRecord| record.phase == Phase::Effect && record.fault == "status";
    for record in page.evidence.faults.iter().filter(said) {
        for &node in &record.nodes {
            members.entry(node).or_default().push(Status::of(record));
        }
    }
    if members.is_empty() {
        return;
    }
    out.push_str(
        "<h3>Members</h3>\n<p class=\"legend small\"><span><i style=\"background:#2f7fd1\"></i>leader</span>\
         <span><i style=\"background:#9db7cf\"></i>follower</span><span><i style=\"background:#b9a86b\"></i>learner</span>\
         <span><i style=\"background:#d98c21\"></i>knows no leader</span><span>numbers: terms; line: revision</span></p>\n",
    );
    let height = members.len() * STRIP;
    axis::begin(out, "members", height);
    faults::behind(page, &page.axis, out, height);
    let highest = members
        .values()
        .flatten()
        .map(|status| status.revision)
        .max()
        .unwrap_or(0)
        .max(1);
    for (row, (node, statuses)) in members.iter().enumerate() {
        let top = row * STRIP;
        let _ = write!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">member {node}</text>",
            LEFT - 6,
            top + 12
        );
        strip(page, out, statuses, top, highest);
    }
    page.axis.draw(out, height);
    out.push_str("</svg>\n");
}

#[allow(clippy::cast_precision_loss)]
fn strip(page: &Page<'_>, out: &mut String, statuses: &[Status<'_>], top: usize, highest: u64) {
    let mut term = 0;
    let mut points = String::new();
    let mut at = 0;
    while at < statuses.len() {
        let first = &statuses[at];
        // One piece as long as nothing changes and the member is heard of.
        let mut last = at;
        while let Some(next) = statuses.get(last + 1) {
            let heard = next.time_ns - statuses[last].time_ns < SILENT_NS;
            if !heard || next.role != first.role || next.term != first.term {
                break;
            }
            last += 1;
        }
        let until_ns = statuses
            .get(last + 1)
            .map_or(u64::MAX, |next| next.time_ns)
            .min(statuses[last].time_ns + SILENT_NS / 2);
        let x = page.axis.x(first.time_ns);
        let width = (page.axis.x(until_ns) - x).max(1.0);
        let class = match first.role {
            role @ ("leader" | "follower" | "learner") => role,
            _ => "none",
        };
        let _ = write!(
            out,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"{width:.1}\" height=\"{ROLE}\"><title>{} in term {} from {}, revision {}</title></rect>",
            top + 1,
            E(first.role),
            first.term,
            seconds(first.time_ns),
            first.revision
        );
        if first.term != term {
            term = first.term;
            let _ = write!(out, "<text x=\"{x}\" y=\"{}\">{term}</text>", top + 13);
        }
        at = last + 1;
    }
    for status in statuses {
        let share = status.revision as f64 / highest as f64;
        let y = (top + STRIP - 4) as f64 - share * (STRIP - ROLE - 8) as f64;
        let _ = write!(points, "{},{y:.1} ", page.axis.x(status.time_ns));
    }
    let _ = write!(out, "<polyline class=\"plot revision\" points=\"{points}\"/>");
}
