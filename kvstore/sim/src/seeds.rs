//! Many seeds, on several threads: each simulation is one thread's alone.

use crate::options::Options;
use crate::run::{Report, run};
use parking_lot::Mutex;
use std::io;
use std::ops::RangeInclusive;

/// Runs every seed, tells of each as it ends, and returns how many violated something.
pub fn run_seeds(
    seeds: RangeInclusive<u64>,
    threads: usize,
    options: impl Fn(u64) -> Options + Sync,
    tell: impl Fn(&Report) + Sync,
) -> io::Result<u64> {
    let (next, failed) = (Mutex::new(seeds), Mutex::new(Ok(0)));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let Some(seed) = next.lock().next() else { return };
                    let report = run(&options(seed));
                    let mut failed = failed.lock();
                    match report {
                        Ok(report) => {
                            tell(&report);
                            if let Ok(failed) = failed.as_mut() {
                                *failed += u64::from(report.violation.is_some());
                            }
                        }
                        Err(e) => {
                            *failed = Err(e);
                            return;
                        }
                    }
                }
            });
        }
    });
    failed.into_inner()
}
