//! The table: medians of the rounds with their spread, and ours over theirs.

use crate::goals;
use crate::workload::{Figure, Sample};
use serde::Serialize;
use std::io;

#[derive(Serialize)]
pub struct Row {
    pub workload: &'static str,
    pub ours: Vec<Sample>,
    pub etcd: Vec<Sample>,
    /// Rounds that came to nothing, and why.
    pub errors: Vec<String>,
    /// What the row took in all, starting and filling included.
    pub seconds: f64,
}

/// The two sides' values of a figure.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    pub ours: f64,
    pub etcd: f64,
    pub less_is_better: bool,
}

impl Pair {
    /// More than 1 is in our favour.
    pub fn ratio(self) -> f64 {
        if self.less_is_better {
            self.etcd / self.ours
        } else {
            self.ours / self.etcd
        }
    }
}

impl Row {
    pub fn new(workload: &'static str) -> Row {
        Row {
            workload,
            ours: Vec::new(),
            etcd: Vec::new(),
            errors: Vec::new(),
            seconds: 0.0,
        }
    }

    pub fn add(&mut self, side: &str, sample: io::Result<Sample>) {
        match sample {
            Ok(sample) if side == "ours" => self.ours.push(sample),
            Ok(sample) => self.etcd.push(sample),
            Err(e) => self.fail(side, &e),
        }
    }

    pub fn fail(&mut self, side: &str, error: &io::Error) {
        self.errors.push(format!("{} on {side}: {error}", self.workload));
    }

    fn of(&self, less_is_better: bool, of: impl Fn(&Sample) -> f64) -> Pair {
        Pair {
            ours: median(&self.ours, &of),
            etcd: median(&self.etcd, &of),
            less_is_better,
        }
    }

    pub fn rate(&self) -> Pair {
        self.of(false, |s| s.per_second)
    }
    pub fn p99(&self) -> Pair {
        self.of(true, |s| s.p99_us)
    }
    pub fn cpu(&self) -> Pair {
        self.of(true, |s| s.cpu_us)
    }

    /// A figure of the workload's own.
    pub fn figure(&self, name: &str) -> Option<Pair> {
        let known = |s: &Sample| s.figures.iter().find(|f| f.name == name).cloned();
        let first: Figure = self.ours.iter().chain(&self.etcd).find_map(known)?;
        Some(self.of(first.less_is_better, |s| known(s).map_or(f64::NAN, |f| f.value)))
    }
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let middle = |at: usize| values.get(at).copied().unwrap_or(f64::NAN);
    f64::midpoint(middle(values.len().saturating_sub(1) / 2), middle(values.len() / 2))
}

/// Largest over smallest rate of the rounds: how much the machine wavered.
fn spread(samples: &[Sample]) -> f64 {
    let values = samples.iter().map(|s| s.per_second);
    let (low, high) = values.fold((f64::MAX, 0f64), |(l, h), v| (l.min(v), h.max(v)));
    high / low.max(f64::MIN_POSITIVE)
}

/// Three figures that matter, whatever the size.
pub fn short(value: f64) -> String {
    match value.abs() {
        v if v.is_nan() => "-".to_owned(),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn three(pair: Pair) -> String {
    format!(
        "{:>8} {:>8} {:>6}",
        short(pair.ours),
        short(pair.etcd),
        format!("{}x", short(pair.ratio()))
    )
}

fn two(pair: Pair) -> String {
    format!("{:>7} {:>7}", short(pair.ours), short(pair.etcd))
}

/// Ours, etcd's, and where it is more than an aside the ratio in our favour.
pub fn header() -> String {
    format!(
        "{:<31} | {:^24} | {:^15} | {:^24} | {:^24} | {:^15} | {:^15} | {:^9} | {:>5} | {:>4}\n{:<31} | {e:>8} {o:>8} {r:>6} | {e:>7} {o:>7} | {e:>8} {o:>8} {r:>6} | {e:>8} {o:>8} {r:>6} | {e:>7} {o:>7} | {e:>7} {o:>7} | {e:>4} {o:>4} | {:>5} | {:>4}",
        "workload",
        "operations/s",
        "median us",
        "99th percentile us",
        "CPU us an operation",
        "resident MiB",
        "written B/op",
        "spread",
        "gen.",
        "took",
        "",
        "us",
        "s",
        e = "ours",
        o = "etcd",
        r = "ratio",
    )
}

pub fn line(row: &Row) -> String {
    let each = |s: &Sample| s.written_bytes as f64 / s.operations.max(1) as f64;
    let failures: u64 = row.ours.iter().chain(&row.etcd).map(|s| s.failures).sum();
    let failed = if failures > 0 {
        format!("  {failures} failed")
    } else {
        String::new()
    };
    format!(
        "{:<31} | {} | {} | {} | {} | {} | {} | {:>4.2} {:>4.2} | {:>5} | {:>4.0}{failed}",
        row.workload,
        three(row.rate()),
        two(row.of(true, |s| s.p50_us)),
        three(row.p99()),
        three(row.cpu()),
        two(row.of(true, |s| s.resident_bytes as f64 / f64::from(1 << 20))),
        two(row.of(true, each)),
        spread(&row.ours),
        spread(&row.etcd),
        short(row.of(true, |s| s.generator_us).ours),
        row.seconds,
    )
}

/// What stands below a row: its own figures, the goals that speak of it, and what went wrong.
pub fn below(row: &Row) -> Vec<String> {
    let first = row.ours.first().or(row.etcd.first());
    let mut lines = Vec::new();
    for figure in first.map(|s| s.figures.as_slice()).unwrap_or_default() {
        if let Some(pair) = row.figure(figure.name) {
            lines.push(format!("    {:<27} | {}  {}", figure.name, three(pair), figure.unit));
        }
    }
    lines.extend(goals::of(row).map(|verdict| format!("    {verdict}")));
    lines.extend(row.errors.iter().map(|e| format!("    {e}")));
    lines
}
