//! Runs seeds: `keelson-sim --seeds 1..200 [--members 3] [--steps 300] [--threads 2] [--trace SEED]`.

use keelson_sim::{Options, Report, run, run_seeds};
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "keelson-sim [--seeds FROM..TO] [--members N] [--steps N] [--threads N] [--trace SEED]";

struct Arguments {
    from: u64,
    to: u64,
    members: Option<u64>,
    steps: Option<u64>,
    threads: usize,
    trace: bool,
}

fn number(value: Option<String>, of: &str) -> Result<u64, String> {
    let value = value.ok_or_else(|| format!("{of} needs a value"))?;
    value.parse().map_err(|_| format!("{of}: {value} is no number"))
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut out = Arguments {
        from: 1,
        to: 200,
        members: None,
        steps: None,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        trace: false,
    };
    while let Some(name) = given.next() {
        match name.as_str() {
            "--seeds" => {
                let value = given.next().ok_or("--seeds needs a value")?;
                let (from, to) = value.split_once("..").unwrap_or((&value, &value));
                out.from = number(Some(from.to_owned()), "--seeds")?;
                out.to = number(Some(to.trim_start_matches('=').to_owned()), "--seeds")?;
            }
            "--members" | "--nodes" => {
                let members = number(given.next(), &name)?;
                if !(1..=5).contains(&members) {
                    return Err(format!("{name}: a group has 1 to 5 members"));
                }
                out.members = Some(members);
            }
            "--steps" => out.steps = Some(number(given.next(), &name)?),
            "--threads" => out.threads = number(given.next(), &name)?.clamp(1, 64) as usize,
            "--trace" => {
                let seed = number(given.next(), &name)?;
                (out.from, out.to, out.trace) = (seed, seed, true);
            }
            _ => return Err(format!("{name} is unknown\n{USAGE}")),
        }
    }
    Ok(out)
}

fn print(report: &Report, whole: bool) {
    if whole || report.violation.is_some() {
        for line in &report.lines {
            println!("{line}");
        }
    }
    println!(
        "seed {}: {}; {} members, {:.1} s simulated, {} polls, {:?}, trace {:016x}",
        report.seed,
        report.violation.as_deref().unwrap_or("good"),
        report.members,
        report.simulated.as_secs_f64(),
        report.polls,
        report.counts,
        report.hash
    );
}

fn main() -> ExitCode {
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::from(2);
        }
    };
    let options = |seed| {
        let mut options = Options::new(seed);
        options.keep_trace = arguments.trace;
        options.members = arguments.members.unwrap_or(options.members);
        options.steps = arguments.steps.unwrap_or(options.steps);
        options
    };
    let begun = Instant::now();
    let done = if arguments.trace {
        run(&options(arguments.from)).map(|report| {
            print(&report, true);
            u64::from(report.violation.is_some())
        })
    } else {
        run_seeds(arguments.from..=arguments.to, arguments.threads, options, |report| {
            print(report, false)
        })
    };
    let failed = match done {
        Ok(failed) => failed,
        Err(e) => {
            eprintln!("the folder of a simulation: {e}");
            return ExitCode::from(2);
        }
    };
    let seeds = arguments.to.saturating_sub(arguments.from) + 1;
    println!(
        "{seeds} seeds, {failed} failed, in {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
