//! How each kind of fault is drawn: whom it strikes, how hard, how long.

use super::kind::Kind;
use super::shape::Shape;
use super::step::{Fault, Return, Victims, Way};
use crate::world::kube::{SCHEDULERS, SERVERS};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};

/// How long a fault of a kind lasts.
pub(super) fn lasts_ms(kind: Kind) -> std::ops::Range<u64> {
    match kind {
        Kind::Kill | Kind::PowerLoss => 10..3000,
        Kind::Leader | Kind::Defrag => 10..100,
        Kind::FsyncError => 1000..4000,
        Kind::FsyncLie => 1000..3000,
        Kind::BitFlip => 500..1000,
        Kind::DiskFull => 3000..10_000,
        Kind::Churn | Kind::Snapshot => 5000..12_000,
        Kind::KillApiserver => 10..3000,
        Kind::KillScheduler | Kind::PauseScheduler => 100..8000,
        _ => 1000..8000,
    }
}

/// Draws a fault of a kind for members 1 to `nodes`.
pub(super) fn draw(rng: &mut StdRng, kind: Kind, nodes: usize) -> Fault {
    match kind {
        Kind::Kill => Fault::Kill(any(rng, nodes)),
        Kind::Pause => Fault::Pause(any(rng, nodes)),
        Kind::PowerLoss => Fault::PowerLoss(any(rng, nodes)),
        Kind::Partition => Fault::Partition(Shape::draw(rng, nodes)),
        Kind::ClientPartition => Fault::ClientPartition {
            victims: any(rng, nodes),
            way: way(rng),
        },
        Kind::Loss => Fault::Loss {
            victims: any(rng, nodes),
            percent: rng.random_range(5..=40),
        },
        Kind::Delay => Fault::Delay {
            victims: any(rng, nodes),
            delay_ms: rng.random_range(5..300),
            jitter_ms: rng.random_range(0..200),
        },
        Kind::Blackhole => Fault::Blackhole {
            victims: any(rng, nodes),
            way: way(rng),
        },
        Kind::SlowDisk => Fault::SlowDisk {
            victims: any(rng, nodes),
            bytes_per_s: rng.random_range(50_000..1_000_000),
            writes_per_s: rng.random_range(5..100),
        },
        Kind::FsyncError => Fault::FsyncError(few(rng, nodes)),
        Kind::FsyncSlow => Fault::FsyncSlow {
            victims: any(rng, nodes),
            delay_ms: rng.random_range(20..400),
        },
        Kind::FsyncLie => Fault::FsyncLie { node: one(rng, nodes) },
        Kind::DiskFull => Fault::DiskFull(any(rng, nodes)),
        Kind::Clock => clock(rng, nodes),
        Kind::Churn => Fault::Churn {
            victims: few(rng, nodes),
            how: *[Return::Voter, Return::Learner].choose(rng).unwrap_or(&Return::Voter),
        },
        Kind::Leader => Fault::Leader {
            choice: rng.random_range(0..nodes),
        },
        Kind::Compact => Fault::Compact {
            every_ms: rng.random_range(50..200),
            behind_max: *[0, 5, 50, 500].choose(rng).unwrap_or(&0),
            seed: rng.random(),
        },
        Kind::Defrag => Fault::Defrag(any(rng, nodes)),
        Kind::Snapshot => Fault::Snapshot { node: one(rng, nodes) },
        Kind::BitFlip => Fault::BitFlip {
            node: one(rng, nodes),
            flips: rng.random_range(1..=8),
            seed: rng.random(),
        },
        Kind::KillApiserver => Fault::KillApiserver(parts(rng, SERVERS)),
        Kind::PauseApiserver => Fault::PauseApiserver(parts(rng, SERVERS)),
        Kind::CutApiserver => Fault::CutApiserver {
            servers: parts(rng, SERVERS),
            victims: any(rng, nodes),
        },
        Kind::KillScheduler => Fault::KillScheduler(parts(rng, SCHEDULERS)),
        Kind::PauseScheduler => Fault::PauseScheduler(parts(rng, SCHEDULERS)),
    }
}

fn one(rng: &mut StdRng, nodes: usize) -> usize {
    rng.random_range(1..=nodes)
}

fn set(rng: &mut StdRng, nodes: usize, size: usize) -> Victims {
    let mut all: Vec<usize> = (1..=nodes).collect();
    all.shuffle(rng);
    all.truncate(size);
    all.sort_unstable();
    Victims::Nodes(all)
}

/// One, a minority, a majority, the leader, all. Without a majority nothing happens that could go wrong: that is rare.
fn any(rng: &mut StdRng, nodes: usize) -> Victims {
    match rng.random_range(0..10) {
        0..3 => set(rng, nodes, 1),
        3..5 => set(rng, nodes, ((nodes - 1) / 2).max(1)),
        5..8 => Victims::Leader,
        8 => set(rng, nodes, nodes / 2 + 1),
        _ => set(rng, nodes, nodes),
    }
}

/// One or the leader.
fn few(rng: &mut StdRng, nodes: usize) -> Victims {
    if rng.random_bool(0.5) {
        Victims::Leader
    } else {
        set(rng, nodes, 1)
    }
}

/// Mostly one of so many processes, sometimes all.
fn parts(rng: &mut StdRng, count: usize) -> Vec<usize> {
    if rng.random_ratio(1, 4) {
        (1..=count).collect()
    } else {
        vec![one(rng, count)]
    }
}

fn way(rng: &mut StdRng) -> Way {
    *[Way::Both, Way::In, Way::Out].choose(rng).unwrap_or(&Way::Both)
}

fn clock(rng: &mut StdRng, nodes: usize) -> Fault {
    let sign = if rng.random_bool(0.5) { 1 } else { -1 };
    let (mut offset_ms, mut drift_ppm, mut strobe_ms, mut strobe_period_ms) = (0, 0, 0, 0);
    match rng.random_range(0..3) {
        // From a blink to a day.
        0 => offset_ms = sign * 10_i64.pow(rng.random_range(2..8)),
        1 => drift_ppm = sign * rng.random_range(10_000..900_000),
        _ => {
            strobe_ms = sign * rng.random_range(200..60_000);
            strobe_period_ms = rng.random_range(10..500);
        }
    }
    Fault::Clock {
        victims: any(rng, nodes),
        offset_ms,
        drift_ppm,
        strobe_ms,
        strobe_period_ms,
    }
}
