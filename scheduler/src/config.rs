//! The configuration file: `kubescheduler.config.k8s.io/v1` KubeSchedulerConfiguration, as far as plugins here have use for it.
use crate::Error;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Largest configuration file read, in bytes.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    api_version: String,
    kind: String,
    profiles: Vec<FileProfile>,
    pod_initial_backoff_seconds: Option<u64>,
    pod_max_backoff_seconds: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileProfile {
    scheduler_name: Option<String>,
    plugins: BTreeMap<String, FilePluginSet>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FilePluginSet {
    enabled: Vec<FilePlugin>,
    disabled: Vec<FilePlugin>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FilePlugin {
    name: String,
    weight: Option<i64>,
}

/// Which of the default plugins run at which extension points, and with which weights.
#[derive(Clone, Debug, Default)]
pub struct PluginChoice {
    /// By extension point as the file names it (`filter`, `score`, …; `multiPoint` is all of them).
    points: BTreeMap<String, PointChoice>,
}

#[derive(Clone, Debug, Default)]
struct PointChoice {
    disabled: Vec<String>,
    enabled: Vec<(String, Option<i64>)>,
}

impl PluginChoice {
    /// What is said for the point itself wins over what is said for `multiPoint`.
    pub fn runs(&self, point: &str, name: &str) -> bool {
        for p in [point, "multiPoint"] {
            if let Some(c) = self.points.get(p) {
                if c.enabled.iter().any(|(n, _)| n == name) {
                    return true;
                }
                if c.disabled.iter().any(|d| d == name || d == "*") {
                    return false;
                }
            }
        }
        true
    }

    /// The weight of a score plugin, where the file gives one.
    pub fn weight(&self, name: &str) -> Option<i64> {
        ["score", "multiPoint"].iter().find_map(|p| {
            let (_, w) = self.points.get(*p)?.enabled.iter().find(|(n, _)| n == name)?;
            w.filter(|w| *w > 0)
        })
    }
}

/// What the file says, with defaults filled in.
#[derive(Clone, Debug)]
pub struct Config {
    pub profiles: Vec<(String, PluginChoice)>,
    pub backoff_initial_s: u64,
    pub backoff_max_s: u64,
}

impl Config {
    pub fn default_for(scheduler_name: &str) -> Self {
        Config {
            profiles: vec![(scheduler_name.to_owned(), PluginChoice::default())],
            backoff_initial_s: 1,
            backoff_max_s: 10,
        }
    }

    pub fn load(path: &std::path::Path, scheduler_name: &str) -> Result<Self, Error> {
        let fail = |e: &dyn std::fmt::Display| Error::Config(format!("read {}: {e}", path.display()));
        let size = std::fs::metadata(path).map_err(|e| fail(&e))?.len();
        if size > CONFIG_BYTES_MAX {
            return Err(fail(&format!("{size} bytes are more than {CONFIG_BYTES_MAX}")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| fail(&e))?;
        Self::parse(&text, scheduler_name)
    }

    pub fn parse(text: &str, scheduler_name: &str) -> Result<Self, Error> {
        let file: File = serde_saphyr::from_str(text).map_err(|e| Error::Config(e.to_string()))?;
        if file.kind != "KubeSchedulerConfiguration" || file.api_version != "kubescheduler.config.k8s.io/v1" {
            return Err(Error::Config(format!(
                "no kind {:?} is registered for version {:?}",
                file.kind, file.api_version
            )));
        }
        let mut config = Config::default_for(scheduler_name);
        if !file.profiles.is_empty() {
            config.profiles.clear();
        }
        for p in file.profiles {
            let mut choice = PluginChoice::default();
            for (point, set) in p.plugins {
                if let Some(unknown) = set
                    .enabled
                    .iter()
                    .find(|e| !crate::plugins::NAMES.contains(&e.name.as_str()))
                {
                    return Err(Error::Config(format!("plugin {:?} does not exist", unknown.name)));
                }
                choice.points.insert(
                    point,
                    PointChoice {
                        disabled: set.disabled.into_iter().map(|d| d.name).collect(),
                        enabled: set.enabled.into_iter().map(|e| (e.name, e.weight)).collect(),
                    },
                );
            }
            let name = p.scheduler_name.unwrap_or_else(|| scheduler_name.to_owned());
            if config.profiles.iter().any(|(n, _)| *n == name) {
                return Err(Error::Config(format!("duplicate profile {name:?}")));
            }
            config.profiles.push((name, choice));
        }
        if let Some(s) = file.pod_initial_backoff_seconds {
            config.backoff_initial_s = s;
        }
        if let Some(s) = file.pod_max_backoff_seconds {
            config.backoff_max_s = s;
        }
        if config.backoff_max_s < config.backoff_initial_s {
            return Err(Error::Config(
                "podMaxBackoffSeconds must not be less than podInitialBackoffSeconds".into(),
            ));
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HEAD: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

    #[test]
    fn profiles_change_the_defaults() {
        let c = Config::parse(
            &format!(
                "{HEAD}podMaxBackoffSeconds: 20\nprofiles:\n- schedulerName: a\n  plugins:\n    score:\n      disabled: [{{name: TaintToleration}}]\n      enabled: [{{name: NodeAffinity, weight: 7}}]\n- schedulerName: b\n"
            ),
            "default-scheduler",
        )
        .unwrap();
        assert_eq!(c.profiles.len(), 2);
        assert!(!c.profiles[0].1.runs("score", "TaintToleration"));
        assert!(c.profiles[0].1.runs("filter", "TaintToleration"));
        assert_eq!(c.profiles[0].1.weight("NodeAffinity"), Some(7));
        assert_eq!((c.backoff_initial_s, c.backoff_max_s), (1, 20));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(Config::parse("kind: Pod", "x").is_err());
        assert!(Config::parse(&format!("{HEAD}profiles: [{{}}, {{}}]"), "x").is_err());
        let unknown = format!("{HEAD}profiles: [{{plugins: {{filter: {{enabled: [{{name: Nope}}]}}}}}}]");
        assert!(Config::parse(&unknown, "x").unwrap_err().to_string().contains("Nope"));
    }
}
