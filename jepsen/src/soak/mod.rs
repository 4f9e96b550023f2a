//! Run after run for hours, and the table of what came of them.
//!
//! What it is: seeds drawn from one master seed, workloads in rotation, random faults, each run a process of its own.
//! What it is not: it judges nothing; it reads `verdict.json`.
//!
//! # Invariants
//! - A run without a verdict is an error and never green.
//! - Runs that are not green keep their folders.
//!
//! # Crash
//! `soak.json` is written after every run: what was done stands there when the soak is cut off.

mod one;
mod rotation;
mod table;

pub use table::{Row, Soak};

use crate::checker::Verdict;
use one::One;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rotation::Rotation;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a soak is to be.
#[derive(Clone, Debug)]
pub struct SoakSpec {
    /// Seeds of the runs are drawn from it.
    pub seed: u64,
    /// A run that has begun is brought to its end.
    pub time: Duration,
    /// How long faults strike in each run.
    pub run_time: Duration,
    /// Names of the workloads that take their turns.
    pub workloads: Vec<String>,
    /// As for `run --faults`.
    pub faults: Vec<String>,
    /// Runs' other arguments.
    pub arguments: Vec<String>,
    /// The folder that holds the runs and `soak.json`.
    pub out: PathBuf,
    /// Green runs keep their histories.
    pub keep: bool,
}

/// Makes runs until the time is over, or it is interrupted. The worst verdict counts; a run that came to none makes the
/// soak unknown.
///
/// # Errors
/// When a run cannot be started, or the folder cannot be written.
pub fn run(spec: &SoakSpec, interrupted: &AtomicBool) -> io::Result<Verdict> {
    std::fs::create_dir_all(&spec.out)?;
    let mut rng = StdRng::seed_from_u64(spec.seed);
    let mut rotation = Rotation::new(&spec.workloads);
    let begun = Instant::now();
    let mut soak = Soak::new(spec);
    while begun.elapsed() < spec.time && !interrupted.load(Ordering::Relaxed) {
        let seed = rng.random_range(1..1_000_000_000);
        let one = One {
            spec,
            seed,
            workloads: rotation.next(&mut rng),
            folder: spec.out.join(format!("{:04}-{seed}", soak.rows.len() + 1)),
        };
        let row = one.make()?;
        println!("{}", row.line());
        soak.rows.push(row);
        soak.seconds = begun.elapsed().as_secs();
        soak.write(&spec.out)?;
    }
    println!("{}", soak.markdown());
    Ok(soak.verdict())
}
