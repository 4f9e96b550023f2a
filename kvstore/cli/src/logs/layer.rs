//! Events of `tracing` become lines.

use super::{LOGGER, Line};
use crate::notice::Level;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry};

/// Libraries that talk much: their warnings are enough, unless everything is asked for.
const TALKATIVE: [&str; 8] = ["openraft", "hyper", "h2", "rustls", "tower", "hickory", "tonic", "mio"];

struct Lines {
    level: Level,
}

pub fn install(level: Level) -> Result<(), TryInitError> {
    Registry::default().with(Lines { level }).try_init()
}

fn level_of(level: tracing::Level) -> Level {
    match level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        _ => Level::Debug,
    }
}

fn is_talkative(target: &str) -> bool {
    let root = target.split("::").next().unwrap_or_default();
    TALKATIVE.iter().any(|name| root.starts_with(name))
}

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // Traces are for debuggers of this program; etcd has no such level.
        let wanted = metadata.is_event() && *metadata.level() <= tracing::Level::DEBUG;
        let level = level_of(*metadata.level());
        wanted && level >= self.level && (level >= Level::Warn || !is_talkative(metadata.target()))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.level {
            Level::Debug => LevelFilter::DEBUG,
            Level::Info => LevelFilter::INFO,
            Level::Warn => LevelFilter::WARN,
            Level::Error => LevelFilter::ERROR,
            Level::Panic | Level::Fatal => LevelFilter::OFF,
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(logger) = LOGGER.get() else { return };
        let metadata = event.metadata();
        let level = level_of(*metadata.level());
        let file = metadata.file().unwrap_or(metadata.target());
        let line = metadata.line().unwrap_or_default();
        // Before it is put into words: those are what a flood costs.
        if is_talkative(metadata.target()) && !logger.hears(level, file, line) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        logger.write(&Line {
            level,
            message: &fields.message,
            file,
            line,
            fields: &fields.rest,
        });
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(String, Value)>,
}

impl Fields {
    /// `member_id` is `member-id`, as etcd writes names.
    fn push(&mut self, field: &Field, value: impl Into<Value>) {
        self.rest.push((field.name().replace('_', "-"), value.into()));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            // What the `log` crate's events carry besides.
            name if name.starts_with("log.") => {}
            _ => self.push(field, text),
        }
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name if name.starts_with("log.") => {}
            _ => self.push(field, value),
        }
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value);
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.push(field, value.to_string());
    }
}
