//! Feature gates: switches for what is not settled yet, in etcd's names.

use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Alpha,
    Beta,
}

/// Name, stage, default.
const KNOWN: [(&str, Stage, bool); 9] = [
    ("CompactHashCheck", Stage::Alpha, false),
    ("FastLeaseKeepAlive", Stage::Beta, true),
    ("InitialCorruptCheck", Stage::Alpha, false),
    ("LeaseCheckpoint", Stage::Alpha, false),
    ("LeaseCheckpointPersist", Stage::Alpha, false),
    ("PriorityRequest", Stage::Alpha, false),
    ("SetMemberLocalAddr", Stage::Alpha, false),
    ("StopGRPCServiceOnDefrag", Stage::Alpha, false),
    ("TxnModeWriteWithSharedBuffer", Stage::Beta, true),
];
const ALL_ALPHA: &str = "AllAlpha";
const ALL_BETA: &str = "AllBeta";

/// Gates that mean nothing to this store, and why; setting one is told.
pub const WITHOUT_EFFECT: [(&str, &str); 3] = [
    ("PriorityRequest", "every request is applied in the order of the log"),
    ("StopGRPCServiceOnDefrag", "a defragmentation stops nobody"),
    ("TxnModeWriteWithSharedBuffer", "there is no shared write buffer"),
];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gates {
    set: BTreeMap<&'static str, bool>,
}

fn known(name: &str) -> Option<&'static str> {
    let special = [ALL_ALPHA, ALL_BETA].into_iter();
    KNOWN
        .iter()
        .map(|(known, ..)| *known)
        .chain(special)
        .find(|known| *known == name)
}

impl Gates {
    /// Adds what `Name=true,Other=false` says. `AllAlpha` and `AllBeta` leave alone what is set by name.
    pub fn set(&mut self, text: &str) -> Result<(), String> {
        let mut named = Vec::new();
        for pair in text.split(',').filter(|p| !p.is_empty()) {
            let (name, value) = match pair.split_once('=') {
                Some((name, value)) => (name.trim(), value.trim()),
                None => return Err(format!("missing bool value for {}", pair.trim())),
            };
            let value = crate::args::values::parse_bool(value).ok_or_else(|| {
                format!(r#"invalid value of {name}={value}, err: strconv.ParseBool: parsing "{value}": invalid syntax"#)
            })?;
            let name = known(name).ok_or_else(|| format!("unrecognized feature gate: {name}"))?;
            named.push((name, value));
        }
        self.set.extend(named.iter().copied());
        for (all, stage) in [(ALL_ALPHA, Stage::Alpha), (ALL_BETA, Stage::Beta)] {
            if let Some((_, value)) = named.iter().rev().find(|(name, _)| *name == all) {
                for (name, ..) in KNOWN.iter().filter(|(_, s, _)| *s == stage) {
                    self.set.entry(name).or_insert(*value);
                }
            }
        }
        Ok(())
    }

    pub fn enabled(&self, name: &str) -> bool {
        let default = || KNOWN.iter().any(|(known, _, default)| *known == name && *default);
        self.set.get(name).copied().unwrap_or_else(default)
    }

    /// Set by name, or through `AllAlpha` and `AllBeta`.
    pub fn is_set(&self, name: &str) -> bool {
        self.set.contains_key(name)
    }

    /// A line for each gate, for the help text.
    pub fn describe() -> Vec<String> {
        let special = [(ALL_ALPHA, Stage::Alpha, false), (ALL_BETA, Stage::Beta, false)];
        let line = |(name, stage, default): (&str, Stage, bool)| {
            let stage = if stage == Stage::Alpha { "ALPHA" } else { "BETA" };
            format!("{name}=true|false ({stage} - default={default})")
        };
        special.into_iter().chain(KNOWN).map(line).collect()
    }
}

impl std::fmt::Display for Gates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pairs: Vec<String> = self.set.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&pairs.join(","))
    }
}
