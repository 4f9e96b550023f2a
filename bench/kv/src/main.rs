//! The datastore beside a real etcd: the same load, the same settings, the same disk, in alternating rounds.
//!
//! What it is not: a test. It asserts nothing; it prints what it measured.

mod answers;
mod caller;
mod calls;
mod catalogue;
mod chart;
mod cross;
mod fill;
mod goals;
mod h2;
mod histogram;
mod large;
mod leases;
mod lists;
mod load;
mod machine;
mod measure;
mod report;
mod requests;
mod restart;
mod rounds;
mod target;
mod txns;
mod unary;
mod upkeep;
mod watching;
mod workload;

use clap::Parser;
use machine::Machine;
use rounds::Options;
use serde::Serialize;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use target::Kind;
use workload::{Workload, matches};

#[derive(Parser)]
#[command(about = "Measures the datastore beside a real etcd, in one run")]
struct Args {
    /// Our program, one that takes etcd's flags
    #[arg(long)]
    ours: PathBuf,
    /// The real etcd
    #[arg(long)]
    etcd: PathBuf,
    /// Only these workloads; `*` stands for anything
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Names of the workloads, and nothing else
    #[arg(long)]
    list: bool,
    /// The short list, one short round
    #[arg(long)]
    quick: bool,
    /// Rounds of each side
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of measuring a round
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Where data goes; it should be on the disk that matters
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Only one side: ours or etcd
    #[arg(long, value_parser = ["ours", "etcd"])]
    side: Option<String>,
    /// Of large-database, which is measured only when it is named: its size
    #[arg(long, default_value_t = 30)]
    large_gib: u64,
    /// Leave the large database in the folder of --dir; a later run takes it up
    #[arg(long, requires = "dir")]
    keep: bool,
    /// Fill the large database, leave it, and measure nothing
    #[arg(long, requires = "keep")]
    fill_only: bool,
    /// Every sample as JSON into this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// A chart of the ratios into this file
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Measure by etcd's own benchmark tool instead, to check this one
    #[arg(long, requires = "benchmark")]
    cross_check: bool,
    /// etcd's benchmark tool
    #[arg(long)]
    benchmark: Option<PathBuf>,
}

#[derive(Serialize)]
struct Results<'a> {
    machine: &'a Machine,
    rounds: usize,
    seconds: f64,
    rows: &'a [report::Row],
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench: {e}");
            ExitCode::FAILURE
        }
    }
}

/// The workloads that were asked for; a name of none is an error.
fn wanted(args: &Args) -> io::Result<Vec<&'static Workload>> {
    for pattern in &args.only {
        if !catalogue::all().any(|w| matches(pattern, w.name)) && !matches(pattern, large::NAME) {
            return Err(io::Error::other(format!(
                "no workload is named {pattern}; --list tells them"
            )));
        }
    }
    let asked = |w: &&Workload| {
        if args.only.is_empty() {
            !args.quick || w.quick
        } else {
            args.only.iter().any(|o| matches(o, w.name))
        }
    };
    Ok(catalogue::all().filter(asked).collect())
}

fn run(args: &Args) -> io::Result<()> {
    if args.list {
        catalogue::all().for_each(|w| println!("{}", w.name));
        println!("{}", large::NAME);
        return Ok(());
    }
    let wanted = wanted(args)?;
    let kind = |name, program: &PathBuf| Kind {
        name,
        program: program.clone(),
    };
    let mut sides = vec![kind("ours", &args.ours), kind("etcd", &args.etcd)];
    sides.retain(|s| args.side.as_ref().is_none_or(|only| only == s.name));
    let (rounds, seconds) = if args.quick {
        (1, 1.5)
    } else {
        (args.rounds, args.seconds)
    };
    let options = Options {
        sides,
        rounds,
        own_rounds: if args.only.is_empty() { 1 } else { rounds },
        time: Duration::from_secs_f64(seconds),
        dir: args.dir.clone(),
    };
    let dir = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let machine = Machine::look(&options.sides, &dir)?;
    println!("{}\n{rounds} rounds of {seconds} s a side", machine.lines());
    if args.cross_check {
        let tool = args.benchmark.clone().unwrap_or_default();
        return cross::run(&tool, &options);
    }
    if args.only.iter().any(|o| matches(o, large::NAME)) {
        measure_large(args, &options)?;
    }
    if !wanted.is_empty() {
        println!("{}", report::header());
    }
    let (mut rows, begin) = (Vec::new(), Instant::now());
    rounds::run(&wanted, &options, |row| {
        println!("{}", report::line(&row));
        report::below(&row).iter().for_each(|line| println!("{line}"));
        rows.push(row);
        // After each row: a run that is broken off leaves what it has.
        if let Some(path) = &args.json {
            let results = Results {
                machine: &machine,
                rounds,
                seconds,
                rows: &rows,
            };
            std::fs::write(path, serde_json::to_vec_pretty(&results)?)?;
        }
        if let Some(path) = &args.svg {
            std::fs::write(path, chart::svg(&machine, &rows))?;
        }
        Ok(())
    })?;
    println!("{:.0} minutes in all", begin.elapsed().as_secs_f64() / 60.0);
    let verdicts: Vec<_> = rows.iter().flat_map(goals::of).map(|v| v.reached()).collect();
    if !verdicts.is_empty() {
        let reached = verdicts.iter().filter(|v| **v).count();
        println!("{reached} of {} goals reached", verdicts.len());
    }
    let failed = rows.iter().filter(|r| !r.errors.is_empty()).count();
    if failed > 0 {
        return Err(io::Error::other(format!("{failed} workloads were not measured whole")));
    }
    Ok(())
}

/// One side after the other, once: they take long.
fn measure_large(args: &Args, options: &Options) -> io::Result<()> {
    let settings = large::Settings {
        gibibytes: args.large_gib,
        keep: args.keep,
        fill_only: args.fill_only,
        time: options.time,
    };
    let dir = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    println!("{}", large::header());
    for kind in &options.sides {
        let sample = large::measure(kind, &dir, &settings)
            .map_err(|e| io::Error::new(e.kind(), format!("{} on {}: {e}", large::NAME, kind.name)))?;
        if let Some(sample) = sample {
            println!("{}", large::lines(kind.name, &sample));
        }
    }
    Ok(())
}
