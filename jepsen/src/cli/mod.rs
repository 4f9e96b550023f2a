//! The command line: what is asked for, and what the exit code says.
//!
//! 0: pass, 1: fail, 2: unknown, 3: a wrong use or an environment in which no run can be made.

mod args;
mod run;
mod signals;
mod soak;

use crate::checker::Verdict;
use crate::gate;
use crate::runner::RunError;
use args::{Arguments, Verb};
use clap::Parser;
use std::process::ExitCode;

/// Nothing can be said.
const ERROR: u8 = 3;

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(e) => {
            // A closed standard output is no error of ours.
            let _ = e.print();
            return if e.use_stderr() {
                ExitCode::from(ERROR)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    if let Err(e) = signals::listen() {
        eprintln!("keelson-jepsen: listen to signals: {e}");
        return ExitCode::from(ERROR);
    }
    let done = match arguments.verb {
        Verb::Run(asked) => run::run(&asked),
        Verb::Check { folder } => run::check(&folder),
        Verb::Report { folder } => run::report(&folder),
        Verb::List => {
            run::list();
            Ok(Verdict::Pass)
        }
        Verb::Soak(asked) => soak::soak(&asked),
        Verb::Gate(asked) => gate::run(&asked).map_err(|e| RunError::Setup(e.to_string())),
    };
    match done {
        Ok(verdict) => ExitCode::from(code(verdict)),
        Err(e) => {
            eprintln!("keelson-jepsen: {e}");
            ExitCode::from(ERROR)
        }
    }
}

fn code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Fail => 1,
        Verdict::Unknown => 2,
    }
}

type Done = Result<Verdict, RunError>;
