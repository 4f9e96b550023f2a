//! What operators do to a store that is in use, and what its users feel meanwhile: puts with 64 outstanding, first
//! undisturbed, then while one piece of upkeep runs, then for a moment after it.
//!
//! The load is a closed loop, so a stall shows once for each call that is outstanding: `meanwhile` covers exactly the
//! time of the upkeep, and the longest call is told beside the 99th percentile.

use crate::load::{Outcome, Plan, Until, run};
use crate::requests::{self as ask, Random};
use crate::target::Cluster;
use crate::workload::{Data, Figure, Sample, Site, Work, Workload};
use crate::{fill, measure, unary, watching};
use keelson_proto::etcdserverpb as pb;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Calls outstanding, before, during and after.
const OUTSTANDING: usize = 64;
const CONNECTIONS: usize = 4;
/// Bytes of the values that the load puts.
const LOAD_VALUE_BYTES: usize = 256;
/// Longest that a piece of upkeep may take.
const UPKEEP_MAX: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(10);

#[derive(Clone, Copy)]
enum Upkeep {
    /// All revisions there are; answered when the last one is gone.
    Compact,
    /// After such a compaction.
    Defragment,
    /// Maintenance.Snapshot, read as fast as it comes.
    Snapshot,
    /// A learner with an empty disk, until it has all that there was when it was added.
    Join,
    /// All keys but those of the load, in one request.
    Delete,
}

/// Revisions there are before the upkeep.
const REVISIONS: u64 = 1_000_000;

const fn row(name: &'static str, own: fn(&Site<'_>) -> io::Result<Sample>, keys: u64, value: usize) -> Workload {
    Workload {
        name,
        data: Data {
            members: 1,
            keys,
            value,
            scattered: false,
        },
        outstanding: OUTSTANDING,
        work: Work::Own(own),
        quick: false,
    }
}

/// Rows of the table, after the others.
pub const ALL: &[Workload] = &[
    row(
        "during-compaction",
        |site| under_load(site, Upkeep::Compact),
        100_000,
        256,
    ),
    row(
        "during-defragmentation",
        |site| under_load(site, Upkeep::Defragment),
        100_000,
        256,
    ),
    row(
        "during-snapshot-1GiB",
        |site| under_load(site, Upkeep::Snapshot),
        1_000_000,
        1024,
    ),
    row(
        "during-join-1GiB",
        |site| under_load(site, Upkeep::Join),
        1_000_000,
        1024,
    ),
    row(
        "during-delete-1000000",
        |site| under_load(site, Upkeep::Delete),
        1_000_000,
        256,
    ),
    row("watch-resumed-1000000", resumed, 100_000, 256),
];

/// Revisions of the workload's keys, round after round of them.
fn fill(cluster: &Cluster, workload: &Workload) -> io::Result<()> {
    let data = workload.data;
    let put = |n: u64, out: &mut Vec<u8>| ask::put(n % data.keys, ask::value(n, data.value), out);
    fill::puts(cluster, REVISIONS, put).map(|_| ())
}

/// The load: puts of keys that a deletion of the filled ones does not touch.
fn load(cluster: &Cluster, until: Until<'_>) -> io::Result<Outcome> {
    let plan = Plan {
        addresses: cluster.addresses().into_iter().take(1).collect(),
        path: ask::PUT,
        connections: CONNECTIONS,
        outstanding: OUTSTANDING,
        until,
    };
    let mut random = Random::new(17);
    run(&plan, move |n, out| {
        ask::put((1 << 32) + random.below(10_000), ask::value(n, LOAD_VALUE_BYTES), out);
    })
}

fn revision(address: &str) -> io::Result<i64> {
    let status: pb::StatusResponse = unary::ask(
        address,
        "/etcdserverpb.Maintenance/Status",
        &pb::StatusRequest::default(),
        UPKEEP_MAX,
    )?;
    Ok(status.header.map_or(0, |h| h.revision))
}

fn compact(address: &str) -> io::Result<()> {
    let request = pb::CompactionRequest {
        revision: revision(address)?,
        physical: true,
    };
    unary::ask::<pb::CompactionResponse>(address, "/etcdserverpb.KV/Compact", &request, UPKEEP_MAX).map(drop)
}

