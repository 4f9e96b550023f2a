//! The command line, by the rules of Go's flag package: one dash or two, `--x v` and `--x=v`, switches without a value;
//! the first thing that is no flag, or `--`, ends the flags.

use super::set::set;
use super::table;
use crate::settings::Settings;
use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub struct Parsed {
    pub settings: Settings,
    pub given: BTreeSet<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum UsageError {
    /// `-h`, `--help`.
    Help,
    /// Told with the usage; the process ends with 2.
    Flag(String),
    /// Something that is no flag; the process ends with 1.
    Argument(String),
}

/// Name and value of `-name`, `--name`, `--name=value`. `None`: no flag.
fn split(arg: &str) -> Option<Result<(&str, Option<&str>), String>> {
    let body = arg.strip_prefix('-').filter(|rest| !rest.is_empty())?;
    let body = body.strip_prefix('-').unwrap_or(body);
    if body.is_empty() || body.starts_with('-') || body.starts_with('=') {
        return Some(Err(format!("bad flag syntax: {arg}")));
    }
    Some(Ok(match body.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (body, None),
    }))
}

/// Reads arguments, without the program's name.
pub fn parse(args: &[String]) -> Result<Parsed, UsageError> {
    let mut parsed = Parsed::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let (name, value) = match split(arg) {
            // What follows `--` is looked at as the first argument would be.
            _ if arg == "--" => match args.next() {
                Some(extra) => return Err(UsageError::Argument(format!("{extra:?} is not a valid flag"))),
                None => break,
            },
            None => return Err(UsageError::Argument(format!("{arg:?} is not a valid flag"))),
            Some(Err(e)) => return Err(UsageError::Flag(e)),
            Some(Ok(split)) => split,
        };
        let Some(flag) = table::find(name) else {
            return Err(match name {
                "help" | "h" => UsageError::Help,
                _ => UsageError::Flag(format!("flag provided but not defined: -{name}")),
            });
        };
        let text = match value {
            Some(value) => value,
            None if flag.is_switch() => "true",
            None => match args.next() {
                Some(value) => value,
                None => return Err(UsageError::Flag(format!("flag needs an argument: -{name}"))),
            },
        };
        set(&mut parsed.settings, flag, text).map_err(|e| {
            UsageError::Flag(match flag.is_switch() {
                true => format!("invalid boolean value {text:?} for -{name}: {e}"),
                false => format!("invalid value {text:?} for flag -{name}: {e}"),
            })
        })?;
        parsed.given.insert(name.to_owned());
    }
    Ok(parsed)
}
