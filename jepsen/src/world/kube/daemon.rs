//! Processes that are started again when they end by themselves.

use super::super::error::{Doing, WorldError};
use super::super::process::{Launch, Process, Spawner};
use nix::sys::signal::Signal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a process that ended by itself stays down.
const RESTART_AFTER: Duration = Duration::from_millis(500);
/// How often it is looked whether one has ended.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Daemon {
    launch: Launch,
    process: Option<Process>,
    /// Whether it should run: not after it was killed.
    wanted: bool,
    ended: Option<Instant>,
    restarts: u64,
}

impl Daemon {
    pub(super) fn new(launch: Launch) -> Daemon {
        Daemon {
            launch,
            process: None,
            wanted: true,
            ended: None,
            restarts: 0,
        }
    }

    fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(|p| p.ended().is_none())
    }

    fn signal(&mut self, signal: Signal) -> Result<(), WorldError> {
        match &mut self.process {
            Some(process) => process.signal(signal),
            None => Err(WorldError::Unavailable(format!(
                "{} is not running",
                self.launch.program.display()
            ))),
        }
    }

    /// Starts it again when it has been down for long enough.
    fn keep(&mut self, spawner: &Spawner) {
        if !self.wanted || self.runs() {
            self.ended = None;
            return;
        }
        let since = *self.ended.get_or_insert_with(Instant::now);
        if since.elapsed() < RESTART_AFTER {
            return;
        }
        // A start that fails is tried again after as long.
        self.ended = None;
        if let Ok(process) = spawner.start(self.launch.clone()) {
            self.process = Some(process);
            self.restarts += 1;
        }
    }
}

#[derive(Debug)]
struct Shared {
    daemons: Vec<Mutex<Daemon>>,
    spawner: Spawner,
    stop: AtomicBool,
}

impl Shared {
    fn lock(&self, index: usize) -> MutexGuard<'_, Daemon> {
        self.daemons[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps processes running; all of them end with it.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Keeper {
    /// Starts all of them.
    pub(super) fn start(daemons: Vec<Daemon>, spawner: Spawner) -> Result<Keeper, WorldError> {
        let shared = Arc::new(Shared {
            daemons: daemons.into_iter().map(Mutex::new).collect(),
            spawner,
            stop: AtomicBool::new(false),
        });
        let mut keeper = Keeper {
            shared: shared.clone(),
            thread: None,
        };
        for index in 0..shared.daemons.len() {
            keeper.up(index)?;
        }
        let thread = std::thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    for index in 0..shared.daemons.len() {
                        // One that was killed is not wanted, whoever comes first.
                        shared.lock(index).keep(&shared.spawner);
                    }
                    std::thread::sleep(LOOK);
                }
            })
            .doing(|| "start a thread".to_owned())?;
        keeper.thread = Some(thread);
        Ok(keeper)
    }

    pub(super) fn up(&self, index: usize) -> Result<(), WorldError> {
        let mut daemon = self.shared.lock(index);
        daemon.wanted = true;
        if !daemon.runs() {
            daemon.process = Some(self.shared.spawner.start(daemon.launch.clone())?);
        }
        Ok(())
    }

    pub(super) fn kill(&self, index: usize) {
        let mut daemon = self.shared.lock(index);
        daemon.wanted = false;
        if let Some(mut process) = daemon.process.take() {
            process.kill();
        }
    }

    pub(super) fn pause(&self, index: usize) -> Result<(), WorldError> {
        self.shared.lock(index).signal(Signal::SIGSTOP)
    }

    /// One that is not running has nothing to resume: it is down, or will be started.
    pub(super) fn resume(&self, index: usize) -> Result<(), WorldError> {
        let mut daemon = self.shared.lock(index);
        if daemon.runs() {
            daemon.signal(Signal::SIGCONT)
        } else {
            Ok(())
        }
    }

    /// Kills all of them; none is started again.
    pub(super) fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for index in 0..self.shared.daemons.len() {
            self.kill(index);
        }
    }

    pub(super) fn restarts(&self, index: usize) -> u64 {
        self.shared.lock(index).restarts
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            // A keeper that panicked has nothing to wait for.
            let _ = thread.join();
        }
    }
}
