//! Clusters of real processes, a real etcd's or ours, started with the same flags.

use crate::net::Net;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Bound of a start, of an election, of anything that a healthy cluster does on its own.
pub const BOUND: Duration = Duration::from_secs(30);
/// How often a wait looks again.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Etcd,
    Ours,
}

impl Kind {
    /// `KEELSON_KVSTORE_BIN` puts another program in the place of ours: a real etcd on both sides proves the scripts.
    pub fn binary(self) -> PathBuf {
        match self {
            Kind::Etcd => peer("ETCD"),
            Kind::Ours => std::env::var_os("KEELSON_KVSTORE_BIN")
                .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_keelson-kvstore")), PathBuf::from),
        }
    }
}

/// A real peer, which the test command builds.
pub fn peer(variable: &str) -> PathBuf {
    std::env::var_os(variable).map(PathBuf::from).unwrap_or_else(|| {
        panic!(
            "set {variable} to what `bench/peers/build {}` prints",
            variable.to_lowercase().replace('_', "-")
        )
    })
}

pub fn client_port(number: usize) -> u16 {
    2379 + 10 * (number as u16 - 1)
}

pub fn peer_url(number: usize) -> String {
    format!("http://127.0.0.1:{}", client_port(number) + 1)
}

pub fn client_url(number: usize) -> String {
    format!("http://127.0.0.1:{}", client_port(number))
}

/// One process and its files. Members are numbered from 1.
pub struct Member {
    pub number: usize,
    pub dir: PathBuf,
    pub log: PathBuf,
    flags: Vec<OsString>,
    process: Option<Child>,
}

impl Member {
    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(|p| p.id() as i32)
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().expect("a running member")), signal).unwrap();
    }

    /// kill -9, and what remains of it.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub fn wait_end(&mut self, bound: Duration) -> ExitStatus {
        let number = self.number;
        let process = self.process.as_mut().expect("a running member");
        let status =
            wait_child(process, bound).unwrap_or_else(|| panic!("member {number} has not ended within {bound:?}"));
        self.process = None;
        status
    }

    /// Has it ended by itself?
    pub fn ended(&mut self) -> bool {
        self.process.as_mut().is_none_or(|p| p.try_wait().unwrap().is_some())
    }
}

/// Members of one kind in one network. Everything is killed and removed when this goes.
pub struct Cluster {
    pub kind: Kind,
    pub net: Net,
    pub members: Vec<Member>,
    pub dir: TempDir,
}

impl Cluster {
    /// `size` members of a new cluster, healthy. `flags` are added to those of every member.
    pub fn start(kind: Kind, size: usize, flags: &[&str]) -> Cluster {
        let mut cluster = Cluster::empty(kind);
        for number in 1..=size {
            cluster.add(number, "new", size, flags);
        }
        for number in 1..=size {
            cluster.spawn(number);
        }
        cluster.wait_healthy();
        cluster
    }

