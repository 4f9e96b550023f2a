//! What the datastore is to reach beside etcd on a machine of two cores, and whether a row reaches it.

use crate::report::{Row, short};
use std::fmt;

#[derive(Clone, Copy)]
enum Goal {
    /// Ratios in our favour.
    Rate(f64),
    P99(f64),
    Cpu(f64),
    Figure(&'static str, f64),
    /// The most that a figure of ours may be, whatever etcd's is.
    AtMost(&'static str, f64),
}
use Goal::{AtMost, Cpu, Figure, P99, Rate};

const DURING: &str = "p99 meanwhile over undisturbed";

const GOALS: &[(&str, &[Goal])] = &[
    ("put-1x1", &[Rate(1.8)]),
    ("put-3x1", &[Rate(1.8)]),
    ("put-1x256", &[Rate(2.2), Cpu(3.0)]),
    ("put-1x1000", &[Rate(2.2), Cpu(3.0)]),
    ("put-3x256", &[Rate(3.0), P99(3.0), Cpu(3.0)]),
    ("put-3x1000", &[Rate(3.0), P99(3.0), Cpu(3.0)]),
    ("update-1000000", &[Rate(4.0), P99(10.0)]),
    ("get-linearizable-1x256", &[Rate(1.6), Cpu(2.5)]),
    ("get-serializable-1x256", &[Rate(1.6), Cpu(2.5)]),
    ("get-linearizable-3x256", &[Rate(1.6), Cpu(2.5)]),
    ("get-serializable-3x256", &[Rate(1.6), Cpu(2.5)]),
    ("list-100000", &[Rate(5.0), AtMost("memory growth", 32.0)]),
    ("list-200000", &[Rate(5.0), AtMost("memory growth", 32.0)]),
    ("page-500-of-100000", &[Rate(20.0)]),
    ("page-500-of-1000000", &[Rate(20.0)]),
    ("count-100000", &[Rate(20.0)]),
    ("count-1000000", &[Rate(20.0)]),
    (
        "watch-10000-on-10000-keys",
        &[Cpu(2.0), AtMost("resident memory a watch", 400.0)],
    ),
    ("lease-keepalive-1x256", &[Rate(1.6), Cpu(2.5)]),
    (
        "size-1000000",
        &[
            Figure("resident when filled", 2.0),
            Figure("after a start, but files", 2.0),
            Figure("on disk", 1.25),
        ],
    ),
    ("restart-1000000", &[Rate(10.0)]),
    ("restart-cold-1000000", &[Rate(10.0)]),
    ("during-compaction", &[AtMost(DURING, 1.5)]),
    ("during-defragmentation", &[AtMost(DURING, 1.5)]),
    ("during-snapshot-1GiB", &[AtMost(DURING, 1.5)]),
];

/// A goal beside what was measured.
pub struct Verdict {
    goal: Goal,
    measured: f64,
}

impl Verdict {
    pub fn reached(&self) -> bool {
        match self.goal {
            AtMost(_, most) => self.measured <= most,
            Rate(least) | P99(least) | Cpu(least) | Figure(_, least) => self.measured >= least,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.reached() { "reached" } else { "not reached" };
        let (name, sign, limit) = match self.goal {
            Rate(n) => ("operations/s", ">=", n),
            P99(n) => ("99th percentile", ">=", n),
            Cpu(n) => ("CPU an operation", ">=", n),
            Figure(name, n) => (name, ">=", n),
            AtMost(name, n) => (name, "<=", n),
        };
        let unit = if matches!(self.goal, AtMost(..)) { "" } else { "x" };
        write!(
            f,
            "goal: {name} {sign} {}{unit}: {}{unit}, {verdict}",
            short(limit),
            short(self.measured)
        )
    }
}

/// The goals that speak of a row, when both sides were measured.
pub fn of(row: &Row) -> impl Iterator<Item = Verdict> {
    let goals = GOALS
        .iter()
        .find(|(name, _)| *name == row.workload && !row.ours.is_empty() && !row.etcd.is_empty())
        .map_or(&[][..], |(_, goals)| goals);
    goals.iter().map(|goal| Verdict {
        goal: *goal,
        measured: match *goal {
            Rate(_) => row.rate().ratio(),
            P99(_) => row.p99().ratio(),
            Cpu(_) => row.cpu().ratio(),
            Figure(name, _) => row.figure(name).map_or(f64::NAN, |p| p.ratio()),
            AtMost(name, _) => row.figure(name).map_or(f64::NAN, |p| p.ours),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_speak_of_workloads_that_are_there() {
        for (name, _) in GOALS {
            assert!(crate::catalogue::all().any(|w| w.name == *name), "{name}");
        }
    }
}
