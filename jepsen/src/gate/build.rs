//! The programs: with all bugs, and with none.

use super::{GateArgs, GateError, Program, Row};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The profile of the workspace that has debug assertions and some speed.
const PROFILE: &str = "seeded";
const FEATURE: &str = "seeded-bugs";

/// Where each program is. Those that no row needs are not there.
#[derive(Debug, Default)]
pub(super) struct Programs {
    kvstore: PathBuf,
    clean_kvstore: PathBuf,
    keelson: PathBuf,
    clean_keelson: PathBuf,
}

impl Programs {
    /// Takes what was named and builds the rest.
    pub(super) fn find(asked: &GateArgs, rows: &[Row]) -> Result<Programs, GateError> {
        let mut programs = Programs::default();
        let wanted = |program| rows.iter().any(|row| row.program == program);
        if wanted(Program::Kvstore) {
            programs.kvstore = given_or_built(asked.binary.as_deref(), Program::Kvstore, true)?;
            if !asked.no_clean {
                programs.clean_kvstore = given_or_built(asked.clean_binary.as_deref(), Program::Kvstore, false)?;
            }
        }
        if wanted(Program::Keelson) {
            programs.keelson = given_or_built(asked.keelson.as_deref(), Program::Keelson, true)?;
            if !asked.no_clean {
                programs.clean_keelson = given_or_built(asked.clean_keelson.as_deref(), Program::Keelson, false)?;
            }
        }
        Ok(programs)
    }

    pub(super) fn of(&self, program: Program, with_bugs: bool) -> &Path {
        match (program, with_bugs) {
            (Program::Kvstore, true) => &self.kvstore,
            (Program::Kvstore, false) => &self.clean_kvstore,
            (Program::Keelson, true) => &self.keelson,
            (Program::Keelson, false) => &self.clean_keelson,
        }
    }
}

fn given_or_built(given: Option<&Path>, program: Program, with_bugs: bool) -> Result<PathBuf, GateError> {
    let Some(path) = given else {
        return build(program, with_bugs);
    };
    std::fs::canonicalize(path).map_err(GateError::io(format!("find {}", path.display())))
}

/// Has cargo build a program, and asks it where it is. The clean one is a release build: what users get.
fn build(program: Program, with_bugs: bool) -> Result<PathBuf, GateError> {
    let mut arguments = vec!["build", "--locked", "--package", program.package()];
    if with_bugs {
        arguments.extend(["--profile", PROFILE, "--features", FEATURE]);
    } else {
        arguments.push("--release");
    }
    let said = arguments.join(" ");
    eprintln!("cargo {said}");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(&arguments)
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(GateError::io("run cargo"))?;
    if !built.status.success() {
        return Err(GateError::Build(said));
    }
    let messages = String::from_utf8_lossy(&built.stdout);
    let program = executable(&messages, program.binary());
    program.ok_or(GateError::NoProgram(said))
}

/// The path of a binary in cargo's messages, one JSON value a line.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let mut paths = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let path = message["executable"].as_str()?;
        (message["target"]["name"] == name).then(|| PathBuf::from(path))
    });
    paths.next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_where_cargo_says() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"keelson-bugs"},"executable":null}
not json
{"reason":"compiler-artifact","target":{"name":"keelson-kvstore"},"executable":"/t/seeded/keelson-kvstore"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(
            executable(messages, "keelson-kvstore"),
            Some(PathBuf::from("/t/seeded/keelson-kvstore"))
        );
        assert_eq!(executable(messages, "keelson"), None);
    }
}
