//! A cluster of one kind, started for one round with the same settings as the other kind, and what the kernel says its
//! processes used.

use crate::unary;
use keelson_proto::etcdserverpb as pb;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(2);
/// Clock ticks a second in /proc/<pid>/stat, fixed on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// A program that takes etcd's flags.
#[derive(Clone)]
pub struct Kind {
    pub name: &'static str,
    pub program: PathBuf,
}

struct Process {
    child: Child,
    client: u16,
}

/// Running members with their data in one folder.
pub struct Cluster {
    kind: Kind,
    members: Vec<Process>,
    dir: PathBuf,
    ports: Vec<(u16, u16)>,
    extra: Vec<String>,
}

/// What the processes of a cluster have used since they started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
    /// Resident memory that is no file's: what the processes hold themselves.
    pub anonymous_bytes: u64,
    /// What the disk took, of anybody: a process's own account counts whole pages, however large, that it touched.
    pub written_bytes: u64,
}

impl Usage {
    pub fn since(self, earlier: Usage) -> Usage {
        Usage {
            cpu_seconds: self.cpu_seconds - earlier.cpu_seconds,
            resident_bytes: self.resident_bytes,
            anonymous_bytes: self.anonymous_bytes,
            written_bytes: self.written_bytes.saturating_sub(earlier.written_bytes),
        }
    }
}

fn free_ports(n: usize) -> io::Result<Vec<u16>> {
    // All are held until all are known, so that none is given twice.
    let held = (0..n)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<io::Result<Vec<_>>>()?;
    held.iter().map(|l| l.local_addr().map(|a| a.port())).collect()
}

impl Cluster {
    /// Starts so many members on an empty folder and waits until each is healthy.
    pub fn start(kind: &Kind, members: usize, dir: &Path, extra: &[&str]) -> io::Result<Cluster> {
        let ports = free_ports(members * 2)?;
        let ports = ports
            .chunks(2)
            .filter_map(|c| Some((*c.first()?, *c.get(1)?)))
            .collect();
        let mut cluster = Cluster {
            kind: kind.clone(),
            members: Vec::new(),
            dir: dir.to_owned(),
            ports,
            extra: extra.iter().map(|s| (*s).to_owned()).collect(),
        };
        cluster.run()?;
        Ok(cluster)
    }

    /// Starts the members on what is in their folders; how long it took until all were healthy.
    pub fn run(&mut self) -> io::Result<Duration> {
        let begin = Instant::now();
        for n in 0..self.ports.len() {
            let process = self.spawn(n, "new")?;
            self.members.push(process);
        }
        for member in &mut self.members {
            wait_healthy(member, begin)?;
        }
        Ok(begin.elapsed())
    }

