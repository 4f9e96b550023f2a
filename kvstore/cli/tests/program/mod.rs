//! A member as a process of its own, for tests.
#![allow(clippy::unwrap_used, dead_code)]

pub mod certificates;

use serde_json::Value;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A start or an end takes a second or so; this is for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);
pub const READY: &str = "ready to serve client requests";

pub fn etcdctl() -> PathBuf {
    PathBuf::from(std::env::var_os("ETCDCTL").expect("ETCDCTL names a real etcdctl"))
}

#[path = "../../../server/tests/free/mod.rs"]
mod free;
pub use free::port as free_port;

/// A member with a folder of its own; killed when dropped.
pub struct Member {
    pub child: Child,
    pub dir: tempfile::TempDir,
    pub client: String,
}

/// How to start one.
pub struct Start<'a> {
    pub name: &'a str,
    pub args: &'a [&'a str],
    pub scheme: &'a str,
}

impl Member {
    pub fn start(start: &Start<'_>) -> Member {
        Member::start_in(tempfile::tempdir().unwrap(), start)
    }

    pub fn start_in(dir: tempfile::TempDir, start: &Start<'_>) -> Member {
        let client = format!("{}://127.0.0.1:{}", start.scheme, free_port());
        let peer = format!("http://127.0.0.1:{}", free_port());
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(dir.path().join("log"))
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_keelson-kvstore"))
            .arg0(start.name)
            .current_dir(dir.path())
            .args(["--name", "m1", "--data-dir", "data"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(start.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Member { child, dir, client }
    }

    pub fn plain(args: &[&str]) -> Member {
        let mut member = Member::start(&Start {
            name: "etcd",
            args,
            scheme: "http",
        });
        member.wait_for(READY);
        member
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    pub fn lines(&self) -> Vec<Value> {
        let log = self.log();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn line(&self, message: &str) -> Value {
        let found = self
            .lines()
            .into_iter()
            .find(|l| l["msg"].as_str().unwrap().starts_with(message));
        found.unwrap_or_else(|| panic!("no {message:?} in\n{}", self.log()))
    }

    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + TIMEOUT;
        while !self.log().contains(text) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "ended with {ended:?} before {text:?}:\n{}", self.log());
            assert!(Instant::now() < deadline, "no {text:?} in time:\n{}", self.log());
            std::thread::sleep(LOOK);
        }
    }

    pub fn kill(&mut self, signal: &str) {
        let sent = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "runs on:\n{}", self.log());
            std::thread::sleep(LOOK);
        }
    }

    /// What etcdctl says when it fails.
    #[track_caller]
    pub fn ctl_fails(&self, args: &[&str]) -> String {
        let done = Command::new(etcdctl())
            .args([
                "--endpoints",
                &self.client,
                "--command-timeout",
                "2s",
                "--dial-timeout",
                "2s",
            ])
            .args(args)
            .output()
            .unwrap();
        assert!(!done.status.success(), "{args:?} succeeds");
        String::from_utf8_lossy(&done.stderr).into_owned()
    }

    #[track_caller]
    pub fn ctl(&self, args: &[&str]) -> String {
        let done = Command::new(etcdctl())
            .args([
                "--endpoints",
                &self.client,
                "--command-timeout",
                "30s",
                "--dial-timeout",
                "30s",
            ])
            .args(args)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        assert!(
            done.status.success(),
            "{args:?}: {}{}\n{}",
            text(done.stdout),
            text(done.stderr),
            self.log()
        );
        text(done.stdout)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
