//! Faults: bands behind every drawing, and a table.

use super::axis::{self, LEFT};
use super::html::{E, seconds, short};
use super::{Axis, Page};
use crate::history::{FaultRecord, Phase};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt::Write as _;

/// Effects that are told by the strips of members, many a second.
const STATUS: &str = "status";
/// Lines of the table.
const ROWS_MAX: usize = 2000;

/// A fault in time. What happens at once begins and ends at one time.
pub(super) struct Band {
    pub begin_ns: u64,
    pub end_ns: u64,
    pub fault: String,
    pub nodes: Vec<usize>,
    pub effect: bool,
    detail: Value,
}

/// All faults and effects, in the order of their beginnings.
pub(super) fn bands(records: &[FaultRecord], end_ns: u64) -> Vec<Band> {
    let mut bands: Vec<Band> = Vec::new();
    let mut open: HashMap<(u64, &str), usize> = HashMap::new();
    for record in records
        .iter()
        .filter(|record| record.phase != Phase::Effect || record.fault != STATUS)
    {
        let key = (record.id, record.fault.as_str());
        if record.phase == Phase::End
            && let Some(at) = open.remove(&key)
        {
            bands[at].end_ns = record.time_ns;
            continue;
        }
        let lasts = record.phase == Phase::Begin;
        if lasts {
            open.insert(key, bands.len());
        }
        bands.push(Band {
            begin_ns: record.time_ns,
            end_ns: if lasts { end_ns } else { record.time_ns },
            fault: record.fault.clone(),
            nodes: record.nodes.clone(),
            effect: record.phase == Phase::Effect,
            detail: record.detail.clone(),
        });
    }
    bands
}

/// The colour of a kind, the same everywhere.
fn hue(fault: &str) -> u32 {
    fault
        .bytes()
        .fold(7, |hash: u32, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)))
        % 360
}

impl Band {
    fn title(&self) -> String {
        let nodes: Vec<String> = self.nodes.iter().map(usize::to_string).collect();
        format!(
            "{} on {} from {} to {} {}",
            self.fault,
            nodes.join(", "),
            seconds(self.begin_ns),
            seconds(self.end_ns),
            short(&self.detail.to_string())
        )
    }

    fn draw(&self, out: &mut String, axis: &Axis, (top, height): (usize, usize), strength: f64) {
        let x = axis.x(self.begin_ns);
        let width = (axis.x(self.end_ns) - x).max(1.0);
        let _ = write!(
            out,
            "<rect x=\"{x}\" y=\"{top}\" width=\"{width:.1}\" height=\"{height}\" fill=\"hsl({} 70% 50% / {strength})\"><title>{}</title></rect>",
            hue(&self.fault),
            E(self.title())
        );
    }
}

/// The faults behind another drawing.
pub(super) fn behind(page: &Page<'_>, axis: &Axis, out: &mut String, height: usize) {
    let seen = |band: &&Band| !band.effect && band.end_ns >= axis.begin_ns && band.begin_ns <= axis.end_ns;
    for band in page.bands.iter().filter(seen) {
        band.draw(out, axis, (0, height), 0.16);
    }
}

/// A lane a kind of fault.
pub(super) fn draw(page: &Page<'_>, out: &mut String) {
    let mut kinds: Vec<&str> = page.bands.iter().map(|band| band.fault.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    if kinds.is_empty() {
        return;
    }
    out.push_str("<h3>Faults and effects</h3>\n");
    let height = kinds.len() * 14;
    axis::begin(out, "fault-bands", height);
    for (row, kind) in kinds.iter().enumerate() {
        let top = row * 14;
        let _ = write!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 6,
            top + 10,
            E(kind)
        );
        for band in page.bands.iter().filter(|band| band.fault == *kind) {
            band.draw(out, &page.axis, (top + 1, 12), if band.effect { 0.9 } else { 0.7 });
        }
    }
    page.axis.draw(out, height);
    out.push_str("</svg>\n");
}

/// All of them in words.
pub(super) fn table(page: &Page<'_>, out: &mut String) {
    let _ = write!(
        out,
        "<h2 id=\"faults\">Faults</h2>\n<details><summary>{} faults and effects</summary><table>\
         <tr><th>from<th>to<th>what<th>members<th>detail</tr>\n",
        page.bands.len()
    );
    for band in page.bands.iter().take(ROWS_MAX) {
        let nodes: Vec<String> = band.nodes.iter().map(usize::to_string).collect();
        let _ = writeln!(
            out,
            "<tr><td>{}<td>{}<td>{}{}<td>{}<td class=\"mono\">{}</tr>",
            seconds(band.begin_ns),
            if band.end_ns == band.begin_ns {
                String::new()
            } else {
                seconds(band.end_ns)
            },
            if band.effect { "effect: " } else { "" },
            E(&band.fault),
            nodes.join(", "),
            E(short(&band.detail.to_string()))
        );
    }
    out.push_str("</table></details>\n");
}
