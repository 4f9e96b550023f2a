//! What is tested: members in network namespaces with disks of their own, and everything that can be done to them.
//!
//! What it is: [`enter`] puts the runner into namespaces; [`World::start`] makes a bridge there, and for every member a
//! namespace, a disk, and a process. Everything is synchronous and may be called from any thread that descends from
//! the one that entered. What it is not: it does not choose what to break and when; `faults` does.
//!
//! # Invariants
//! - Node N has the address 10.77.0.N, clients come from 10.77.0.254.
//! - Nothing is left behind: processes are killed by the end of the thread that started them, namespaces, mounts, disks
//!   and loop devices go with the last who holds them. Only control groups outlive a runner that is killed; the next
//!   world removes them.

mod command;
mod corrupt;
mod disk;
mod enter;
mod error;
mod extents;
mod firewall;
mod harm;
mod http;
mod knobs;
pub mod kube;
mod links;
mod loops;
mod member;
mod network;
mod process;
mod scratch;
mod skew;
mod spec;
mod survey;
mod throttle;
mod trace;

pub use enter::enter;
pub use error::WorldError;
pub use firewall::{End, Flow};
pub use knobs::knobs;
pub use links::Pace;
pub use member::{State, peer_url};
pub use network::{CLIENTS, address};
pub use process::{Launch, Process, Spawner};
pub use skew::Skew;
pub use spec::{Equipment, Target, WorldSpec};
pub use survey::Loss;
pub use throttle::DiskRate;
pub use trace::SyncFault;

use crate::history::Folder;
use disk::Disk;
use error::Doing;
use firewall::Firewall;
use links::Links;
use member::{Member, member_name};
use network::Namespace;
use scratch::Scratch;
use skew::WallClock;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use throttle::Throttle;

/// How often a wait for health looks again.
const LOOK_HEALTH: Duration = Duration::from_millis(50);
/// How long a member may take to answer whether it is healthy.
const ANSWER: Duration = Duration::from_secs(2);
/// Lines of a log that an error shows.
const TAIL_LINES: usize = 12;

/// Members of one cluster, running.
#[derive(Debug)]
pub struct World {
    spec: WorldSpec,
    folder: PathBuf,
    /// Namespaces again, so that the network can be changed while a member is busy.
    namespaces: Vec<(usize, Namespace)>,
    firewall: Firewall,
    links: Option<Links>,
    shim: Option<PathBuf>,
    // In the order in which they must go: processes, disks, the scratch folder.
    kube: Option<kube::ControlPlane>,
    members: Vec<Mutex<Member>>,
    spawner: Spawner,
    scratch: Scratch,
}

impl World {
    /// Makes everything and starts all members of a new cluster; does not wait for them. [`enter`] was called before
    /// on this thread or one that it descends from.
    ///
    /// # Errors
    /// Those of the system; nothing is left then.
    pub fn start(spec: WorldSpec, folder: &Folder) -> Result<World, WorldError> {
        let folder = std::fs::canonicalize(folder.path()).doing(|| format!("find {}", folder.path().display()))?;
        network::make_bridge()?;
        let scratch = Scratch::make(&folder.join("world"), spec.disk_mib * spec.nodes as u64)?;
        let spawner = Spawner::new()?;
        let everyone: Vec<String> = (1..=spec.nodes)
            .map(|n| format!("{}={}", member_name(n), peer_url(n)))
            .collect();
        let equipment = spec.equipment;
        // Go's runtime asks the kernel for the time, past the C library.
        let clocks = equipment.clocks && matches!(spec.target, Target::Keelson(_));
        let shim = clocks.then(|| skew::write_shim(scratch.path())).transpose()?;
        let mut members = Vec::new();
        let mut namespaces = Vec::new();
        for number in 1..=spec.nodes {
            let logs = folder.join(format!("node-{number}"));
            std::fs::create_dir_all(&logs).doing(|| format!("make {}", logs.display()))?;
            let namespace = Namespace::plug(number)?;
            namespaces.push((number, namespace.clone()));
            members.push(Mutex::new(Member {
                number,
                namespace,
                disk: Disk::make(scratch.path(), number, spec.disk_mib)?,
                joins: "new",
                cluster: everyone.join(","),
                process: None,
                paused: false,
                tracer: None,
                exits: Vec::new(),
                noted: false,
                throttle: equipment.throttles.then(|| Throttle::make(number)).transpose()?,
                clock: clocks.then(|| WallClock::make(scratch.path(), number)).transpose()?,
            }));
        }
        let links = equipment.proxies.then(|| Links::make(&namespaces)).transpose()?;
        let mut world = World {
            spec,
            folder,
            namespaces,
            firewall: Firewall::default(),
            links,
            shim,
            kube: None,
            members,
            spawner,
            scratch,
        };
        for node in world.nodes() {
            world.start_member(node)?;
        }
        if let Some(kube) = &world.spec.kube {
            let urls: Vec<String> = world.nodes().map(|node| world.client_url(node)).collect();
            let plane = kube::ControlPlane::start(kube, &urls, world.scratch.path(), &world.folder)?;
            world.namespaces.extend(plane.namespaces());
            world.kube = Some(plane);
        }
        Ok(world)
    }

