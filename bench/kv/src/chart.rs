//! The ratios as a picture: a bar for throughput and one for processor time, on a logarithmic scale around 1.

use crate::goals;
use crate::machine::Machine;
use crate::report::{Pair, Row, short};
use std::fmt::Write;

const WIDTH: f64 = 900.0;
/// Where names end and bars begin; to the right of the longest bar stands its number.
const LEFT: f64 = 250.0;
const RIGHT: f64 = 60.0;
const TOP: f64 = 74.0;
const BOTTOM: f64 = 30.0;
/// More are thinned out.
const ROWS_MAX: usize = 24;
const ROW: f64 = 30.0;
const BAR: f64 = 10.0;
const RATE: &str = "#2f6f9f";
const CPU: &str = "#d08b2f";
const MARKS: &[f64] = &[
    0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 10_000.0,
];

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// From the ratio to the place on the page.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn of(ratios: &[f64]) -> Scale {
        let low = ratios.iter().copied().fold(0.8, f64::min);
        let high = ratios.iter().copied().fold(2.0, f64::max);
        Scale { low, high }
    }

    fn x(&self, ratio: f64) -> f64 {
        let share = (ratio / self.low).ln() / (self.high / self.low).ln();
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }
}

/// The chart of the rows that both sides have: all of them, or those that a goal speaks of when they are many.
pub fn svg(machine: &Machine, rows: &[Row]) -> String {
    let drawn: Vec<_> = rows
        .iter()
        .filter(|r| !r.ours.is_empty() && !r.etcd.is_empty())
        .filter(|r| rows.len() <= ROWS_MAX || goals::of(r).next().is_some())
        .collect();
    let usable = |pair: Pair| Some(pair.ratio()).filter(|r| r.is_finite() && *r > 0.0);
    let ratios: Vec<_> = drawn
        .iter()
        .flat_map(|r| [usable(r.rate()), usable(r.cpu())])
        .flatten()
        .collect();
    let scale = Scale::of(&ratios);
    let height = TOP + ROW * drawn.len() as f64 + BOTTOM;
    let mut out = String::new();
    // A string grows: writing to it cannot fail.
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"24\" font-size=\"16\" fill=\"#222222\">The datastore beside etcd: ratios, more than 1 in our favour</text>\n\
         <text x=\"16\" y=\"42\" fill=\"#666666\">{}</text>\n\
         <rect x=\"16\" y=\"52\" width=\"10\" height=\"10\" fill=\"{RATE}\"/><text x=\"31\" y=\"61\" fill=\"#222222\">operations a second</text>\n\
         <rect x=\"160\" y=\"52\" width=\"10\" height=\"10\" fill=\"{CPU}\"/><text x=\"175\" y=\"61\" fill=\"#222222\">processor time an operation</text>",
        escape(&format!(
            "{}; {} cores; Linux {}",
            machine.date, machine.cores, machine.kernel
        )),
    );
    for mark in MARKS.iter().filter(|m| **m >= scale.low && **m <= scale.high) {
        let (x, end) = (scale.x(*mark), height - BOTTOM);
        let (colour, width) = if *mark == 1.0 {
            ("#222222", 1.5)
        } else {
            ("#dddddd", 1.0)
        };
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{end}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>\
             <text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#666666\">{mark}x</text>",
            end + 16.0
        );
    }
    for (n, row) in drawn.iter().enumerate() {
        let y = TOP + ROW * n as f64;
        let _ = writeln!(
            out,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\" fill=\"#222222\">{}</text>",
            LEFT - 10.0,
            y + 18.0,
            escape(row.workload)
        );
        for (at, (pair, colour)) in [(row.rate(), RATE), (row.cpu(), CPU)].into_iter().enumerate() {
            let Some(ratio) = usable(pair) else { continue };
            let (one, x, top) = (scale.x(1.0), scale.x(ratio), y + 4.0 + BAR * at as f64);
            let _ = writeln!(
                out,
                "<rect x=\"{:.1}\" y=\"{top:.0}\" width=\"{:.1}\" height=\"{:.0}\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{:.0}\" font-size=\"10\" fill=\"#222222\">{}x</text>",
                one.min(x),
                (x - one).abs().max(1.0),
                BAR - 1.0,
                one.max(x) + 4.0,
                top + BAR - 2.0,
                short(ratio)
            );
        }
    }
    out.push_str("</svg>\n");
    out
}
