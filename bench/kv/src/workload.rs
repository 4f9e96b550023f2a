//! What a workload is: a load on so many members over so many keys, and what one round of it told.

use crate::target::Kind;
use crate::watching::FanOut;
use serde::Serialize;
use std::io;
use std::path::Path;
use std::time::Duration;

/// One run of one workload on one side.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// Processor time of all members an operation.
    pub cpu_us: f64,
    /// Processor time of the load generator a call.
    pub generator_us: f64,
    pub operations: u64,
    /// All members', at the end.
    pub resident_bytes: u64,
    pub written_bytes: u64,
    /// What the data takes on disk at the end; 0 where it was not looked at.
    pub disk_bytes: u64,
    pub failures: u64,
    /// What else the workload tells, each under a name of its own.
    pub figures: Vec<Figure>,
}

/// A named figure of a workload beside the ones that all have.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub name: &'static str,
    pub unit: &'static str,
    pub value: f64,
    /// Whether less of it is better, as of a time or of memory.
    pub less_is_better: bool,
}

impl Figure {
    /// A figure of which less is better.
    pub fn cost(name: &'static str, unit: &'static str, value: f64) -> Figure {
        Figure {
            name,
            unit,
            value,
            less_is_better: true,
        }
    }

    /// A figure of which more is better.
    pub fn gain(name: &'static str, unit: &'static str, value: f64) -> Figure {
        Figure {
            name,
            unit,
            value,
            less_is_better: false,
        }
    }
}

/// Where a round of a workload that measures itself takes place. The folder is empty and stays until the round's end.
pub struct Site<'a> {
    pub kind: &'a Kind,
    pub workload: &'a Workload,
    pub dir: &'a Path,
    /// How long to measure.
    pub time: Duration,
}

/// What runs on a cluster that is filled.
#[derive(Clone, Copy)]
pub enum Work {
    Put {
        value: usize,
    },
    /// kube-apiserver's update: a guard on the revision that the client knows, and for some an outdated one.
    Update {
        value: usize,
    },
    /// kube-apiserver's create: a guard that there is no such key.
    Create {
        value: usize,
    },
    Get {
        serializable: bool,
    },
    Mixed {
        reads_of_ten: u64,
        value: usize,
    },
    List,
    ListStream,
    /// The whole list, so many keys a call.
    ListPaged {
        limit: i64,
    },
    Page {
        limit: i64,
    },
    Count,
    Watch(FanOut),
    LeaseGrant,
    LeaseKeepAlive {
        leases: u64,
    },
    /// How it was filled, and what it takes then and after a start.
    Size,
    /// Stopped and started again on its data; cold: with nothing of it in the page cache.
    Restart {
        cold: bool,
    },
    /// Starts, fills and measures by its own means.
    Own(fn(&Site<'_>) -> io::Result<Sample>),
}

/// What is there before a workload begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data {
    pub members: usize,
    pub keys: u64,
    /// Bytes of a value.
    pub value: usize,
    /// Whether keys were written in an order that has nothing to do with theirs.
    pub scattered: bool,
}

/// On what a workload runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// A fresh cluster each round.
    Fresh,
    /// Folders that other workloads read too: filled once, used in all rounds.
    Shared,
    /// The same folders, after all who only read: it changes them.
    SharedLast,
}

#[derive(Clone, Copy)]
pub struct Workload {
    pub name: &'static str,
    pub data: Data,
    pub outstanding: usize,
    pub work: Work,
    /// Part of `--quick`.
    pub quick: bool,
}

impl Workload {
    pub fn ground(&self) -> Ground {
        match self.work {
            Work::Get { .. } | Work::List | Work::ListStream | Work::ListPaged { .. } => Ground::Shared,
            Work::Page { .. } | Work::Count | Work::Size | Work::Restart { .. } => Ground::Shared,
            Work::Update { .. } | Work::Create { .. } => Ground::SharedLast,
            Work::Put { .. } | Work::Mixed { .. } | Work::Watch(_) => Ground::Fresh,
            Work::LeaseGrant | Work::LeaseKeepAlive { .. } | Work::Own(_) => Ground::Fresh,
        }
    }
}

/// Whether a name is meant by a pattern: the name itself, or one with `*` for any run of characters.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name
            .strip_prefix(head)
            .is_some_and(|tail| (0..=tail.len()).any(|at| tail.get(at..).is_some_and(|t| matches(rest, t)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_names_whole() {
        assert!(matches("put-1x1", "put-1x1"));
        assert!(!matches("put-1x1", "put-1x1000"));
        assert!(matches("put-*", "put-1x1000"));
        assert!(matches("*1000", "put-1x1000"));
        assert!(matches("get-*-3x*", "get-serializable-3x64"));
        assert!(!matches("get-*-3x*", "get-serializable-1x64"));
    }
}
