//! The datastore as a program: started as `etcd`, or as `keelson kvstore`.
//!
//! What it is: etcd's command line, variables and configuration file, with its rules, messages and exit codes; logs in
//! its form; TLS with files that are renewed in place; signals. And the tools that work on files (`tools`).
//! What it is not: no request is served here; that is `keelson-kvstore`'s work, told what to do by its `Options`.
//!
//! Invariants:
//! - What cannot be understood stops the program before anything is opened, with a message that names it. What is
//!   understood and has no effect here is told by a warning.
//! - A normal start and stop logs nothing at level `error`.
//! - A store that has failed ends the process with an exit code that is not zero; nothing pretends.
//!
//! Entry point: [`main`].

mod args;
mod bootstrap;
mod discover;
mod fail;
mod gates;
mod help;
mod host;
mod logs;
mod notice;
mod notify;
mod options;
mod run;
mod settings;
mod signals;
#[cfg(test)]
mod tests;
mod tls;
mod tools;
mod urls;
mod validate;
mod version;

use args::UsageError;
use std::ffi::OsString;
use std::process::ExitCode;

/// A flag that cannot be read.
const USAGE: u8 = 2;

/// The name that people have in their scripts and units.
pub fn is_etcd(program: &str) -> bool {
    std::path::Path::new(program)
        .file_name()
        .is_some_and(|name| name == "etcd")
}

/// A reader that has gone away (`etcd --help | head`) is no error.
fn say(mut to: impl std::io::Write, text: &str) {
    let _ = to.write_all(text.as_bytes());
}

/// Runs the program: `args` are what follows its name (or what follows `keelson kvstore`).
pub fn main(program: &str, args: Vec<OsString>) -> ExitCode {
    #[cfg(feature = "seeded-bugs")]
    keelson_bugs::planted();
    let mut texts = Vec::with_capacity(args.len());
    for arg in args {
        match arg.into_string() {
            Ok(text) => texts.push(text),
            Err(arg) => {
                eprintln!("{program}: the argument {arg:?} is not UTF-8");
                return ExitCode::from(USAGE);
            }
        }
    }
    if let Some(code) = tools::dispatch(program, &texts) {
        return code;
    }
    let parsed = match args::parse(&texts) {
        Ok(parsed) => parsed,
        Err(UsageError::Help) => {
            say(std::io::stderr(), &help::usage());
            say(std::io::stdout(), &help::flags());
            return ExitCode::SUCCESS;
        }
        Err(UsageError::Flag(message)) => {
            say(std::io::stderr(), &format!("{message}\n{}", help::usage()));
            return ExitCode::from(USAGE);
        }
        Err(UsageError::Argument(message)) => {
            logs::warn("failed to verify flags").with("error", message).log();
            return ExitCode::FAILURE;
        }
    };
    if parsed.settings.print_version {
        say(std::io::stdout(), &version::text());
        return ExitCode::SUCCESS;
    }
    run::main(program, &texts, parsed)
}
