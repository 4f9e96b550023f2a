//! `run`, `check`, `report` and `list`.

use super::args::{Kind, RunArgs, TargetArgs};
use super::{Done, signals};
use crate::checker::Verdict;
use crate::faults;
use crate::history::Folder;
use crate::report;
use crate::runner::{self, Ruling, RunError, RunSpec};
use crate::workload;
use crate::world::kube::KubeSpec;
use crate::world::{self, Target};
use rand::Rng;
use std::path::{Path, PathBuf};

/// Findings that are shown; all of them stand in `verdict.json`.
const LINES_MAX: usize = 20;

pub(super) fn run(asked: &RunArgs) -> Done {
    let seed = asked.seed.unwrap_or_else(|| rand::rng().random_range(1..1_000_000_000));
    let spec = RunSpec {
        seed,
        target: target(&asked.target)?,
        nodes: asked.target.nodes.into(),
        time: asked.time,
        workloads: asked.workload.clone(),
        kube: control_plane(&asked.target)?,
        faults: asked.faults.clone(),
        bug: asked.bug.clone(),
        rate: asked.target.rate,
        clients: asked.target.clients.map(usize::from),
        flags: asked.target.flags.clone(),
        folder: asked
            .folder
            .clone()
            .unwrap_or_else(|| asked.target.out.join(name(seed, &asked.workload, &asked.faults))),
        quiet: asked.target.quiet,
    };
    spec.workloads()?;
    world::enter()?;
    println!("seed {seed}, folder {}", spec.folder.display());
    let ruling = runner::run(&spec, &signals::INTERRUPTED)?;
    let verdict = tell(&ruling, &spec.folder);
    if verdict != Verdict::Pass {
        report(&spec.folder)?;
    }
    Ok(verdict)
}

pub(super) fn check(folder: &Path) -> Done {
    let opened = Folder::open(folder).map_err(|e| RunError::Usage(e.to_string()))?;
    let ruling = runner::judge(&opened)?;
    Ok(tell(&ruling, folder))
}

pub(super) fn report(folder: &Path) -> Done {
    let opened = Folder::open(folder).map_err(|e| RunError::Usage(e.to_string()))?;
    let page = report::write(&opened).map_err(|source| RunError::Io {
        doing: format!("draw {}", folder.display()),
        source,
    })?;
    println!("{}", page.display());
    Ok(Verdict::Pass)
}

pub(super) fn list() {
    println!("Workloads:");
    for workload in workload::every() {
        println!("  {:<14} {}", workload.name(), workload.about());
    }
    println!("Faults, beside random, all and none:");
    for kind in faults::Kind::ALL {
        println!("  {kind}");
    }
}

/// Says what the verdict is.
fn tell(ruling: &Ruling, folder: &Path) -> Verdict {
    let lines = ruling.lines();
    for line in lines.iter().take(LINES_MAX) {
        println!("{line}");
    }
    if lines.len() > LINES_MAX {
        println!("… and {} more", lines.len() - LINES_MAX);
    }
    let word = match ruling.verdict {
        Verdict::Pass => "pass",
        Verdict::Unknown => "unknown",
        Verdict::Fail => "fail",
    };
    println!("{word}: {}", folder.join("verdict.json").display());
    ruling.verdict
}

/// A name for the folder of a run: when, what, and the seed.
fn name(seed: u64, workloads: &[String], faults: &[String]) -> String {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S");
    format!("{now}-{}-{}-{seed}", workloads.join("+"), faults.join("+"))
}

/// The program that is tested.
pub(super) fn target(asked: &TargetArgs) -> Result<Target, RunError> {
    let named = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let path = match (asked.binary.clone(), asked.target) {
        (Some(path), _) => Some(path),
        (None, Kind::Etcd) => named("ETCD"),
        (None, Kind::Keelson) => beside().or_else(|| named("KEELSON_KVSTORE_BIN")),
    };
    let Some(path) = path else {
        return Err(RunError::Usage(match asked.target {
            Kind::Keelson => {
                "there is no program to test: build it (cargo build --release -p keelson-kvstore-cli) and \
                              name it with --binary or $KEELSON_KVSTORE_BIN"
                    .to_owned()
            }
            Kind::Etcd => "there is no etcd to test: name it with --binary or $ETCD".to_owned(),
        }));
    };
    let path = std::fs::canonicalize(&path).map_err(|e| RunError::Usage(format!("{}: {e}", path.display())))?;
    Ok(match asked.target {
        Kind::Keelson => Target::Keelson(path),
        Kind::Etcd => Target::Etcd(path),
    })
}

/// The programs of the control plane, where one is to be found.
fn control_plane(asked: &TargetArgs) -> Result<Option<KubeSpec>, RunError> {
    let named = || std::env::var_os("KEELSON_BIN").map(PathBuf::from);
    let found =
        |path: PathBuf| std::fs::canonicalize(&path).map_err(|e| RunError::Usage(format!("{}: {e}", path.display())));
    let keelson = asked.keelson.clone().or_else(beside).or_else(named);
    let Some(keelson) = keelson.or(asked.kube_apiserver.clone()) else {
        return Ok(None);
    };
    let mut kube = KubeSpec::new(&found(keelson)?);
    kube.both = asked.both_schedulers;
    if let Some(path) = &asked.kube_apiserver {
        kube.apiserver = found(path.clone())?;
    }
    if let Some(path) = &asked.kube_scheduler {
        kube.scheduler = found(path.clone())?;
    }
    Ok(Some(kube))
}

/// `keelson` in the folder of this program.
fn beside() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name("keelson");
    path.is_file().then_some(path)
}
