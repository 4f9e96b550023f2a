//! `ETCD_*` variables: each flag has one.

use super::Loaded;
use super::set::set;
use super::table::FLAGS;
use crate::notice::{Level, Notice};

fn variable(flag: &str) -> String {
    format!("ETCD_{}", flag.replace('-', "_").to_ascii_uppercase())
}

/// Reads variables of flags that were not given. Empty ones count as unset.
pub fn read(loaded: &mut Loaded, env: &[(String, String)]) -> Result<(), String> {
    let find = |key: &str| env.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    let mut problem = None;
    let mut used = Vec::new();
    for flag in FLAGS {
        let key = variable(flag.name);
        if find(&key).is_some() && loaded.given.contains(flag.name) {
            return Err(format!(
                "conflicting environment variable {key:?} is shadowed by corresponding command-line flag (either unset \
                 environment variable or disable flag)"
            ));
        }
        let Some(value) = find(&key).filter(|v| !v.is_empty()) else {
            continue;
        };
        used.push(key.clone());
        match set(&mut loaded.settings, flag, value) {
            Ok(()) => {
                let notice = Notice::new(Level::Info, "recognized and used environment variable");
                let secret = matches!(flag.name, "discovery-password" | "discovery-user");
                let shown = if secret { "***" } else { value };
                loaded
                    .notices
                    .push(notice.with("variable-name", key).with("variable-value", shown));
                loaded.given.insert(flag.name.to_owned());
            }
            Err(e) => problem = Some(format!("invalid value {value:?} for {key}: {e}")),
        }
    }
    for (key, value) in env {
        let known = FLAGS.iter().any(|flag| variable(flag.name) == *key);
        if key == "ETCD_VERSION" && !value.is_empty() {
            let notice = Notice::new(Level::Warn, "cannot set special environment variable");
            loaded
                .notices
                .push(notice.with("key", key.as_str()).with("value", value.as_str()));
        } else if key.starts_with("ETCD_") && !used.contains(key) && !known {
            let notice = Notice::new(Level::Warn, "unrecognized environment variable");
            loaded
                .notices
                .push(notice.with("environment-variable", format!("{key}={value}")));
        }
    }
    problem.map_or(Ok(()), Err)
}