    /// The numbers of the members.
    pub fn nodes(&self) -> std::ops::RangeInclusive<usize> {
        1..=self.spec.nodes
    }

    pub fn spec(&self) -> &WorldSpec {
        &self.spec
    }

    /// Where clients find a member.
    pub fn client_url(&self, node: usize) -> String {
        format!("http://{}:{}", address(node), http::CLIENT_PORT)
    }

    /// API servers and schedulers, where the world has them.
    pub fn kube(&self) -> Option<&kube::ControlPlane> {
        self.kube.as_ref()
    }

    /// Starts other processes that end with the world.
    pub fn spawner(&self) -> &Spawner {
        &self.spawner
    }

    /// Waits until every member says that it is healthy.
    ///
    /// # Errors
    /// [`WorldError::Late`] with what was seen last.
    pub fn wait_healthy(&self, bound: Duration) -> Result<(), WorldError> {
        let deadline = Instant::now() + bound;
        for node in self.nodes() {
            while let Err(seen) = self.health(node) {
                if Instant::now() > deadline {
                    return Err(WorldError::Late {
                        what: format!("member {node} is healthy"),
                        bound,
                        seen: format!("{seen}\n{}", self.log_tail(node)),
                    });
                }
                std::thread::sleep(LOOK_HEALTH);
            }
        }
        Ok(())
    }

    /// Asks a member whether it is healthy.
    ///
    /// # Errors
    /// Why it is not, or why it cannot be asked.
    pub fn health(&self, node: usize) -> Result<(), String> {
        match http::get(node, "/health", ANSWER) {
            Ok((200, _)) => Ok(()),
            Ok((status, body)) => Err(format!("{status} {}", body.trim())),
            Err(e) => Err(match self.lock(node).state() {
                State::Running => e.to_string(),
                other => format!("{other:?}: {e}"),
            }),
        }
    }

    /// The page of metrics of a member.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn metrics(&self, node: usize) -> Result<Metrics, String> {
        match http::get(node, "/metrics", ANSWER) {
            Ok((200, page)) => Ok(Metrics { page }),
            Ok((status, body)) => Err(format!("{status} {}", body.trim())),
            Err(e) => Err(e.to_string()),
        }
    }

    /// What a member does.
    pub fn state(&self, node: usize) -> State {
        self.lock(node).state()
    }

    /// How processes of a member have ended by themselves since this was asked last.
    pub fn take_exits(&self, node: usize) -> Vec<ExitStatus> {
        let mut member = self.lock(node);
        member.state();
        std::mem::take(&mut member.exits)
    }

    /// Starts a member that is not running; one that runs stays as it is.
    ///
    /// # Errors
    /// Those of the system; a program that ends at once is not seen here.
    pub fn start_member(&self, node: usize) -> Result<(), WorldError> {
        let mut member = self.lock(node);
        if matches!(member.state(), State::Running | State::Paused) {
            return Ok(());
        }
        member.kill();
        member.disk.mount()?;
        let mut launch = Launch::new(self.spec.target.program(), &self.log(node))
            .args(self.spec.target.verb())
            .args(member.flags(&self.spec.flags));
        launch.network = Some(member.namespace.file());
        if let Some(bug) = &self.spec.bug {
            launch = launch.env("KEELSON_BUG", bug);
        }
        if let (Some(shim), Some(clock)) = (&self.shim, &member.clock) {
            launch = launch.env("LD_PRELOAD", shim).env("KEELSON_CLOCK", clock.path());
        }
        launch.groups = member.throttle.iter().map(|t| t.group().to_owned()).collect();
        member.process = Some(self.spawner.start(launch)?);
        member.noted = false;
        Ok(())
    }

    /// The data folder of a member.
    pub fn data(&self, node: usize) -> PathBuf {
        self.lock(node).data()
    }

    /// The log of a member, all starts in one file.
    pub fn log(&self, node: usize) -> PathBuf {
        self.folder.join(format!("node-{node}")).join("log")
    }

    /// The last lines of a member's log.
    pub fn log_tail(&self, node: usize) -> String {
        let text = std::fs::read(self.log(node)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// A folder in memory that ends with the world.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Ends everything.
    ///
    /// # Errors
    /// What could not be undone.
    pub fn stop(&self) -> Result<(), WorldError> {
        if let Some(kube) = &self.kube {
            kube.stop();
        }
        for node in self.nodes() {
            let mut member = self.lock(node);
            member.kill();
            member.disk.unmount()?;
        }
        Ok(())
    }

    fn lock(&self, node: usize) -> MutexGuard<'_, Member> {
        // Each operation leaves a member as it says; one that panicked leaves what the next one finds.
        self.members[node - 1].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for node in self.nodes() {
            self.lock(node).kill();
        }
        // In a runner that ends it goes anyway; another world in the same namespaces needs the name.
        if let Err(e) = network::remove_bridge() {
            eprintln!("the bridge stays until the runner ends: {e}");
        }
    }
}

/// What a member measures.
#[derive(Clone, Debug)]
pub struct Metrics {
    page: String,
}

impl Metrics {
    /// The value of a metric without labels.
    pub fn value(&self, name: &str) -> Option<f64> {
        http::metric(&self.page, name)
    }
}