    pub fn empty(kind: Kind) -> Cluster {
        Cluster {
            kind,
            net: Net::new(),
            members: Vec::new(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// A member with the flags that an operator would give it, not started yet. `size` members are in its
    /// `initial-cluster`.
    pub fn add(&mut self, number: usize, state: &str, size: usize, extra: &[&str]) {
        let everyone: Vec<String> = (1..=size).map(|n| format!("m{n}={}", peer_url(n))).collect();
        self.add_with(number, state, &everyone.join(","), extra);
    }

    pub fn add_with(&mut self, number: usize, state: &str, initial_cluster: &str, extra: &[&str]) {
        let dir = self.dir.path().join(format!("m{number}.data"));
        self.add_at(number, &dir, state, initial_cluster, extra);
    }

    pub fn add_at(&mut self, number: usize, dir: &Path, state: &str, initial_cluster: &str, extra: &[&str]) {
        let mut flags: Vec<OsString> = Vec::new();
        let mut flag = |name: &str, value: &str| {
            if !extra
                .iter()
                .any(|e| e.trim_start_matches('-').split('=').next() == Some(name))
            {
                flags.push(format!("--{name}").into());
                flags.push(value.into());
            }
        };
        flag("name", &format!("m{number}"));
        flag("data-dir", dir.to_str().unwrap());
        flag("listen-client-urls", &client_url(number));
        flag("advertise-client-urls", &client_url(number));
        flag("listen-peer-urls", &peer_url(number));
        flag("initial-advertise-peer-urls", &peer_url(number));
        flag("initial-cluster", initial_cluster);
        flag("initial-cluster-state", state);
        flag("initial-cluster-token", "blackbox");
        flags.extend(extra.iter().map(OsString::from));
        self.members.retain(|m| m.number != number);
        self.members.push(Member {
            number,
            dir: dir.to_owned(),
            log: self.dir.path().join(format!("m{number}.log")),
            flags,
            process: None,
        });
        self.members.sort_by_key(|m| m.number);
    }

    pub fn member(&mut self, number: usize) -> &mut Member {
        self.members
            .iter_mut()
            .find(|m| m.number == number)
            .expect("a member of this number")
    }

    /// Starts the process of a member; its log goes on in the same file.
    pub fn spawn(&mut self, number: usize) {
        let (kind, net) = (self.kind, self.net.clone());
        let member = self.member(number);
        assert!(member.process.is_none(), "member {number} runs already");
        let log = File::options().create(true).append(true).open(&member.log).unwrap();
        let mut command = Command::new(kind.binary());
        command
            .args(&member.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ETCD_")) {
            command.env_remove(name);
        }
        member.process = Some(
            net.inside(|| command.spawn())
                .unwrap_or_else(|e| panic!("start {kind:?}: {e}")),
        );
    }

    /// Waits until every member that runs answers a linearizable read.
    pub fn wait_healthy(&mut self) {
        let running: Vec<usize> = self
            .members
            .iter()
            .filter(|m| m.process.is_some())
            .map(|m| m.number)
            .collect();
        for number in running {
            self.wait_member(number);
        }
    }

    pub fn wait_member(&mut self, number: usize) {
        let net = self.net.clone();
        let deadline = Instant::now() + BOUND;
        loop {
            let seen = match net.http(client_port(number), "GET", "/health", "") {
                Ok(answer) if answer.status == 200 => return,
                Ok(answer) => answer.body,
                Err(e) => e.to_string(),
            };
            if self.member(number).ended() || Instant::now() > deadline {
                panic!(
                    "member {number} of {:?} is not healthy: {seen}\n{}",
                    self.kind,
                    self.tail(number)
                );
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until every member has settled which versions the cluster and the storage have: seconds after a start.
    pub fn wait_versions(&self) {
        for member in &self.members {
            eventually("the versions", BOUND, || {
                let answer = self
                    .net
                    .http(client_port(member.number), "GET", "/version", "")
                    .map_err(|e| e.to_string())?;
                let settled = answer.body.contains(r#""etcdcluster":"3.7.0","storage":"3.7.0""#);
                if settled { Ok(()) } else { Err(answer.body) }
            });
        }
    }

    pub fn tail(&self, number: usize) -> String {
        let log = self.dir.path().join(format!("m{number}.log"));
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    /// All client addresses, as `--endpoints` takes them.
    pub fn endpoints(&self) -> String {
        let all: Vec<String> = self
            .members
            .iter()
            .map(|m| format!("127.0.0.1:{}", client_port(m.number)))
            .collect();
        all.join(",")
    }

    /// etcdctl with these arguments, within the network.
    pub fn ctl(&self, args: &[&str]) -> Output {
        self.run(&peer("ETCDCTL"), args)
    }

    /// etcdctl, which must succeed; its standard output.
    pub fn ctl_ok(&self, args: &[&str]) -> String {
        let out = self.ctl(args);
        let (stdout, stderr) = (
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr),
        );
        assert!(out.status.success(), "etcdctl {}: {stdout}{stderr}", args.join(" "));
        stdout.into_owned()
    }

    /// A program within the network, to its end within the bound.
    pub fn run(&self, program: &Path, args: &[&str]) -> Output {
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = self
            .net
            .inside(|| command.spawn())
            .unwrap_or_else(|e| panic!("run {}: {e}", program.display()));
        let pid = Pid::from_raw(child.id() as i32);
        let (done, waiting) = std::sync::mpsc::channel::<()>();
        // What hangs is killed, and shows as a failure of the call.
        let guard = std::thread::spawn(move || {
            if waiting.recv_timeout(4 * BOUND) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = kill(pid, Signal::SIGKILL);
            }
        });
        let out = child.wait_with_output().unwrap();
        let _ = done.send(());
        guard.join().unwrap();
        out
    }

    /// `endpoint status` of one member as JSON, if it answers.
    pub fn status(&self, number: usize) -> Option<serde_json::Value> {
        let out = self.ctl(&[
            "--endpoints",
            &client_url(number),
            "--command-timeout=2s",
            "endpoint",
            "status",
            "-w",
            "json",
        ]);
        let all: serde_json::Value = serde_json::from_slice(&out.stdout).ok()?;
        all.get(0).map(|s| s["Status"].clone())
    }

    /// The number of the member that leads, as the members themselves say it.
    pub fn leader(&self) -> usize {
        eventually("a leader", BOUND, || {
            for member in self.members.iter().filter(|m| m.process.is_some()) {
                let Some(status) = self.status(member.number) else {
                    continue;
                };
                if status["leader"].as_u64().is_some_and(|l| l != 0)
                    && status["leader"] == status["header"]["member_id"]
                {
                    return Ok(member.number);
                }
            }
            Err("nobody says that it leads".to_owned())
        })
    }

    /// Makes a member the leader, so that both sides have the same one.
    pub fn lead_by(&self, number: usize) {
        let id = self.status(number).expect("a member that answers")["header"]["member_id"].clone();
        let id = format!("{:x}", id.as_u64().expect("a member id"));
        eventually("the leadership of the wanted member", BOUND, || {
            let now = self.leader();
            if now == number {
                return Ok(());
            }
            let out = self.ctl(&["--endpoints", &client_url(now), "move-leader", &id]);
            Err(String::from_utf8_lossy(&out.stderr).into_owned())
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.kill();
        }
        if std::thread::panicking() {
            for number in self.members.iter().map(|m| m.number).collect::<Vec<_>>() {
                eprintln!("log of member {number} of {:?}:\n{}", self.kind, self.tail(number));
            }
        }
    }
}

/// The end of a process, if it comes within the bound.
pub fn wait_child(child: &mut Child, bound: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + bound;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `look` finds something; fails with `what` and the last thing seen when the bound is over.
pub fn eventually<T>(what: &str, bound: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + bound;
    loop {
        match look() {
            Ok(value) => return value,
            Err(seen) if Instant::now() > deadline => panic!("{what}: not within {bound:?}; last seen: {seen}"),
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}
