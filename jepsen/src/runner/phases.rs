//! The phases of a run, one after another.

use super::progress::Progress;
use super::{Ruling, RunError, RunSpec, finals, judge};
use crate::client::Client;
use crate::faults::{self, Kind, Nemesis, Plan};
use crate::history::{Clock, FaultRecord, Folder, Phase, Recorder};
use crate::workload::kube::Access;
use crate::workload::{self, Env, Settings, Worker, Workload, spectator};
use crate::world::{World, WorldSpec, knobs};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A new cluster is healthy within this time.
const START: Duration = Duration::from_secs(60);
/// Members are healthy again within this time after everything was healed.
const RECOVERY: Duration = Duration::from_secs(120);
/// How long clients go on after that, so that each of them is served again.
const AFTERMATH: Duration = Duration::from_secs(2);
/// Clients end within this time: their requests have limits.
const CLIENTS_END: Duration = Duration::from_secs(30);
/// Final reads are done within this time.
const FINALS: Duration = Duration::from_secs(60);
/// Observers have been sent everything within this time after the end.
const OBSERVERS_END: Duration = Duration::from_secs(30);

/// Makes a run and judges it. The world was entered before ([`crate::world::enter`]).
///
/// When `interrupted` becomes true while faults strike, that phase ends at once and the others follow.
///
/// # Errors
/// [`RunError`] when nothing can be said of the target.
pub fn run(spec: &RunSpec, interrupted: &AtomicBool) -> Result<Ruling, RunError> {
    let workloads = spec.workloads()?;
    let version = spec.target.version().map_err(RunError::io(format!(
        "run {} --version",
        spec.target.program().display()
    )))?;
    let folder = Folder::create(&spec.folder).map_err(RunError::io(format!("make {}", spec.folder.display())))?;
    let kube = spec.control_plane(&workloads);
    let kinds = faults::choose(&spec.faults, spec.seed, &spec.target, kube.is_some()).map_err(RunError::Usage)?;
    let plan = Plan::draw(spec.seed, &kinds, spec.time, spec.nodes);
    let flags = knobs(spec.seed, &spec.flags);
    let names = kinds.iter().map(|kind| kind.name().to_owned()).collect();
    let meta = spec.meta(&workloads, version, names, &flags);
    folder
        .write_json("meta.json", &meta)
        .map_err(RunError::io("write meta.json"))?;
    folder
        .write_json("plan.json", &plan)
        .map_err(RunError::io("write plan.json"))?;
    let recorder = Recorder::create(&folder, Clock::begin()).map_err(RunError::io("make the files of the run"))?;
    let recorder = Arc::new(recorder);
    let progress = Progress::new(spec.quiet);
    progress.phase("start");
    let mut world_spec = WorldSpec::new(spec.nodes, spec.target.clone());
    world_spec.flags = flags;
    world_spec.equipment = Kind::equipment(&kinds);
    world_spec.bug.clone_from(&spec.bug);
    world_spec.kube = kube;
    let world = Arc::new(World::start(world_spec, &folder)?);
    world.wait_healthy(START)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(RunError::io("start the runtime of the clients"))?;
    let run = Run {
        spec,
        workloads: &workloads,
        world: &world,
        plan: &plan,
        runtime: &runtime,
        recorder: &recorder,
        progress: &progress,
        interrupted,
    };
    let done = run.live(&folder);
    // Whatever happened, nothing of it goes on.
    runtime.shutdown_timeout(Duration::from_secs(1));
    world.stop()?;
    done?;
    recorder.finish().map_err(RunError::io("write what was recorded"))?;
    progress.phase("judge");
    judge(&folder)
}

/// A run whose members are there.
struct Run<'a> {
    spec: &'a RunSpec,
    workloads: &'a [Box<dyn Workload>],
    world: &'a Arc<World>,
    plan: &'a Plan,
    runtime: &'a Runtime,
    recorder: &'a Arc<Recorder>,
    progress: &'a Progress,
    interrupted: &'a AtomicBool,
}