/// What the upkeep handed out.
fn carry_out(upkeep: Upkeep, address: &str, joining: Option<&str>) -> io::Result<u64> {
    match upkeep {
        Upkeep::Compact => compact(address).map(|()| 0),
        Upkeep::Defragment => {
            let (path, request) = ("/etcdserverpb.Maintenance/Defragment", pb::DefragmentRequest::default());
            // Its answer is an empty message, which is five bytes of frame.
            unary::drain(address, path, &request, UPKEEP_MAX).map(|_| 0)
        }
        Upkeep::Snapshot => {
            let (path, request) = ("/etcdserverpb.Maintenance/Snapshot", pb::SnapshotRequest::default());
            unary::drain(address, path, &request, UPKEEP_MAX)
        }
        Upkeep::Delete => {
            let request = pb::DeleteRangeRequest {
                key: ask::key(0).into(),
                range_end: ask::key(1 << 32).into(),
                ..Default::default()
            };
            let path = "/etcdserverpb.KV/DeleteRange";
            let answer: pb::DeleteRangeResponse = unary::ask(address, path, &request, UPKEEP_MAX)?;
            u64::try_from(answer.deleted).map_err(io::Error::other)
        }
        Upkeep::Join => {
            let wanted = revision(address)?;
            let joining = joining.ok_or_else(|| io::Error::other("nobody joins"))?;
            let begin = Instant::now();
            // A member that is not there yet refuses, and one that has nothing yet says so.
            while revision(joining).unwrap_or(0) < wanted {
                if begin.elapsed() > UPKEEP_MAX {
                    return Err(io::Error::other("the new member does not catch up"));
                }
                std::thread::sleep(LOOK);
            }
            Ok(0)
        }
    }
}

/// One round: a fresh member, filled, undisturbed, disturbed, and then a moment more.
fn under_load(site: &Site<'_>, upkeep: Upkeep) -> io::Result<Sample> {
    let mut cluster = Cluster::start(site.kind, site.workload.data.members, site.dir, &[])?;
    fill(&cluster, site.workload)?;
    let address = cluster.addresses().into_iter().next().unwrap_or_default();
    if matches!(upkeep, Upkeep::Defragment) {
        compact(&address)?;
    }
    load(&cluster, Until::Elapsed(site.time / 5))?;
    let idle = load(&cluster, Until::Elapsed(site.time))?;
    let before = cluster.usage()?;
    let begin = Instant::now();
    let joining = match upkeep {
        Upkeep::Join => Some(cluster.add_learner()?),
        _ => None,
    };
    let told = AtomicBool::new(false);
    let (meanwhile, carried_out) = std::thread::scope(|scope| {
        let carried_out = scope.spawn(|| {
            let done = carry_out(upkeep, &address, joining.as_deref());
            told.store(true, Ordering::Release);
            (done, begin.elapsed())
        });
        let meanwhile = load(&cluster, Until::Told(&told));
        (meanwhile, carried_out.join())
    });
    let (done, took) = carried_out.map_err(|_| io::Error::other("the upkeep's thread ended"))?;
    let (meanwhile, handed_out) = (meanwhile?, done?);
    let used = cluster.usage()?.since(before);
    let after = load(&cluster, Until::Elapsed(site.time))?;
    cluster.stop()?;
    let (undisturbed, disturbed) = (p99_us(&idle), p99_us(&meanwhile));
    let mut figures = vec![
        Figure::cost("p99 undisturbed", "us", undisturbed),
        Figure::cost("p99 meanwhile over undisturbed", "x", disturbed / undisturbed.max(1.0)),
        Figure::cost("longest meanwhile", "us", us(&meanwhile, 1.0)),
        Figure::cost("p99 afterwards", "us", p99_us(&after)),
        Figure::gain(
            "puts meanwhile over undisturbed",
            "x",
            meanwhile.per_second() / idle.per_second(),
        ),
        Figure::cost("the upkeep took", "ms", took.as_secs_f64() * 1e3),
        Figure::cost("CPU meanwhile, puts included", "ms", used.cpu_seconds * 1e3),
    ];
    if handed_out > 0 {
        figures.push(Figure::gain("handed out", "", handed_out as f64));
    }
    Ok(Sample {
        disk_bytes: cluster.disk_bytes()?,
        failures: idle.failures + meanwhile.failures + after.failures,
        figures,
        ..measure::sample(&meanwhile, used)
    })
}

/// A watch that begins a million revisions back, alone; its operations are events.
fn resumed(site: &Site<'_>) -> io::Result<Sample> {
    let mut cluster = Cluster::start(site.kind, site.workload.data.members, site.dir, &[])?;
    fill(&cluster, site.workload)?;
    let before = cluster.usage()?;
    let begin = Instant::now();
    let events = watching::resume(&cluster, REVISIONS)?;
    let outcome = Outcome {
        calls: events,
        elapsed: begin.elapsed(),
        ..Outcome::default()
    };
    let used = cluster.usage()?.since(before);
    cluster.stop()?;
    Ok(Sample {
        figures: vec![Figure::cost(
            "until it has all",
            "ms",
            outcome.elapsed.as_secs_f64() * 1e3,
        )],
        disk_bytes: cluster.disk_bytes()?,
        ..measure::sample(&outcome, used)
    })
}

fn us(outcome: &Outcome, quantile: f64) -> f64 {
    outcome.latency.quantile(quantile).as_secs_f64() * 1e6
}

fn p99_us(outcome: &Outcome) -> f64 {
    us(outcome, 0.99)
}
