//! A database of 30 GiB beside a small one of the same values: what puts still get, what they cost, how much memory
//! the member holds, how long it takes to start.
//!
//! It needs half as much space again as it fills, and refuses to begin without. Filling takes from a quarter of an
//! hour (ours) to hours; with `--keep` the filled folder stays, and the next run takes it up where it is.

use crate::fill;
use crate::load::{Plan, Until, run};
use crate::requests::{self as ask, Random};
use crate::target::{Cluster, Kind};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

const VALUE_BYTES: usize = 4096;
const SMALL_KEYS: u64 = 10_000;
const OUTSTANDING: usize = 256;
const CONNECTIONS: usize = 16;
/// Keys filled between two notes of how far it has come.
const STEP_KEYS: u64 = 250_000;
/// In the folder: how many keys are there.
const FILLED: &str = "filled";

pub const NAME: &str = "large-database";

pub struct Phase {
    pub keys: u64,
    pub start_ms: f64,
    pub put_per_second: f64,
    pub put_p99_us: f64,
    pub put_cpu_us: f64,
    pub get_per_second: f64,
    pub get_p99_us: f64,
    /// After the start, and after the puts and gets.
    pub started_bytes: u64,
    pub resident_bytes: u64,
    pub disk_bytes: u64,
    pub failures: u64,
}

pub struct Sample {
    pub small: Phase,
    pub large: Phase,
}

/// Bytes that this filesystem still takes.
fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn filled(dir: &Path) -> io::Result<u64> {
    match std::fs::read_to_string(dir.join(FILLED)) {
        Ok(text) => text.trim().parse().map_err(io::Error::other),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(e),
    }
}

/// Puts keys that are not there yet, each with a value of its own.
fn fill(cluster: &Cluster, dir: &Path, keys: u64) -> io::Result<()> {
    let mut done = filled(dir)?;
    while done < keys {
        let step = STEP_KEYS.min(keys - done);
        let outcome = fill::puts(cluster, step, |n, out| {
            ask::put(done + n, ask::value(done + n, VALUE_BYTES), out)
        })?;
        done += step;
        std::fs::write(dir.join(FILLED), done.to_string())?;
        let usage = cluster.usage()?;
        eprintln!(
            "{NAME}: {done} of {keys} keys, {:.0} puts/s, p99 {:.1} ms, {} MiB resident",
            outcome.per_second(),
            outcome.latency.quantile(0.99).as_secs_f64() * 1e3,
            usage.resident_bytes >> 20
        );
    }
    Ok(())
}

/// Puts and gets of keys that are there.
fn phase(cluster: &Cluster, keys: u64, start: Duration, time: Duration) -> io::Result<Phase> {
    let started_bytes = cluster.usage()?.resident_bytes;
    let plan = |path, time| Plan {
        addresses: cluster.addresses(),
        path,
        connections: CONNECTIONS,
        outstanding: OUTSTANDING,
        until: Until::Elapsed(time),
    };
    let mut random = Random::new(29);
    let mut put = |n, out: &mut Vec<u8>| ask::put(random.below(keys), ask::value(n, VALUE_BYTES), out);
    run(&plan(ask::PUT, time / 5), &mut put)?;
    let before = cluster.usage()?;
    let puts = run(&plan(ask::PUT, time), &mut put)?;
    let used = cluster.usage()?.since(before);
    let mut random = Random::new(31);
    let gets = run(&plan(ask::RANGE, time), |_, out| {
        ask::get(random.below(keys), false, out)
    })?;
    let p99_us = |o: &crate::load::Outcome| o.latency.quantile(0.99).as_secs_f64() * 1e6;
    Ok(Phase {
        keys,
        start_ms: start.as_secs_f64() * 1e3,
        put_per_second: puts.per_second(),
        put_p99_us: p99_us(&puts),
        put_cpu_us: used.cpu_seconds * 1e6 / puts.calls.max(1) as f64,
        get_per_second: gets.per_second(),
        get_p99_us: p99_us(&gets),
        started_bytes,
        resident_bytes: cluster.usage()?.resident_bytes,
        disk_bytes: cluster.disk_bytes()?,
        failures: puts.failures + gets.failures,
    })
}

/// How a large database is made and measured.
pub struct Settings {
    pub gibibytes: u64,
    /// Leave the filled folder where it is.
    pub keep: bool,
    /// Fill it and leave.
    pub fill_only: bool,
    pub time: Duration,
}

/// One side; `None` when it was only filled.
pub fn measure(kind: &Kind, dir: &Path, settings: &Settings) -> io::Result<Option<Sample>> {
    let keys = (settings.gibibytes << 30) / VALUE_BYTES as u64;
    let place = dir.join(format!("large-{}", kind.name));
    std::fs::create_dir_all(&place)?;
    let missing = keys.saturating_sub(filled(&place)?);
    let needed = missing.saturating_mul(VALUE_BYTES as u64) / 2 * 3;
    let free = free_bytes(&place)?;
    if free < needed {
        return Err(io::Error::other(format!(
            "{} has {} GiB free, and a database of {} GiB needs {}",
            place.display(),
            free >> 30,
            settings.gibibytes,
            needed >> 30
        )));
    }
    if missing > 0 {
        let mut cluster = Cluster::start(kind, 1, &place, &[])?;
        fill(&cluster, &place, keys)?;
        cluster.stop()?;
    }
    if settings.fill_only {
        return Ok(None);
    }
    let small_place = tempfile::tempdir_in(dir)?;
    let mut small = Cluster::start(kind, 1, small_place.path(), &[])?;
    fill(&small, small_place.path(), SMALL_KEYS)?;
    small.stop()?;
    let start = small.run()?;
    let small_phase = phase(&small, SMALL_KEYS, start, settings.time)?;
    small.stop()?;
    drop(small);
    let begin = Instant::now();
    let mut large = Cluster::start(kind, 1, &place, &[])?;
    let large_phase = phase(&large, keys, begin.elapsed(), settings.time)?;
    large.stop()?;
    drop(large);
    if !settings.keep {
        std::fs::remove_dir_all(&place)?;
    }
    Ok(Some(Sample {
        small: small_phase,
        large: large_phase,
    }))
}

pub fn header() -> String {
    format!(
        "{:<15} {:<5} {:>9} | {:>8} | {:>8} {:>8} {:>7} | {:>8} {:>8} | {:>11} {:>11} {:>9} | {:>6}",
        "large",
        "side",
        "keys",
        "start ms",
        "puts/s",
        "p99 us",
        "cpu us",
        "gets/s",
        "p99 us",
        "MiB started",
        "MiB",
        "disk MiB",
        "failed"
    )
}

pub fn lines(side: &str, sample: &Sample) -> String {
    let line = |p: &Phase| {
        format!(
            "{:<15} {:<5} {:>9} | {:>8.0} | {:>8.0} {:>8.0} {:>7.1} | {:>8.0} {:>8.0} | {:>11} {:>11} {:>9} | {:>6}",
            NAME,
            side,
            p.keys,
            p.start_ms,
            p.put_per_second,
            p.put_p99_us,
            p.put_cpu_us,
            p.get_per_second,
            p.get_p99_us,
            p.started_bytes >> 20,
            p.resident_bytes >> 20,
            p.disk_bytes >> 20,
            p.failures
        )
    };
    format!(
        "{}\n{}\n{side}: puts at {:.0}% of the small one's rate",
        line(&sample.small),
        line(&sample.large),
        100.0 * sample.large.put_per_second / sample.small.put_per_second.max(1.0)
    )
}
