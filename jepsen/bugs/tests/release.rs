//! What the feature does to a build and to a process, as cargo tells it.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

/// Runs cargo on this crate, with a target folder of its own: the one of the test is locked by who builds it.
fn cargo(arguments: &[&str], bug: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(arguments)
        .args(["--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env(
            "CARGO_TARGET_DIR",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("seeded"),
        )
        .env_remove(keelson_bugs::VARIABLE);
    if let Some(bug) = bug {
        command.env(keelson_bugs::VARIABLE, bug);
    }
    command.output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_release_cannot_contain_a_bug() {
    let built = cargo(&["check", "--release", "--features", "seeded"], None);
    let told = told(&built);
    assert!(!built.status.success(), "it compiled");
    assert!(told.contains("needs debug assertions"), "{told}");
    assert!(cargo(&["check", "--release"], None).status.success());
}

#[test]
fn a_process_has_the_bug_that_is_named_and_ends_at_a_name_that_nobody_knows() {
    let run = |bug| cargo(&["run", "--quiet", "--example", "planted", "--features", "seeded"], bug);
    let named = run(Some("stale-list"));
    assert!(named.status.success(), "{}", told(&named));
    assert_eq!(String::from_utf8_lossy(&named.stdout), "stale-list\n");
    assert_eq!(String::from_utf8_lossy(&run(None).stdout), "none\n");
    let unknown = run(Some("stale-lists"));
    assert_eq!(unknown.status.code(), Some(64));
    let told = told(&unknown);
    assert!(
        told.contains("there is no such bug; known are ack-before-fsync, "),
        "{told}"
    );
    assert!(unknown.stdout.is_empty());
}
