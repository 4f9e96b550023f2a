//! How runs end: early when they are interrupted, and without leaving anything behind.
#![allow(clippy::unwrap_used)]

use crate::program::{Runner, eventually, finish, kvstore, said};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Lines of all processes, other than those of the run itself, that name its folder.
fn processes(folder: &str) -> Vec<String> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(folder) && line.contains("--initial-cluster") {
            all.push(line);
        }
    }
    all
}

#[test]
fn an_interrupted_run_is_judged_and_leaves_nothing() {
    let runner = Runner::new();
    let mut command = runner.command("run --folder run --workload register --faults partition --time 30m --seed 1");
    let child = command.arg("--binary").arg(kvstore()).spawn().unwrap();
    let folder = runner.folder();
    let history = folder.join("history.jsonl");
    eventually("operations are recorded", || {
        std::fs::metadata(&history).is_ok_and(|m| m.len() > 0)
    });
    let name = folder.to_string_lossy().into_owned();
    assert_eq!(processes(&name).len(), 3);
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let out = finish(child);
    // Whether enough has happened by now is a matter of chance.
    assert!(matches!(out.status.code(), Some(0 | 2)), "{}", said(&out));
    assert!(folder.join("verdict.json").is_file());
    assert_eq!(processes(&name), Vec::<String>::new());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&name), "{mounts}");
}

#[test]
fn a_runner_that_is_killed_takes_its_members_with_it() {
    let runner = Runner::new();
    let mut command = runner.command("run --folder run --workload register --faults none --time 30m");
    let mut child = command.arg("--binary").arg(kvstore()).spawn().unwrap();
    let name = runner.folder().to_string_lossy().into_owned();
    eventually("members run", || processes(&name).len() == 3);
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("members are gone", || processes(&name).is_empty());
}

#[test]
fn a_soak_writes_its_table_and_removes_what_is_green() {
    let runner = Runner::new();
    let mut command = runner
        .command("soak --time 1s --run-time 5s --workload register,set --faults kill --seed 5 --out soaks --rate 60");
    let out = finish(command.arg("--binary").arg(kvstore()).spawn().unwrap());
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    let folder = runner.folder().with_file_name("soaks").join("soak-5");
    let soak: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("soak.json")).unwrap()).unwrap();
    assert_eq!(soak["rows"][0]["verdict"], "pass");
    assert!(soak["rows"][0]["ok"].as_u64().unwrap() > 50);
    assert!(said(&out).contains("| kill |"), "{}", said(&out));
    let run = std::fs::read_dir(&folder)
        .unwrap()
        .flatten()
        .find(|entry| entry.path().is_dir())
        .unwrap();
    assert!(run.path().join("verdict.json").is_file());
    assert!(!run.path().join("history.jsonl").exists());
}