    fn spawn(&self, n: usize, state: &str) -> io::Result<Process> {
        let (client, peer) = self.ports.get(n).copied().unwrap_or_default();
        let peers: Vec<_> = self
            .ports
            .iter()
            .enumerate()
            .map(|(n, (_, peer))| format!("m{n}=http://127.0.0.1:{peer}"))
            .collect();
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let log = File::create(self.dir.join(format!("m{n}.log")))?;
        let child = Command::new(&self.kind.program)
            .args(["--name", &format!("m{n}")])
            .arg("--data-dir")
            .arg(self.dir.join(format!("m{n}")))
            .args([
                "--listen-client-urls",
                &url(client),
                "--advertise-client-urls",
                &url(client),
            ])
            .args([
                "--listen-peer-urls",
                &url(peer),
                "--initial-advertise-peer-urls",
                &url(peer),
            ])
            .args(["--initial-cluster", &peers.join(",")])
            .args(["--initial-cluster-state", state, "--quota-backend-bytes", "68719476736"])
            .args(&self.extra)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("start {}: {e}", self.kind.program.display())))?;
        Ok(Process { child, client })
    }

    /// Adds a learner on an empty folder and starts it; its client address. It has nothing yet.
    pub fn add_learner(&mut self) -> io::Result<String> {
        let address = self.addresses().into_iter().next().unwrap_or_default();
        let ports = free_ports(2)?;
        let (client, peer) = match ports.as_slice() {
            [client, peer] => (*client, *peer),
            _ => return Err(io::Error::other("no free ports")),
        };
        let request = pb::MemberAddRequest {
            peer_ur_ls: vec![format!("http://127.0.0.1:{peer}")],
            is_learner: true,
        };
        let path = "/etcdserverpb.Cluster/MemberAdd";
        unary::ask::<pb::MemberAddResponse>(&address, path, &request, START_MAX)?;
        self.ports.push((client, peer));
        let process = self.spawn(self.members.len(), "existing")?;
        self.members.push(process);
        Ok(format!("127.0.0.1:{client}"))
    }

    pub fn is_running(&self) -> bool {
        !self.members.is_empty()
    }

    /// Client addresses of all members.
    pub fn addresses(&self) -> Vec<String> {
        self.members.iter().map(|m| format!("127.0.0.1:{}", m.client)).collect()
    }

    pub fn usage(&self) -> io::Result<Usage> {
        let mut all = Usage::default();
        for member in &self.members {
            let pid = member.child.id();
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
            // The name in parentheses may hold anything; the numbers come after the last one.
            let fields: Vec<_> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
            let ticks = |at: usize| fields.get(at).and_then(|v| v.parse::<f64>().ok()).unwrap_or(0.0);
            all.cpu_seconds += (ticks(11) + ticks(12)) / TICKS_PER_SECOND;
            all.resident_bytes += line_of(&format!("/proc/{pid}/status"), "VmRSS:")? * 1024;
            all.anonymous_bytes += line_of(&format!("/proc/{pid}/status"), "RssAnon:")? * 1024;
        }
        all.written_bytes = device_written_bytes(&self.dir)?;
        Ok(all)
    }

    /// From here on `peak_bytes` starts anew.
    pub fn forget_peak(&self) -> io::Result<()> {
        let mut members = self.members.iter();
        members.try_for_each(|m| std::fs::write(format!("/proc/{}/clear_refs", m.child.id()), "5"))
    }

    /// The most that was resident at a time, of each member, since `forget_peak`.
    pub fn peak_bytes(&self) -> io::Result<u64> {
        let peak = |m: &Process| line_of(&format!("/proc/{}/status", m.child.id()), "VmHWM:");
        self.members.iter().map(|m| Ok(peak(m)? * 1024)).sum()
    }

    /// Ends the members by SIGTERM and waits until they have gone.
    pub fn stop(&mut self) -> io::Result<()> {
        for member in &self.members {
            let pid = rustix::process::Pid::from_raw(i32::try_from(member.child.id()).unwrap_or(0));
            if let Some(pid) = pid {
                rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
            }
        }
        let begin = Instant::now();
        for mut member in std::mem::take(&mut self.members) {
            while member.child.try_wait()?.is_none() {
                if begin.elapsed() > STOP_MAX {
                    member.child.kill()?;
                    member.child.wait()?;
                    return Err(io::Error::other(format!("{} does not stop", self.kind.name)));
                }
                std::thread::sleep(LOOK);
            }
        }
        Ok(())
    }

    /// Bytes that the folders take on disk.
    pub fn disk_bytes(&self) -> io::Result<u64> {
        fn walk(path: &Path) -> io::Result<u64> {
            use std::os::unix::fs::MetadataExt;
            let mut bytes = 0;
            for entry in std::fs::read_dir(path)? {
                let entry = entry?;
                let meta = entry.metadata()?;
                bytes += if meta.is_dir() {
                    walk(&entry.path())?
                } else {
                    meta.blocks() * 512
                };
            }
            Ok(bytes)
        }
        walk(&self.dir)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            // Already ended is as good.
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

/// What the device under a folder has taken since the machine started; 0 where that is no disk.
fn device_written_bytes(dir: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let device = std::fs::metadata(dir)?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let stat = match std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let sectors = stat.split_whitespace().nth(6).and_then(|n| n.parse::<u64>().ok());
    Ok(sectors.unwrap_or(0) * 512)
}

fn line_of(path: &str, name: &str) -> io::Result<u64> {
    let text = std::fs::read_to_string(path)?;
    let line = text.lines().find_map(|l| l.strip_prefix(name));
    let number = line
        .and_then(|l| l.split_whitespace().next())
        .and_then(|n| n.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("{path} has no {name}")))
}

fn wait_healthy(member: &mut Process, begin: Instant) -> io::Result<()> {
    use std::io::{Read, Write};
    loop {
        if let Some(status) = member.child.try_wait()? {
            return Err(io::Error::other(format!("a member ended at its start: {status}")));
        }
        if let Ok(mut socket) = std::net::TcpStream::connect(("127.0.0.1", member.client)) {
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            let asked = socket.write_all(b"GET /health HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
            let mut answer = Vec::new();
            if asked.is_ok() && socket.read_to_end(&mut answer).is_ok() && answer.starts_with(b"HTTP/1.1 200") {
                return Ok(());
            }
        }
        if begin.elapsed() > START_MAX {
            return Err(io::Error::other("a member is not healthy within a minute"));
        }
        std::thread::sleep(LOOK);
    }
}
