//! Latency and rate over time.

use super::axis::{self, LEFT, WIDTH};
use super::{Page, faults};
use std::fmt::Write as _;

/// Parts of the time that are summed up.
const PARTS: usize = 320;
/// Pixels of a plot.
const HEIGHT: usize = 180;
/// Latencies that the plot reaches, in powers of ten of a nanosecond: 10 µs to 100 s.
const FLOOR: f64 = 4.0;
const CEILING: f64 = 11.0;

/// What happened in a part of the time.
#[derive(Clone, Default)]
struct Part {
    /// Nanoseconds of what went well.
    latencies: Vec<u64>,
    failed: u64,
    open: u64,
}

pub(super) fn draw(page: &Page<'_>, out: &mut String) {
    let mut parts = vec![Part::default(); PARTS];
    for op in &page.evidence.history.ops {
        let part = &mut parts[page.axis.part(op.return_ns.unwrap_or(op.call_ns), PARTS)];
        match op.return_ns {
            Some(return_ns) if op.is_ok() => part.latencies.push(return_ns.saturating_sub(op.call_ns)),
            _ if op.is_fail() => part.failed += 1,
            _ => part.open += 1,
        }
    }
    for part in &mut parts {
        part.latencies.sort_unstable();
    }
    latency(page, out, &parts);
    rate(page, out, &parts);
}

#[allow(clippy::cast_precision_loss)]
fn middle(part: usize) -> f64 {
    LEFT as f64 + (part as f64 + 0.5) * WIDTH as f64 / PARTS as f64
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
fn latency(page: &Page<'_>, out: &mut String, parts: &[Part]) {
    out.push_str(
        "<h3>Latency of what went well</h3>\n<p class=\"legend small\"><span><i style=\"background:#4a8f5c\"></i>median</span>\
         <span><i style=\"background:#d98c21\"></i>95%</span><span><i style=\"background:#d12f3f\"></i>99%</span>\
         <span><i style=\"background:#8886\"></i>highest</span></p>\n",
    );
    axis::begin(out, "latency", HEIGHT);
    faults::behind(page, &page.axis, out, HEIGHT);
    let y = |ns: f64| HEIGHT as f64 * (1.0 - (ns.max(1.0).log10().clamp(FLOOR, CEILING) - FLOOR) / (CEILING - FLOOR));
    for (power, name) in [
        (5, "100 µs"),
        (6, "1 ms"),
        (7, "10 ms"),
        (8, "100 ms"),
        (9, "1 s"),
        (10, "10 s"),
    ] {
        let at = y(10_f64.powi(power));
        let _ = write!(
            out,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
            LEFT + WIDTH,
            LEFT - 6,
            at + 4.0
        );
    }
    for (class, share) in [("max", 1.0), ("p99", 0.99), ("p95", 0.95), ("p50", 0.5)] {
        let points = parts.iter().enumerate().map(|(at, part)| {
            let last = part.latencies.len().checked_sub(1)?;
            let ns = part.latencies[(last as f64 * share).round() as usize];
            Some((middle(at), y(ns as f64)))
        });
        line(out, class, points);
    }
    page.axis.draw(out, HEIGHT);
    out.push_str("</svg>\n");
}

#[allow(clippy::cast_precision_loss)]
fn rate(page: &Page<'_>, out: &mut String, parts: &[Part]) {
    out.push_str(
        "<h3>Operations a second</h3>\n<p class=\"legend small\"><span><i style=\"background:#4a8f5c\"></i>ok</span>\
         <span><i style=\"background:#d98c21\"></i>failed</span><span><i style=\"background:#d12f3f\"></i>unknown end</span></p>\n",
    );
    axis::begin(out, "rate", HEIGHT);
    faults::behind(page, &page.axis, out, HEIGHT);
    let part_s = (page.axis.end_ns - page.axis.begin_ns) as f64 / 1e9 / PARTS as f64;
    let counts: [(&str, Vec<u64>); 3] = [
        ("p50", parts.iter().map(|part| part.latencies.len() as u64).collect()),
        ("p95", parts.iter().map(|part| part.failed).collect()),
        ("p99", parts.iter().map(|part| part.open).collect()),
    ];
    let most = counts
        .iter()
        .flat_map(|(_, counts)| counts)
        .max()
        .copied()
        .unwrap_or(0)
        .max(1) as f64;
    for share in [0.5, 1.0] {
        let at = HEIGHT as f64 * (1.0 - share * 0.95);
        let _ = write!(
            out,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{:.0}/s</text>",
            LEFT + WIDTH,
            LEFT - 6,
            at + 4.0,
            share * most / part_s.max(1e-9)
        );
    }
    for (class, counts) in &counts {
        let y = |count: u64| HEIGHT as f64 * (1.0 - count as f64 / most * 0.95);
        line(
            out,
            class,
            counts
                .iter()
                .enumerate()
                .map(|(at, &count)| Some((middle(at), y(count)))),
        );
    }
    page.axis.draw(out, HEIGHT);
    out.push_str("</svg>\n");
}

/// A line that is broken where nothing is.
fn line(out: &mut String, class: &str, points: impl Iterator<Item = Option<(f64, f64)>>) {
    let mut path = String::new();
    let mut drawn = false;
    for point in points {
        if let Some((x, y)) = point {
            let _ = write!(path, "{}{x:.1} {y:.1}", if drawn { "L" } else { "M" });
            // A single part is a dot.
            if !drawn {
                path.push_str("h0.5");
            }
        }
        drawn = point.is_some();
    }
    let _ = write!(out, "<path class=\"plot {class}\" d=\"{path}\"/>");
}
