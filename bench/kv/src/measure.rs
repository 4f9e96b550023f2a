//! One round of a workload on a filled cluster: warmed up, measured, and told.

use crate::calls::{Call, Calls};
use crate::fill::{Filled, fill};
use crate::load::{Outcome, Plan, Until, run, run_calls};
use crate::requests::{self as ask, Random};
use crate::target::{Cluster, Kind, Usage};
use crate::txns::{Creates, Updates};
use crate::watching::{FanOut, Watchers};
use crate::workload::{Figure, Sample, Site, Work, Workload};
use crate::{leases, lists, restart};
use std::io;
use std::path::Path;
use std::time::Duration;

const MB: f64 = 1e6;

/// How many connections clients of such a number open; etcd's own benchmark would be told so too.
pub fn connections(outstanding: usize) -> usize {
    outstanding.div_ceil(16).clamp(1, 100)
}

/// Reads and puts of random keys, on the same connections.
struct Mixed {
    random: Random,
    keys: u64,
    value_bytes: usize,
    reads_of_ten: u64,
}

impl Calls for Mixed {
    const LOOKS: bool = false;
    fn next(&mut self, n: u64, out: &mut Vec<u8>) -> Call {
        let key = self.random.below(self.keys);
        if self.random.below(10) < self.reads_of_ten {
            ask::get(key, false, out);
            return Call::default();
        }
        ask::put(key, ask::value(n, self.value_bytes), out);
        Call {
            path: Some(ask::PUT),
            tag: 0,
        }
    }
}

/// Runs a workload's load on a cluster that is filled; also what it tells beside its outcome.
pub fn drive(
    cluster: &Cluster,
    workload: &Workload,
    filled: &mut Filled,
    until: Until<'_>,
) -> io::Result<(Outcome, Vec<Figure>)> {
    let mut random = Random::new(11);
    let plan = |path| Plan {
        addresses: cluster.addresses(),
        path,
        connections: connections(workload.outstanding),
        outstanding: workload.outstanding,
        until,
    };
    let (keys, prefix) = (workload.data.keys, b"/registry/pods/");
    let mut figures = Vec::new();
    let outcome = match workload.work {
        Work::Put { value } => run(&plan(ask::PUT), move |n, out| {
            ask::put(random.below(keys), ask::value(n, value), out);
        }),
        Work::Update { value } => {
            let mut calls = Updates::new(filled, random, value);
            let outcome = run_calls(&plan(ask::TXN), &mut calls);
            figures.push(calls.figure());
            outcome
        }
        Work::Create { value } => {
            let mut calls = Creates {
                filled,
                value_bytes: value,
            };
            run_calls(&plan(ask::TXN), &mut calls)
        }
        Work::Mixed { reads_of_ten, value } => {
            let mut calls = Mixed {
                random,
                keys,
                value_bytes: value,
                reads_of_ten,
            };
            run_calls(&plan(ask::RANGE), &mut calls)
        }
        Work::Get { serializable } => run(&plan(ask::RANGE), move |_, out| {
            ask::get(random.below(keys), serializable, out);
        }),
        Work::List => run(&plan(ask::RANGE), |_, out| ask::list(prefix, 0, false, out)),
        Work::ListStream => run(&plan(ask::RANGE_STREAM), |_, out| ask::list(prefix, 0, false, out)),
        Work::ListPaged { limit } => lists::paged(cluster, keys, limit, until),
        Work::Count => run(&plan(ask::RANGE), |_, out| ask::list(prefix, 0, true, out)),
        Work::Page { limit } => run(&plan(ask::RANGE), move |_, out| {
            ask::list(&ask::key(random.below(keys)), limit, false, out);
        }),
        Work::LeaseKeepAlive { leases } => {
            let outstanding = workload.outstanding;
            leases::keep_alive(cluster, outstanding, connections(outstanding), leases, until)
        }
        Work::LeaseGrant => {
            let outstanding = workload.outstanding;
            // Above the ids of those that a warm-up granted.
            let first = 1 + filled.created as i64;
            let outcome = leases::grant(cluster, outstanding, connections(outstanding), first, until);
            filled.created += outcome.as_ref().map_or(0, |o| o.calls + o.failures);
            outcome
        }
        // These have loops of their own.
        Work::Watch(_) | Work::Size | Work::Restart { .. } | Work::Own(_) => Ok(Outcome::default()),
    };
    Ok((outcome?, figures))
}

