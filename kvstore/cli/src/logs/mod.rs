//! Logs in the form of etcd's: one line an event, JSON or columns, to standard error, files or the journal.
//!
//! What it is: a sink for [`Notice`]s of this crate and, through `tracing`, for events of every other one.
//! Invariants: a line is written whole or not at all; a message that repeats too often is thinned out, so that a flood
//! cannot fill the disk; a line that cannot be written is lost, and stops nobody.

mod format;
mod journal;
mod layer;
mod output;
mod rotate;
mod sampling;

use crate::notice::{Level, Notice};
use crate::settings::LogSettings;
use format::Form;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use output::Output;
use sampling::{Repeated, Sampling};
use std::sync::OnceLock;

static LOGGER: OnceLock<Logger> = OnceLock::new();

pub struct Logger {
    form: Form,
    level: Level,
    outputs: Vec<Output>,
    sampling: Sampling,
    zone: TimeZone,
}

/// One line to be.
struct Line<'a> {
    level: Level,
    message: &'a str,
    file: &'a str,
    line: u32,
    fields: &'a [(String, serde_json::Value)],
}

impl Logger {
    /// To standard error, for what is told before the settings are known.
    fn early() -> Logger {
        Logger {
            form: Form::Json,
            level: Level::Info,
            outputs: vec![Output::Stderr],
            sampling: Sampling::new(),
            zone: TimeZone::system(),
        }
    }

    fn new(settings: &LogSettings) -> Result<Logger, String> {
        match settings.logger.as_str() {
            "zap" => {}
            "capnslog" => return Err("--logger=capnslog is removed in v3.5".to_owned()),
            other => return Err(format!("unknown logger option {other:?}")),
        }
        let outputs = output::open(settings)?;
        let level = Level::parse(&settings.level).ok_or_else(|| format!("unrecognized level: {:?}", settings.level))?;
        Ok(Logger {
            form: Form::parse(&settings.format)?,
            level,
            outputs,
            sampling: Sampling::new(),
            zone: TimeZone::system(),
        })
    }

    /// Whether a library may tell something at this place once more.
    fn hears(&self, level: Level, file: &str, line: u32) -> bool {
        let now = Timestamp::now().as_second();
        self.sampling.admits(level, &Repeated::Place(file, line), now)
    }

    fn write(&self, line: &Line<'_>) {
        if line.level < self.level {
            return;
        }
        let now = Timestamp::now();
        let repeated = Repeated::Message(line.message);
        if line.level < Level::Error && !self.sampling.admits(line.level, &repeated, now.as_second()) {
            return;
        }
        let text = self.form.line(line, &Zoned::new(now, self.zone.clone()));
        for output in &self.outputs {
            output.write(line.level, &text);
        }
    }
}

/// Sets logging up, once for the process, and sends `tracing`'s events there too.
pub fn init(settings: &LogSettings) -> Result<(), String> {
    let logger = Logger::new(settings)?;
    let level = logger.level;
    if LOGGER.set(logger).is_err() {
        return Err("logging has been set up already".to_owned());
    }
    layer::install(level).map_err(|e| format!("set up logging: {e}"))
}

/// Writes one.
pub fn emit(notice: &Notice) {
    let line = Line {
        level: notice.level,
        message: &notice.message,
        file: notice.caller.file(),
        line: notice.caller.line(),
        fields: &notice.fields,
    };
    match LOGGER.get() {
        Some(logger) => logger.write(&line),
        None => Logger::early().write(&line),
    }
}

#[track_caller]
pub fn info(message: &str) -> Notice {
    Notice::new(Level::Info, message)
}

#[track_caller]
pub fn warn(message: &str) -> Notice {
    Notice::new(Level::Warn, message)
}

#[track_caller]
pub fn fatal(message: &str) -> Notice {
    Notice::new(Level::Fatal, message)
}

impl Notice {
    pub fn log(&self) {
        emit(self);
    }
}
