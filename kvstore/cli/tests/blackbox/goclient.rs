//! etcd's own Go client and the packages around it (`tests/goclient`), every RPC with good and bad arguments: the lines
//! that it prints of a real etcd and of ours are the same.

use crate::cluster::{Cluster, Kind};
use crate::compare::{lines_apart, mask};
use crate::etcdctl::QUICK_PASSWORDS;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Differences shown before the rest is only counted.
const SHOWN_MAX: usize = 25;
/// A step is shown up to this many characters.
const SHOWN_CHARS_MAX: usize = 600;

/// Built once a run; Go's cache makes every time but the first one quick.
static PROGRAM: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("goclient");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goclient");
    let go = std::env::var_os("GO").map_or_else(|| PathBuf::from("go"), PathBuf::from);
    let built = Command::new(&go)
        .args(["build", "-trimpath", "-o"])
        .arg(&out)
        .arg(".")
        .current_dir(&source)
        .env("CGO_ENABLED", "0")
        .output()
        .unwrap_or_else(|e| panic!("run {}: {e}", go.display()));
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "go build in {}: {said}", source.display());
    (dir, out)
});

pub fn program() -> &'static Path {
    &PROGRAM.1
}

fn lines(kind: Kind, size: usize) -> Vec<String> {
    let cluster = Cluster::start(kind, size, &QUICK_PASSWORDS);
    if size > 1 {
        cluster.lead_by(2);
    }
    let endpoints = cluster.endpoints();
    let out = cluster.run(program(), &["--endpoints", &endpoints]);
    let (said, erred) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    let lines: Vec<String> = said.lines().map(mask).collect();
    // What was printed before the end is compared too: it shows where it went wrong.
    if !out.status.success() {
        let mut lines = lines;
        lines.push(format!("the program ends with {}: {erred}", out.status));
        return lines;
    }
    lines
}

fn same_lines(size: usize) {
    let (theirs, ours) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| lines(Kind::Etcd, size));
        let ours = scope.spawn(|| lines(Kind::Ours, size));
        (theirs.join().expect("etcd's side"), ours.join().expect("our side"))
    });
    assert!(
        theirs.len() > 500,
        "the program printed little of etcd: {:?}",
        theirs.last()
    );
    let mut report = String::new();
    let mut different = 0;
    let step = |line: &str| {
        serde_json::from_str::<serde_json::Value>(&line.replace("<n>", "0"))
            .ok()
            .map(|v| v["step"].clone())
    };
    for (a, b) in theirs.iter().zip(&ours) {
        if a == b {
            continue;
        }
        different += 1;
        if different <= SHOWN_MAX {
            let cut = |s: &str| s.chars().take(SHOWN_CHARS_MAX).collect::<String>();
            let _ = writeln!(report, "{}", lines_apart(&cut(a), &cut(b)));
        }
        // Once the steps themselves are out of line the rest says nothing.
        if step(a) != step(b) {
            let _ = writeln!(report, "the steps part here");
            break;
        }
    }
    assert!(
        !theirs.iter().any(|l| l.contains("the program ends")),
        "{:?}",
        &theirs[theirs.len() - 3..]
    );
    assert!(
        different == 0,
        "{different} of {} answers differ (- etcd, + ours):\n{report}",
        theirs.len()
    );
    assert_eq!(theirs.len(), ours.len());
}

#[test]
fn one_member() {
    same_lines(1);
}

#[test]
fn three_members() {
    same_lines(3);
}
