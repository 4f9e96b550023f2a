//! Something to log once logging is set up.

use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
    Panic,
    Fatal,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Panic => "panic",
            Level::Fatal => "fatal",
        }
    }

    /// Upper-case names are taken too, and nothing means `info`.
    pub fn parse(text: &str) -> Option<Level> {
        match text.to_ascii_lowercase().as_str() {
            "debug" => Some(Level::Debug),
            "info" | "" => Some(Level::Info),
            "warn" | "warning" => Some(Level::Warn),
            "error" => Some(Level::Error),
            "panic" | "dpanic" => Some(Level::Panic),
            "fatal" => Some(Level::Fatal),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub level: Level,
    pub message: String,
    /// In the order in which they are written.
    pub fields: Vec<(String, Value)>,
    /// File and line that it is of.
    pub caller: &'static std::panic::Location<'static>,
}

impl Notice {
    #[track_caller]
    pub fn new(level: Level, message: impl Into<String>) -> Notice {
        Notice {
            level,
            message: message.into(),
            fields: Vec::new(),
            caller: std::panic::Location::caller(),
        }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Notice {
        self.fields.push((name.to_owned(), value.into()));
        self
    }
}
