//! The program under test, and the programs that it tests.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A short run, with everything around it, ends within this time.
pub const BOUND: Duration = Duration::from_secs(180);
/// How often a wait looks again.
const LOOK: Duration = Duration::from_millis(50);

/// Our datastore: `KEELSON_KVSTORE_BIN`, else cargo builds it.
pub fn kvstore() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| std::env::var_os("KEELSON_KVSTORE_BIN").map_or_else(|| build(KVSTORE, &[]), PathBuf::from))
}

/// Our API server and scheduler: `KEELSON_BIN`, else cargo builds them.
pub fn keelson() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| std::env::var_os("KEELSON_BIN").map_or_else(|| build(KEELSON, &[]), PathBuf::from))
}

/// The same with seeded bugs.
pub fn kvstore_with_bugs() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build(KVSTORE, &["--features", "seeded-bugs"]))
}

/// Package and program.
type Program = [&'static str; 2];
const KVSTORE: Program = ["keelson-kvstore-cli", "keelson-kvstore"];
const KEELSON: Program = ["keelson", "keelson"];

/// Has cargo build it, and puts it into a folder of its own below the target folder, so that builds with and without
/// bugs do not take each other's place.
fn build([package, program]: Program, more: &[&str]) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--locked", "--offline", "--package", package])
        .args(["--bin", program, "--message-format", "json-render-diagnostics"])
        .args(more)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success(), "cargo build {more:?} failed");
    let messages = String::from_utf8_lossy(&built.stdout);
    let path = messages
        .lines()
        .filter_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            let path = message["executable"].as_str()?;
            (message["target"]["name"] == program).then(|| PathBuf::from(path))
        })
        .next_back()
        .unwrap();
    // The next build writes to the same place.
    let folder = path.with_file_name(format!("jepsen-{program}{}", more.concat()));
    std::fs::create_dir_all(&folder).unwrap();
    let own = folder.join(program);
    let part = own.with_extension("part");
    std::fs::copy(&path, &part).unwrap();
    std::fs::rename(&part, &own).unwrap();
    own
}

/// A folder for one run, and the arguments that all runs have. There is one at a time: on a machine that is busy with
/// another run, or with a build, too little happens to be judged, and unknown is not green.
pub struct Runner {
    dir: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Runner {
    pub fn new() -> Runner {
        static TURN: Mutex<()> = Mutex::new(());
        Runner {
            dir: tempfile::tempdir().unwrap(),
            // A test that failed has had its turn.
            _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// The folder of the run.
    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// The program with these arguments, separated by blanks.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keelson-jepsen"));
        command
            .args(arguments.split_whitespace())
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A run of our datastore, to its end.
    pub fn run(&self, arguments: &str) -> Output {
        let mut command = self.command("run --quiet --folder run");
        command
            .args(arguments.split_whitespace())
            .arg("--binary")
            .arg(kvstore());
        finish(command.spawn().unwrap())
    }

    /// A run that must pass.
    #[track_caller]
    pub fn passes(&self, arguments: &str) {
        let out = self.run(arguments);
        assert_eq!(out.status.code(), Some(0), "run {arguments}\n{}", said(&out));
    }

    /// Judges the run again.
    pub fn check(&self) -> Output {
        finish(self.command("check run").spawn().unwrap())
    }
}

/// Waits for the end within the bound.
#[track_caller]
pub fn finish(mut child: Child) -> Output {
    let deadline = Instant::now() + BOUND;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            let out = child.wait_with_output().unwrap();
            panic!("it did not end within {BOUND:?}\n{}", said(&out));
        }
        std::thread::sleep(LOOK);
    }
    child.wait_with_output().unwrap()
}

/// Everything that a program said.
pub fn said(out: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    )
}

/// Waits until something holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + BOUND;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {BOUND:?}");
        std::thread::sleep(LOOK);
    }
}
