//! How each fault is done and undone. Each function returns when its fault is over, by itself, by its time, or because
//! everything is to stop.

mod cluster;
mod destroy;
mod disk;
mod kube;
mod network;
mod process;
mod upkeep;

pub(super) use destroy::rejoin;
pub(super) use kube::mend;

use super::scene::Act;
use super::step::Fault;
use crate::world::kube::Part;

/// Does one fault from its beginning to its end.
pub(super) fn run(act: &Act<'_>) {
    match &act.step.fault {
        Fault::Kill(victims) => process::kill(act, victims),
        Fault::Pause(victims) => process::pause(act, victims),
        Fault::PowerLoss(victims) => process::power_loss(act, victims),
        Fault::Clock { .. } => process::clock(act),
        Fault::Partition(shape) => network::partition(act, shape),
        Fault::ClientPartition { victims, way } => network::clients(act, victims, *way),
        Fault::Loss { victims, percent } => network::loss(act, victims, *percent),
        Fault::Delay {
            victims,
            delay_ms,
            jitter_ms,
        } => network::delay(act, victims, *delay_ms, *jitter_ms),
        Fault::Blackhole { victims, way } => network::blackhole(act, victims, *way),
        Fault::SlowDisk { .. } => disk::slow(act),
        Fault::FsyncError(victims) => disk::sync_error(act, victims),
        Fault::FsyncSlow { victims, delay_ms } => disk::sync_slow(act, victims, *delay_ms),
        Fault::DiskFull(victims) => disk::full(act, victims),
        Fault::FsyncLie { node } => destroy::lie(act, *node),
        Fault::BitFlip { node, flips, seed } => destroy::flip(act, *node, *flips, *seed),
        Fault::Churn { victims, how } => cluster::churn(act, victims, *how),
        Fault::Leader { choice } => cluster::move_leader(act, *choice),
        Fault::Snapshot { node } => cluster::snapshot(act, *node),
        Fault::Compact {
            every_ms,
            behind_max,
            seed,
        } => upkeep::compact(act, *every_ms, *behind_max, *seed),
        Fault::KillApiserver(numbers) => kube::kill(act, &parts(numbers, Part::Apiserver)),
        Fault::PauseApiserver(numbers) => kube::pause(act, &parts(numbers, Part::Apiserver)),
        Fault::CutApiserver { servers, victims } => kube::cut(act, &parts(servers, Part::Apiserver), victims),
        Fault::KillScheduler(numbers) => kube::kill(act, &parts(numbers, Part::Scheduler)),
        Fault::PauseScheduler(numbers) => kube::pause(act, &parts(numbers, Part::Scheduler)),
        Fault::Defrag(victims) => upkeep::defragment(act, victims),
    }
}

fn parts(numbers: &[usize], kind: fn(usize) -> Part) -> Vec<Part> {
    numbers.iter().copied().map(kind).collect()
}
