//! Who runs when: the sides by turns, and workloads over the same data on one filling of it.

use crate::fill::{Filled, fill};
use crate::measure;
use crate::report::Row;
use crate::target::{Cluster, Kind};
use crate::workload::{Data, Ground, Sample, Work, Workload};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// After a filling, so that what the members still have to put away counts as theirs.
const SETTLE: Duration = Duration::from_secs(1);

pub struct Options {
    pub sides: Vec<Kind>,
    pub rounds: usize,
    /// Of workloads that fill a cluster of their own with much.
    pub own_rounds: usize,
    pub time: Duration,
    pub dir: Option<PathBuf>,
}

impl Options {
    fn folder(&self) -> io::Result<TempDir> {
        match &self.dir {
            Some(dir) => tempfile::tempdir_in(dir),
            None => tempfile::tempdir(),
        }
    }

    /// Sides in the order of a round: who goes first changes, so that neither always finds the machine as the other
    /// left it.
    fn order(&self, round: usize) -> Vec<usize> {
        let all = 0..self.sides.len();
        if round.is_multiple_of(2) {
            all.collect()
        } else {
            all.rev().collect()
        }
    }
}

enum Step {
    Fresh(&'static Workload),
    Group(Data, Vec<&'static Workload>),
}

fn steps(wanted: &[&'static Workload]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for workload in wanted {
        if workload.ground() == Ground::Fresh {
            steps.push(Step::Fresh(workload));
            continue;
        }
        let group = steps.iter_mut().find_map(|step| match step {
            Step::Group(data, members) if *data == workload.data => Some(members),
            _ => None,
        });
        match group {
            Some(members) => members.push(workload),
            None => steps.push(Step::Group(workload.data, vec![workload])),
        }
    }
    steps
}

/// Runs all that is wanted; rows are handed on as they are done.
pub fn run(
    wanted: &[&'static Workload],
    options: &Options,
    mut on: impl FnMut(Row) -> io::Result<()>,
) -> io::Result<()> {
    for step in steps(wanted) {
        match step {
            Step::Fresh(workload) => on(fresh(workload, options)?)?,
            Step::Group(data, members) => {
                let mut sides = options
                    .sides
                    .iter()
                    .map(|kind| Side::new(kind, options))
                    .collect::<io::Result<Vec<_>>>()?;
                let (last, readers): (Vec<_>, Vec<_>) =
                    members.into_iter().partition(|w| w.ground() == Ground::SharedLast);
                // Those that change the data come one by one, each in all rounds, after all who only read it.
                let phases = std::iter::once(readers).chain(last.into_iter().map(|w| vec![w]));
                for phase in phases.filter(|p| !p.is_empty()) {
                    for row in shared(&data, &phase, &mut sides, options) {
                        on(row)?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn fresh(workload: &'static Workload, options: &Options) -> io::Result<Row> {
    let mut row = Row::new(workload.name);
    let begin = Instant::now();
    let own = matches!(workload.work, Work::Own(_));
    for round in 0..if own { options.own_rounds } else { options.rounds } {
        for kind in options.order(round).into_iter().filter_map(|at| options.sides.get(at)) {
            let dir = options.folder()?;
            row.add(kind.name, measure::fresh(kind, workload, dir.path(), options.time));
        }
    }
    row.seconds = begin.elapsed().as_secs_f64();
    Ok(row)
}

/// A side's folder, and its members when they run.
struct Side {
    kind: Kind,
    // Before the folder, so that it is dropped first: members end before their data goes.
    cluster: Option<(Cluster, Filled)>,
    dir: TempDir,
}

impl Side {
    fn new(kind: &Kind, options: &Options) -> io::Result<Side> {
        Ok(Side {
            kind: kind.clone(),
            cluster: None,
            dir: options.folder()?,
        })
    }

    /// Its members, running on what they hold; the first time they are filled and started again.
    fn up(&mut self, data: &Data) -> io::Result<&mut (Cluster, Filled)> {
        let (mut cluster, filled) = match self.cluster.take() {
            Some(known) => known,
            None => filled(&self.kind, data, self.dir.path())?,
        };
        if !cluster.is_running() {
            cluster.run()?;
        }
        Ok(self.cluster.insert((cluster, filled)))
    }
}

fn filled(kind: &Kind, data: &Data, dir: &Path) -> io::Result<(Cluster, Filled)> {
    let mut cluster = Cluster::start(kind, data.members, dir, &[])?;
    let before = cluster.usage()?;
    let mut filled = fill(&cluster, data)?;
    std::thread::sleep(SETTLE);
    filled.used = cluster.usage()?.since(before);
    cluster.stop()?;
    filled.disk_bytes = cluster.disk_bytes()?;
    Ok((cluster, filled))
}

/// All rounds of some workloads on the same folders.
fn shared(data: &Data, phase: &[&'static Workload], sides: &mut [Side], options: &Options) -> Vec<Row> {
    let mut rows: Vec<_> = phase.iter().map(|w| Row::new(w.name)).collect();
    for round in 0..options.rounds {
        for at in options.order(round) {
            let Some(side) = sides.get_mut(at) else { continue };
            for (workload, row) in phase.iter().zip(&mut rows) {
                // The first of them has the filling and the starts on its account.
                let begin = Instant::now();
                row.add(side.kind.name, on(side, data, workload, options.time));
                row.seconds += begin.elapsed().as_secs_f64();
            }
            if let Some((cluster, _)) = &mut side.cluster
                && let Err(e) = cluster.stop()
            {
                rows.iter_mut().for_each(|r| r.fail(side.kind.name, &e));
            }
        }
    }
    rows
}

fn on(side: &mut Side, data: &Data, workload: &Workload, time: Duration) -> io::Result<Sample> {
    let (cluster, filled) = side.up(data)?;
    measure::on(cluster, workload, filled, time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::all;

    #[test]
    fn data_is_filled_once() {
        let wanted: Vec<_> = all().collect();
        let steps = steps(&wanted);
        let groups: Vec<_> = steps
            .iter()
            .filter_map(|s| match s {
                Step::Group(data, _) => Some(*data),
                Step::Fresh(_) => None,
            })
            .collect();
        let rows = steps.iter().map(|s| match s {
            Step::Group(_, members) => members.len(),
            Step::Fresh(_) => 1,
        });
        assert_eq!(rows.sum::<usize>(), wanted.len());
        for (n, data) in groups.iter().enumerate() {
            assert!(!groups[..n].contains(data), "{data:?} twice");
        }
    }
}
