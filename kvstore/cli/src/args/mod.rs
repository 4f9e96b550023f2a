//! The command line, the `ETCD_*` variables and the configuration file.
//!
//! What it is: text to [`Settings`](crate::settings::Settings), by etcd's rules. With a file, flags and variables are
//! not read. A variable beside its own flag is refused: nobody could say which was meant.
//! What it is not: no check of whether the settings fit together (`validate`), and no effect on the process.

mod env;
mod parse;
mod set;
mod table;
pub mod values;
mod yaml;

pub use parse::{Parsed, UsageError, parse};
pub use table::{Effect, FLAGS, Group};

use crate::notice::Notice;
use crate::settings::Settings;
use std::collections::BTreeSet;
use std::path::Path;

/// Settings, and which of them were given.
#[derive(Debug, Default)]
pub struct Loaded {
    pub settings: Settings,
    pub given: BTreeSet<String>,
    pub notices: Vec<Notice>,
}

/// Why nothing was loaded, and what is to be told before it.
#[derive(Debug)]
pub struct LoadError {
    pub message: String,
    pub notices: Vec<Notice>,
}

/// Adds variables to what the command line said, or reads the file instead of both.
pub fn load(parsed: Parsed, env: &[(String, String)]) -> Result<Loaded, LoadError> {
    let Parsed { settings, given } = parsed;
    let from_env = || {
        let named = env.iter().find(|(key, _)| key == "ETCD_CONFIG_FILE");
        named.map(|(_, path)| path.clone()).unwrap_or_default()
    };
    let file = if settings.config_file.is_empty() {
        from_env()
    } else {
        settings.config_file.clone()
    };
    let mut loaded = Loaded {
        settings,
        given,
        notices: Vec::new(),
    };
    let outcome = if file.is_empty() {
        env::read(&mut loaded, env).map(|()| apply_command_line_rules(&mut loaded))
    } else {
        loaded.settings = Settings::default();
        loaded.given.clear();
        loaded.settings.config_file.clone_from(&file);
        yaml::read_file(&mut loaded, Path::new(&file))
    };
    match outcome {
        Ok(()) => Ok(loaded),
        Err(message) => Err(LoadError {
            message,
            notices: loaded.notices,
        }),
    }
}

/// Defaults that other flags take away.
fn apply_command_line_rules(loaded: &mut Loaded) {
    let given = |name: &str| loaded.given.contains(name);
    let settings = &mut loaded.settings;
    if given("listen-client-urls") && !given("advertise-client-urls") {
        settings.advertise_client_urls.clear();
    }
    let discovers = !settings.discovery_srv.is_empty()
        || !settings.discovery_srv_name.is_empty()
        || !settings.discovery.endpoints.is_empty();
    if discovers && !given("initial-cluster") {
        settings.initial_cluster.clear();
    }
}
