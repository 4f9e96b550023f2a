//! Processes that end with the runner. They are started by one thread that lives as long as the world: the signal
//! that a process gets when its parent dies is sent when the *thread* dies that started it.

use super::error::{Doing, WorldError};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// How often a wait looks again.
pub(crate) const LOOK: Duration = Duration::from_millis(10);

/// What is to be started, and where.
#[derive(Clone, Debug)]
pub struct Launch {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    /// Both outputs are appended to it.
    pub log: PathBuf,
    /// Network namespace; the runner's own when there is none.
    pub network: Option<Arc<File>>,
    /// Folders of control groups that it is put into.
    pub groups: Vec<PathBuf>,
}

impl Launch {
    pub fn new(program: &Path, log: &Path) -> Launch {
        Launch {
            program: program.to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            log: log.to_owned(),
            network: None,
            groups: Vec::new(),
        }
    }

    #[must_use]
    pub fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Launch {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Launch {
        self.env.push((name.into(), value.into()));
        self
    }
}

type Job = (Launch, mpsc::Sender<Result<Child, WorldError>>);

/// Starts processes; all of them are killed when it goes.
#[derive(Debug)]
pub struct Spawner {
    jobs: mpsc::Sender<Job>,
}

impl Spawner {
    /// # Errors
    /// Those of the system.
    pub fn new() -> Result<Spawner, WorldError> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let home = File::open("/proc/thread-self/ns/net").doing(|| "open the network namespace".to_owned())?;
        std::thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                for (launch, answer) in todo {
                    // Nobody waits for it any more: then the process goes with the answer.
                    let _ = answer.send(spawn(&launch, &home));
                }
            })
            .doing(|| "start a thread".to_owned())?;
        Ok(Spawner { jobs })
    }

    /// Starts a process.
    ///
    /// # Errors
    /// Those of the system.
    pub fn start(&self, launch: Launch) -> Result<Process, WorldError> {
        let gone = || WorldError::Unavailable("the thread that starts processes has ended".to_owned());
        let (answer, wait) = mpsc::channel();
        self.jobs.send((launch, answer)).map_err(|_| gone())?;
        let child = wait.recv().map_err(|_| gone())??;
        Ok(Process { child, ended: None })
    }
}

fn spawn(launch: &Launch, home: &File) -> Result<Child, WorldError> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(&launch.log)
        .doing(|| format!("open {}", launch.log.display()))?;
    let second = log.try_clone().doing(|| "share the log".to_owned())?;
    let mut command = Command::new(&launch.program);
    command
        .args(&launch.args)
        .envs(launch.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(second);
    // Options in the environment of whoever runs the tests are not meant for members.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ETCD_")) {
        command.env_remove(name);
    }
    let procs: Vec<PathBuf> = launch.groups.iter().map(|g| g.join("cgroup.procs")).collect();
    // SAFETY: between fork and exec only system calls are made: prctl, and open and write of short files whose paths
    // were made before.
    unsafe {
        command.pre_exec(move || {
            set_pdeathsig(Signal::SIGKILL)?;
            for file in &procs {
                std::fs::write(file, "0")?;
            }
            Ok(())
        });
    }
    let started = match &launch.network {
        None => command.spawn(),
        Some(network) => {
            setns(network, CloneFlags::CLONE_NEWNET).doing(|| "enter a network namespace".to_owned())?;
            let started = command.spawn();
            setns(home, CloneFlags::CLONE_NEWNET).doing(|| "leave a network namespace".to_owned())?;
            started
        }
    };
    started.doing(|| format!("start {}", launch.program.display()))
}

/// A process that was started; it is killed when this goes.
#[derive(Debug)]
pub struct Process {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// # Errors
    /// When it has ended already.
    pub fn signal(&mut self, signal: Signal) -> Result<(), WorldError> {
        if let Some(status) = self.ended() {
            return Err(WorldError::Unavailable(format!("the process has ended: {status}")));
        }
        kill(self.pid(), signal).doing(|| format!("send {signal}"))
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            // An error means that it has ended meanwhile.
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
    }

    /// Waits for the end.
    pub fn wait(&mut self, bound: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + bound;
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
