//! The gate: proof that the tests bite. Each seeded bug is planted in the target and must be found, by the checker that
//! is there for it and under the name that it has in the field; the clean build must stay green over the same time.
//!
//! What it is: a [table](table) with a row a bug, and a loop that makes runs by the program itself (`keelson-jepsen
//! run --bug …`), since a run has namespaces and processes of its own. What it is not: it judges nothing; it reads
//! `verdict.json`.
//!
//! # Invariants
//! - A run that fails for a reason that its row does not name has not caught the bug.
//! - A clean run that is unknown is not green.
//! - What is planted is chosen by the environment of the members: one program holds all bugs, and the clean one none.

mod attempt;
mod build;
mod error;
mod report;
mod table;

pub use error::GateError;
pub use report::{Clean, Hunt, Outcome};
pub use table::{Program, Row, rows};

use crate::checker::Verdict;
use attempt::{Attempt, Seen};
use build::Programs;
use keelson_bugs::Bug;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What is asked of the gate.
#[derive(Clone, Debug, clap::Args)]
pub struct GateArgs {
    /// Only these bugs, by commas [default: all].
    #[arg(long, value_delimiter = ',')]
    pub bug: Vec<String>,
    /// Lists the bugs and how they are hunted.
    #[arg(long)]
    pub list: bool,
    /// The folder that holds the runs and `gate.json`.
    #[arg(long, default_value = "runs/gate")]
    pub out: PathBuf,
    /// The datastore with seeded bugs [default: cargo builds it].
    #[arg(long)]
    pub binary: Option<PathBuf>,
    /// The datastore without [default: cargo builds it].
    #[arg(long)]
    pub clean_binary: Option<PathBuf>,
    /// `keelson` with seeded bugs, for those of the API server [default: cargo builds it].
    #[arg(long)]
    pub keelson: Option<PathBuf>,
    /// `keelson` without [default: cargo builds it].
    #[arg(long)]
    pub clean_keelson: Option<PathBuf>,
    /// The first seed of every row, in place of its own.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Leaves the runs of the clean build out.
    #[arg(long)]
    pub no_clean: bool,
}

/// Does what is asked. Pass: every bug was caught and the clean build is green. Unknown: the clean build could not be
/// judged.
///
/// # Errors
/// When a bug has no row, a program cannot be built, or the folder cannot be written.
pub fn run(asked: &GateArgs) -> Result<Verdict, GateError> {
    let rows = chosen(&asked.bug)?;
    if asked.list {
        report::list(&rows);
        return Ok(Verdict::Pass);
    }
    let programs = Programs::find(asked, &rows)?;
    std::fs::create_dir_all(&asked.out).map_err(GateError::io(format!("make {}", asked.out.display())))?;
    let mut outcome = Outcome::default();
    for row in &rows {
        let hunt = hunt(row, &programs, asked)?;
        println!("{}", report::line(&hunt));
        outcome.hunts.push(hunt);
        outcome.write(&asked.out)?;
    }
    if !asked.no_clean {
        for row in &rows {
            let clean = clean(row, &programs, asked)?;
            println!("{}", report::clean_line(&clean));
            outcome.clean.push(clean);
            outcome.write(&asked.out)?;
        }
    }
    report::table(&outcome);
    Ok(outcome.verdict())
}

fn chosen(names: &[String]) -> Result<Vec<Row>, GateError> {
    if names.is_empty() {
        return Ok(rows());
    }
    names
        .iter()
        .map(|name| {
            let bug = Bug::named(name).ok_or_else(|| GateError::NoSuchBug(name.clone()))?;
            let row = rows().into_iter().find(|row| row.bug == bug);
            row.ok_or_else(|| GateError::NoRow(name.clone()))
        })
        .collect()
}

/// Makes runs with the bug until one finds it, or the budget is over. The last run may end after it.
fn hunt(row: &Row, programs: &Programs, asked: &GateArgs) -> Result<Hunt, GateError> {
    let mut hunt = Hunt::new(row);
    let begun = Instant::now();
    for number in 0.. {
        if begun.elapsed() >= row.budget {
            break;
        }
        let attempt = Attempt {
            row,
            bug: Some(row.bug),
            programs,
            seed: row.seed(asked.seed, number),
            time: row.time,
            out: asked.out.join(row.bug.name()),
        };
        let seen = attempt.make()?;
        let caught = seen.expected(row);
        hunt.note(&seen, attempt.seed);
        if let Some(anomaly) = caught {
            hunt.caught(anomaly, attempt.seed, begun.elapsed());
            break;
        }
    }
    Ok(hunt)
}

/// The same runs of the clean build, for as long as the budget of its row is: all of them must pass.
fn clean(row: &Row, programs: &Programs, asked: &GateArgs) -> Result<Clean, GateError> {
    let mut clean = Clean::new(row);
    let mut left = row.budget;
    for number in 0.. {
        // A rest too short for a run of its own is added to the last.
        let time = if left < row.time * 2 { left } else { row.time };
        let attempt = Attempt {
            row,
            bug: None,
            programs,
            seed: row.seed(asked.seed, number),
            time,
            out: asked.out.join(format!("{}-clean", row.bug.name())),
        };
        let seen: Seen = attempt.make()?;
        clean.note(&seen, attempt.seed);
        left = left.saturating_sub(time);
        if left < Duration::from_secs(1) {
            break;
        }
    }
    Ok(clean)
}

#[cfg(test)]
mod tests;