impl Run<'_> {
    fn live(&self, folder: &Folder) -> Result<(), RunError> {
        let urls: Vec<String> = self.world.nodes().map(|node| self.world.client_url(node)).collect();
        let (stop, stopped) = watch::channel(false);
        let (last, until) = watch::channel(None);
        let settings = Settings {
            clients: 1,
            rate: 1.0,
            time: self.spec.time,
        };
        let mut env = Env::new(
            Arc::clone(self.recorder),
            self.spec.seed,
            urls,
            self.spec.timeouts(),
            settings,
            stopped,
            until,
        );
        env.kube = self.api_servers()?;
        self.progress.follow(self.runtime, &env);
        let spawn = |workers: Vec<Worker>| workers.into_iter().map(|worker| self.runtime.spawn(worker));
        let mut observers: Vec<JoinHandle<()>> = spawn(spectator::workers(&env)).collect();
        self.each(&env, "set up", |workload, env| workload.setup(env))?;
        let mut clients: Vec<JoinHandle<()>> = Vec::new();
        for workload in self.workloads {
            let env = env.with(self.spec.settings(workload.as_ref()));
            clients.extend(spawn(workload.workers(&env)));
            observers.extend(spawn(workload.observers(&env)));
        }
        self.progress.phase("faults");
        let mut nemesis = Nemesis::start(Arc::clone(self.world), Arc::clone(self.recorder), self.plan.clone())?;
        self.strike();
        self.progress.phase("recovery");
        // A member that was away for long has to catch up with what the others take on meanwhile.
        env.set_calm(true);
        let recovered = self.recover(&env, &mut nemesis);
        env.set_calm(false);
        self.runtime.block_on(env.rest(AFTERMATH));
        self.progress.phase("clients end");
        // Nobody listening means that no client is left.
        let _ = stop.send(true);
        self.join("clients", clients, CLIENTS_END)?;
        self.progress.phase("final reads");
        if recovered {
            if let Err(e) = self.each(&env, "final reads", |workload, env| workload.finals(env)) {
                self.effect("no-recovery", json!({"seen": e.to_string()}));
            }
            self.finals(&env, folder, &last)?;
        } else {
            let _ = last.send(Some(0));
        }
        if let Err(e) = self.join("observers", observers, OBSERVERS_END) {
            let seen: Vec<i64> = self.world.nodes().map(|node| env.seen.of(node)).collect();
            let detail = json!({"seen": seen, "wanted": *env.until().borrow(), "why": e.to_string()});
            self.effect("spectators-late", detail);
        }
        Ok(())
    }

    /// How clients reach the API servers.
    fn api_servers(&self) -> Result<Option<Access>, RunError> {
        let Some(kube) = self.world.kube() else {
            return Ok(None);
        };
        let access = Access::new(kube.addresses()?, kube.ca(), kube.token());
        access.map(Some).map_err(|e| RunError::Setup(e.to_string()))
    }

    /// What each workload does with its own settings.
    fn each<'s, F>(&'s self, env: &Env, what: &str, work: F) -> Result<(), RunError>
    where
        F: for<'w> Fn(&'w dyn Workload, &'w Env) -> futures::future::BoxFuture<'w, Result<(), String>>,
    {
        for workload in self.workloads {
            let env = env.with(self.spec.settings(workload.as_ref()));
            self.runtime
                .block_on(work(workload.as_ref(), &env))
                .map_err(|e| RunError::Setup(format!("{}: {what}: {e}", workload.name())))?;
        }
        Ok(())
    }

    /// Faults strike for the time of the run.
    fn strike(&self) {
        let end = std::time::Instant::now() + self.spec.time;
        while std::time::Instant::now() < end && !self.interrupted.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Undoes all faults and waits until all members and API servers are healthy; writes down how long that took.
    fn recover(&self, env: &Env, nemesis: &mut Nemesis) -> bool {
        let begin = Instant::now();
        let healthy = nemesis.heal(RECOVERY).and_then(|()| match &env.kube {
            Some(access) => self.runtime.block_on(workload::kube::ready(access, RECOVERY)),
            None => Ok(()),
        });
        let ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &healthy {
            Ok(()) => self.effect("recovered", json!({"ms": ms})),
            Err(e) => self.effect("no-recovery", json!({"ms": ms, "seen": e})),
        }
        healthy.is_ok()
    }

    fn finals(&self, env: &Env, folder: &Folder, last: &watch::Sender<Option<i64>>) -> Result<(), RunError> {
        let clients: Vec<Client> = (1..=env.nodes()).map(|node| env.client(node)).collect();
        match self.runtime.block_on(finals::read(&clients, FINALS)) {
            Ok(states) => {
                folder
                    .write_lines("final.jsonl", &states)
                    .map_err(RunError::io("write final.jsonl"))?;
                let _ = last.send(Some(states.iter().map(|state| state.revision).max().unwrap_or(0)));
            }
            Err(e) => {
                self.effect("no-recovery", json!({"seen": e}));
                let _ = last.send(Some(0));
            }
        }
        Ok(())
    }

    fn effect(&self, what: &str, detail: Value) {
        self.recorder.fault(FaultRecord {
            time_ns: 0,
            id: 0,
            phase: Phase::Effect,
            fault: what.to_owned(),
            nodes: self.world.nodes().collect(),
            detail,
        });
    }

    /// Waits for tasks; those that are late are ended.
    fn join(&self, what: &str, tasks: Vec<JoinHandle<()>>, bound: Duration) -> Result<(), RunError> {
        self.runtime.block_on(async {
            let deadline = Instant::now() + bound;
            for (at, mut task) in tasks.into_iter().enumerate() {
                match tokio::time::timeout_at(deadline, &mut task).await {
                    Ok(Ok(())) => {}
                    Ok(Err(e)) => return Err(RunError::Setup(format!("{what}: {e}"))),
                    Err(_) => {
                        task.abort();
                        return Err(RunError::Setup(format!(
                            "{what}: number {at} did not end within {bound:?}"
                        )));
                    }
                }
            }
            Ok(())
        })
    }
}
