//! The arguments.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Consistency tests of the datastore: real processes, injected faults, recorded histories, and checkers that judge
/// them.
#[derive(Debug, Parser)]
#[command(
    name = "keelson-jepsen",
    version,
    after_help = "Exit codes: 0 pass, 1 fail, 2 unknown, 3 error."
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Makes one run and judges it.
    Run(RunArgs),
    /// Judges the folder of a run again.
    Check {
        /// The folder of the run.
        folder: PathBuf,
    },
    /// Makes run after run, with all workloads in rotation, and prints a table of them in the end.
    Soak(SoakArgs),
    /// Draws the folder of a run as one page, `report.html` in it.
    Report {
        /// The folder of the run.
        folder: PathBuf,
    },
    /// Lists the workloads and the faults.
    List,
    /// Plants seeded bugs, one after another, and finds each; the clean build must stay green.
    Gate(crate::gate::GateArgs),
}

/// What is tested, and where.
#[derive(Clone, Debug, Args)]
pub(super) struct TargetArgs {
    /// What kind of program is tested.
    #[arg(long, value_enum, default_value_t = Kind::Keelson)]
    pub(super) target: Kind,
    /// The program [default: `keelson` beside this one, or $KEELSON_KVSTORE_BIN; for etcd $ETCD].
    #[arg(long)]
    pub(super) binary: Option<PathBuf>,
    /// The program of API servers and schedulers [default: `keelson` beside this one, or $KEELSON_BIN].
    #[arg(long)]
    pub(super) keelson: Option<PathBuf>,
    /// Another program as API server: upstream's, for a control.
    #[arg(long)]
    pub(super) kube_apiserver: Option<PathBuf>,
    /// Another program as scheduler.
    #[arg(long)]
    pub(super) kube_scheduler: Option<PathBuf>,
    /// Both schedulers schedule at once, without an election.
    #[arg(long)]
    pub(super) both_schedulers: bool,
    /// Members.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(super) nodes: u8,
    /// More flags of the members, as `--flag=--snapshot-count=50`.
    #[arg(long = "flag", allow_hyphen_values = true)]
    pub(super) flags: Vec<String>,
    /// Parent of the folders of runs.
    #[arg(long, default_value = "runs")]
    pub(super) out: PathBuf,
    /// No progress on the terminal.
    #[arg(long)]
    pub(super) quiet: bool,
    /// Operations a second of each workload [default: the workload's own].
    #[arg(long, value_parser = rate)]
    pub(super) rate: Option<f64>,
    /// Clients of each workload [default: the workload's own].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) clients: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    Keelson,
    Etcd,
}

#[derive(Clone, Debug, Args)]
pub(super) struct RunArgs {
    /// Workloads, by commas; `all` are those on the datastore, `kube` those on API servers. They run side by side.
    #[arg(long, value_delimiter = ',', default_value = "all")]
    pub(super) workload: Vec<String>,
    /// Faults, by commas; `random` draws some by the seed, `none` has none.
    #[arg(long, value_delimiter = ',', default_value = "random")]
    pub(super) faults: Vec<String>,
    /// How long faults strike: `60s`, `2m`.
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub(super) time: Duration,
    /// Everything that is left to chance comes from it [default: drawn and printed].
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// A bug that is planted in the target, which was built with seeded bugs.
    #[arg(long)]
    pub(super) bug: Option<String>,
    /// The folder of the run [default: a new one in --out].
    #[arg(long)]
    pub(super) folder: Option<PathBuf>,
    #[command(flatten)]
    pub(super) target: TargetArgs,
}

#[derive(Clone, Debug, Args)]
pub(super) struct SoakArgs {
    /// How long new runs are begun: `30m`, `2h`.
    #[arg(long, default_value = "2h", value_parser = duration)]
    pub(super) time: Duration,
    /// How long faults strike in each run.
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub(super) run_time: Duration,
    /// Workloads that take their turns, by commas; `all` are those on the datastore, `kube` those on API servers.
    #[arg(long, value_delimiter = ',', default_value = "all")]
    pub(super) workload: Vec<String>,
    /// Faults of each run, by commas; `random` draws some by its seed.
    #[arg(long, value_delimiter = ',', default_value = "random")]
    pub(super) faults: Vec<String>,
    /// Seeds of the runs are drawn from it [default: drawn and printed].
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// Green runs keep their histories.
    #[arg(long)]
    pub(super) keep: bool,
    #[command(flatten)]
    pub(super) target: TargetArgs,
}

impl TargetArgs {
    /// The arguments of a run by another process, beside what it tests and where.
    pub(super) fn passed_on(&self) -> Vec<String> {
        let mut all = vec![format!("--nodes={}", self.nodes)];
        let path = |name: &str, path: &Option<PathBuf>| path.as_ref().map(|p| format!("--{name}={}", p.display()));
        all.extend(path("keelson", &self.keelson));
        all.extend(path("kube-apiserver", &self.kube_apiserver));
        all.extend(path("kube-scheduler", &self.kube_scheduler));
        all.extend(self.both_schedulers.then(|| "--both-schedulers".to_owned()));
        all.extend(self.flags.iter().map(|flag| format!("--flag={flag}")));
        all.extend(self.rate.map(|rate| format!("--rate={rate}")));
        all.extend(self.clients.map(|clients| format!("--clients={clients}")));
        all
    }
}

/// `90`, `90s`, `5m`, `2h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        unit => return Err(format!("{unit:?} is no unit of time: there are s, m and h")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is no time"))?;
    match number.checked_mul(unit) {
        Some(seconds) if (1..=100 * 3600).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("{text:?} is not between a second and 100 hours")),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.1..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err(format!("{text:?} is not between 0.1 and 100000 operations a second")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["", "s", "5d", "0s", "-1s", "999999999999h", "1.5s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(rate("NaN").is_err() && rate("0").is_err() && rate("inf").is_err());
    }
}
