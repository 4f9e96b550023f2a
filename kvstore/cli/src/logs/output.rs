//! Where lines go.

use super::journal::Journal;
use super::rotate::{Rotating, Rotation};
use crate::fail::io_text;
use crate::notice::Level;
use crate::settings::{LOG_OUTPUT_DEFAULT, LogSettings};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::{Mutex, PoisonError};

const STDERR: &str = "stderr";
const STDOUT: &str = "stdout";
const JOURNAL: &str = "systemd/journal";
const NOWHERE: &str = "/dev/null";

pub enum Output {
    Stderr,
    Stdout,
    File(Mutex<File>),
    Rotating(Mutex<Rotating>),
    Journal(Journal),
}

impl Output {
    /// Errors have nowhere to go: the line is lost.
    pub fn write(&self, level: Level, line: &str) {
        let bytes = line.as_bytes();
        let _ = match self {
            Output::Stderr => std::io::stderr().lock().write_all(bytes),
            Output::Stdout => std::io::stdout().lock().write_all(bytes),
            Output::File(file) => file.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes),
            Output::Rotating(file) => file.lock().unwrap_or_else(PoisonError::into_inner).write(bytes),
            Output::Journal(journal) => journal.write(level, line),
        };
    }
}

fn is_file(name: &str) -> bool {
    !matches!(name, LOG_OUTPUT_DEFAULT | STDERR | STDOUT)
}

/// Opens what `--log-outputs` lists.
pub fn open(settings: &LogSettings) -> Result<Vec<Output>, String> {
    let mut names = settings.outputs.clone();
    names.retain(|name| !name.is_empty());
    if names.is_empty() {
        names.push(LOG_OUTPUT_DEFAULT.to_owned());
    }
    if names.len() > 1 && names.iter().any(|n| n == LOG_OUTPUT_DEFAULT) {
        return Err(format!(
            "multi logoutput for {LOG_OUTPUT_DEFAULT:?} is not supported yet"
        ));
    }
    let rotation = if settings.rotation {
        Some(rotation(&names, &settings.rotation_json)?)
    } else {
        None
    };
    if names.iter().any(|n| n == JOURNAL) {
        if names.len() > 1 {
            return Err(format!(
                "running with systemd/journal but other '--log-outputs' values ({names:?}) are configured with 'default'; \
                 override 'default' value with something else"
            ));
        }
        let journal = Journal::open().map_err(|e| format!("can't find journal ({e})"))?;
        return Ok(vec![Output::Journal(journal)]);
    }
    if names.iter().any(|n| n == NOWHERE) {
        return Ok(Vec::new());
    }
    names.sort();
    names.dedup();
    names.iter().map(|name| open_one(name, rotation.as_ref())).collect()
}

fn open_one(name: &str, rotation: Option<&Rotation>) -> Result<Output, String> {
    let failed = |e: std::io::Error| format!("couldn't open sink {name:?}: open {name}: {}", io_text(&e));
    Ok(match (name, rotation) {
        (LOG_OUTPUT_DEFAULT | STDERR, _) => Output::Stderr,
        (STDOUT, _) => Output::Stdout,
        (_, Some(rotation)) => Output::Rotating(Mutex::new(Rotating::open(name.as_ref(), *rotation).map_err(failed)?)),
        (_, None) => {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(name)
                .map_err(failed)?;
            Output::File(Mutex::new(file))
        }
    })
}

fn rotation(names: &[String], json: &str) -> Result<Rotation, String> {
    if names.iter().filter(|n| is_file(n)).count() != 1 {
        return Err("--log-outputs requires a single file path when --log-rotate-config-json is defined".to_owned());
    }
    Rotation::parse(json)
}
