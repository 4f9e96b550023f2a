//! `soak`.

use super::args::{Kind, SoakArgs};
use super::run::target;
use super::{Done, signals};
use crate::runner::RunError;
use crate::soak::{self, SoakSpec};
use crate::workload;
use rand::Rng;

pub(super) fn soak(asked: &SoakArgs) -> Done {
    let seed = asked.seed.unwrap_or_else(|| rand::rng().random_range(1..1_000_000_000));
    // What is wrong with it is found now, not by every run.
    let target = target(&asked.target)?;
    let workloads = workload::chosen(&asked.workload).map_err(RunError::Usage)?;
    let out = asked.target.out.join(format!("soak-{seed}"));
    println!("seed {seed}, folder {}", out.display());
    let mut arguments = asked.target.passed_on();
    let kind = match asked.target.target {
        Kind::Keelson => "keelson",
        Kind::Etcd => "etcd",
    };
    arguments.extend(["--target", kind, "--quiet", "--binary"].map(str::to_owned));
    arguments.push(target.program().to_string_lossy().into_owned());
    let spec = SoakSpec {
        seed,
        time: asked.time,
        run_time: asked.run_time,
        workloads: workloads.iter().map(|w| w.name().to_owned()).collect(),
        faults: asked.faults.clone(),
        arguments,
        out: out.clone(),
        keep: asked.keep,
    };
    soak::run(&spec, &signals::INTERRUPTED).map_err(|source| RunError::Io {
        doing: format!("soak in {}", out.display()),
        source,
    })
}
