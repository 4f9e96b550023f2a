//! Processes: what each did when, aggregated to pixels.

use super::axis::{self, LEFT, WIDTH};
use super::html::E;
use super::{Page, faults};
use crate::history::Op;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Pixels of a lane.
const LANE: usize = 10;
/// Lanes of a workload; those of further processes are drawn into its last one.
const LANES_MAX: usize = 40;

/// How an operation is drawn. Of several in a pixel the last of these counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Nothing,
    Ok,
    Failed,
    Open,
    Named,
}

impl Mark {
    fn class(self) -> &'static str {
        match self {
            Mark::Nothing | Mark::Ok => "ok",
            Mark::Failed => "failed",
            Mark::Open => "open",
            Mark::Named => "named",
        }
    }
}

/// The processes that share a lane, one after another: each takes the place of one that was retired.
struct Lane {
    free_ns: u64,
    processes: Vec<u64>,
    pixels: Vec<Mark>,
}

/// How an operation is drawn, whoever names it.
pub(super) fn class(page: &Page<'_>, op: &Op) -> &'static str {
    mark(page, op).class()
}

fn mark(page: &Page<'_>, op: &Op) -> Mark {
    if page.named.contains(&op.index) {
        Mark::Named
    } else if op.is_ok() {
        Mark::Ok
    } else if op.is_fail() {
        Mark::Failed
    } else {
        Mark::Open
    }
}

/// A lane a process at a time, by workloads.
pub(super) fn draw(page: &Page<'_>, out: &mut String) {
    let lanes = lanes(page);
    let rows: usize = lanes.values().map(Vec::len).sum();
    out.push_str(
        "<h3>Processes</h3>\n<p class=\"legend small\"><span><i style=\"background:var(--ok)\"></i>ok</span>\
         <span><i style=\"background:var(--fail)\"></i>failed</span><span><i style=\"background:var(--info)\"></i>unknown end</span>\
         <span><i style=\"background:var(--bad)\"></i>named by a finding</span><span>shaded: faults</span></p>\n",
    );
    let height = rows * LANE + lanes.len() * 14;
    axis::begin(out, "lanes", height);
    faults::behind(page, &page.axis, out, height);
    let mut top = 0;
    for (workload, lanes) in &lanes {
        let _ = write!(out, "<text x=\"2\" y=\"{}\">{}</text>", top + 11, E(workload));
        top += 14;
        for lane in lanes {
            lane.draw(out, top);
            top += LANE;
        }
    }
    if let Some(op) = page.first_error() {
        let x = page.axis.x(op.call_ns);
        let _ = write!(
            out,
            "<a href=\"#finding-1\"><line class=\"first\" x1=\"{x}\" x2=\"{x}\" y1=\"0\" y2=\"{height}\">\
             <title>the first error: operation {}</title></line></a>",
            op.index
        );
    }
    page.axis.draw(out, height);
    out.push_str("</svg>\n");
}

fn lanes<'a>(page: &Page<'a>) -> BTreeMap<&'a str, Vec<Lane>> {
    let mut processes: BTreeMap<(&str, u64), Vec<&Op>> = BTreeMap::new();
    for op in &page.evidence.history.ops {
        processes.entry((&op.workload, op.process)).or_default().push(op);
    }
    let mut sorted: Vec<((&str, u64), Vec<&Op>)> = processes.into_iter().collect();
    sorted.sort_by_key(|(_, ops)| ops.first().map(|op| op.call_ns));
    let mut lanes: BTreeMap<&str, Vec<Lane>> = BTreeMap::new();
    for ((workload, process), ops) in sorted {
        let of_workload = lanes.entry(workload).or_default();
        let begin_ns = ops.first().map_or(0, |op| op.call_ns);
        let free = of_workload.iter().position(|lane| lane.free_ns <= begin_ns);
        let at = free.unwrap_or_else(|| {
            if of_workload.len() < LANES_MAX {
                of_workload.push(Lane {
                    free_ns: 0,
                    processes: Vec::new(),
                    pixels: vec![Mark::Nothing; WIDTH],
                });
            }
            of_workload.len() - 1
        });
        let lane = &mut of_workload[at];
        lane.free_ns = lane.free_ns.max(
            ops.iter()
                .map(|op| op.return_ns.unwrap_or(op.call_ns))
                .max()
                .unwrap_or(0)
                + 1,
        );
        lane.processes.push(process);
        for op in ops {
            let first = page.axis.part(op.call_ns, WIDTH);
            let last = page.axis.part(op.return_ns.unwrap_or(op.call_ns), WIDTH);
            let mark = mark(page, op);
            for pixel in &mut lane.pixels[first..=last] {
                *pixel = mark.max(*pixel);
            }
        }
    }
    lanes
}

impl Lane {
    fn draw(&self, out: &mut String, top: usize) {
        let named: Vec<String> = self.processes.iter().take(20).map(u64::to_string).collect();
        let more = if self.processes.len() > named.len() {
            ", …"
        } else {
            ""
        };
        let _ = write!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}<title>processes {}{more}</title></text>",
            LEFT - 6,
            top + 9,
            self.processes.first().copied().unwrap_or(0),
            named.join(", ")
        );
        let mut at = 0;
        while at < WIDTH {
            let mark = self.pixels[at];
            let begin = at;
            while at < WIDTH && self.pixels[at] == mark {
                at += 1;
            }
            if mark != Mark::Nothing {
                let _ = write!(
                    out,
                    "<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
                    mark.class(),
                    LEFT + begin,
                    top + 1,
                    at - begin,
                    LANE - 2
                );
            }
        }
    }
}