/// What a round's outcome and the members' use of the machine tell.
pub fn sample(outcome: &Outcome, used: Usage) -> Sample {
    let us = |d: Duration| d.as_secs_f64() * 1e6;
    let each = |total: f64| total / (outcome.calls.max(1) as f64);
    Sample {
        per_second: outcome.per_second(),
        p50_us: us(outcome.latency.quantile(0.5)),
        p99_us: us(outcome.latency.quantile(0.99)),
        cpu_us: each(used.cpu_seconds * 1e6),
        generator_us: each(us(outcome.generator)),
        operations: outcome.calls,
        resident_bytes: used.resident_bytes,
        written_bytes: used.written_bytes,
        disk_bytes: 0,
        failures: outcome.failures,
        figures: Vec::new(),
    }
}

fn watched(cluster: &mut Cluster, plan: FanOut, time: Duration) -> io::Result<Sample> {
    // Memory that the filling left free would hide what watchers take.
    cluster.stop()?;
    cluster.run()?;
    let alone = cluster.usage()?.resident_bytes;
    let mut watchers = Watchers::open(cluster, plan)?;
    let before = cluster.usage()?;
    let seen = watchers.drive(cluster, time)?;
    let outcome = Outcome {
        calls: seen.events,
        elapsed: seen.elapsed,
        latency: seen.latency,
        generator: seen.generator,
        ..Outcome::default()
    };
    let grown = before.resident_bytes.saturating_sub(alone);
    let a_watch = grown as f64 / (plan.streams * plan.watchers_per_stream).max(1) as f64;
    Ok(Sample {
        figures: vec![Figure::cost("resident memory a watch", "B", a_watch)],
        ..sample(&outcome, cluster.usage()?.since(before))
    })
}

/// How the cluster was filled, and what it takes.
fn size(cluster: &Cluster, workload: &Workload, filled: &Filled) -> io::Result<Sample> {
    if lists::count(cluster)? != workload.data.keys {
        return Err(io::Error::other("the count is not the number of keys"));
    }
    let now = cluster.usage()?;
    let figures = vec![
        Figure::cost("resident when filled", "MB", filled.used.resident_bytes as f64 / MB),
        Figure::cost("resident after a start", "MB", now.resident_bytes as f64 / MB),
        Figure::cost("after a start, but files", "MB", now.anonymous_bytes as f64 / MB),
        Figure::cost("on disk", "MB", filled.disk_bytes as f64 / MB),
    ];
    Ok(Sample {
        disk_bytes: filled.disk_bytes,
        resident_bytes: now.resident_bytes,
        figures,
        ..sample(&filled.outcome, filled.used)
    })
}

/// One round on a cluster that runs and is filled.
pub fn on(cluster: &mut Cluster, workload: &Workload, filled: &mut Filled, time: Duration) -> io::Result<Sample> {
    match workload.work {
        Work::Restart { cold } => return restart::measure(cluster, cold, time),
        Work::Watch(plan) => return watched(cluster, plan, time),
        Work::Size => return size(cluster, workload, filled),
        Work::LeaseKeepAlive { leases } => {
            let granted = leases::grant(cluster, 512, 16, 1, Until::Calls(leases))?;
            if granted.failures > 0 {
                return Err(io::Error::other(format!(
                    "{} leases were not granted",
                    granted.failures
                )));
            }
        }
        _ => {}
    }
    let whole = matches!(workload.work, Work::List | Work::ListStream | Work::ListPaged { .. });
    if whole {
        // Memory that an earlier load left free would hide what this one takes.
        cluster.stop()?;
        cluster.run()?;
        cluster.forget_peak()?;
    }
    let alone = cluster.usage()?.resident_bytes;
    drive(cluster, workload, filled, Until::Elapsed(time / 5))?;
    let before = cluster.usage()?;
    let (outcome, mut figures) = drive(cluster, workload, filled, Until::Elapsed(time))?;
    let used = cluster.usage()?.since(before);
    if whole {
        let grown = cluster.peak_bytes()?.saturating_sub(alone) as f64 / MB;
        figures.push(Figure::cost("memory growth", "MB", grown));
    }
    Ok(Sample {
        figures,
        ..sample(&outcome, used)
    })
}

/// One round on a cluster of its own.
pub fn fresh(kind: &Kind, workload: &Workload, dir: &Path, time: Duration) -> io::Result<Sample> {
    if let Work::Own(own) = workload.work {
        return own(&Site {
            kind,
            workload,
            dir,
            time,
        });
    }
    let mut cluster = Cluster::start(kind, workload.data.members, dir, &[])?;
    let mut filled = fill(&cluster, &workload.data)?;
    let sample = on(&mut cluster, workload, &mut filled, time)?;
    cluster.stop()?;
    Ok(Sample {
        disk_bytes: cluster.disk_bytes()?,
        ..sample
    })
}
