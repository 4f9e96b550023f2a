//! The control plane on the members: API servers and schedulers, processes of their own in namespaces of their own.
//!
//! A process that ends by itself (a scheduler that lost its Lease does) is started again after a while, as a service
//! manager would; one that was killed stays down until it is started.

mod daemon;
mod pki;

use super::error::{Doing, WorldError};
use super::network::{Namespace, address};
use super::process::{Launch, Spawner};
use daemon::{Daemon, Keeper};
use pki::Pki;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// How many API servers there are.
pub const SERVERS: usize = 2;
/// How many schedulers there are.
pub const SCHEDULERS: usize = 2;
/// API server N has the address 10.77.0.(100 + N), scheduler N 10.77.0.(110 + N).
const SERVER_BASE: usize = 100;
const SCHEDULER_BASE: usize = 110;
const PORT: u16 = 6443;
/// Timing of the schedulers' election: shorter than upstream's, so that a run sees many.
const ELECTION: [&str; 3] = [
    "--leader-elect-lease-duration=4s",
    "--leader-elect-renew-deadline=3s",
    "--leader-elect-retry-period=1s",
];

/// What a control plane is made of. Programs named `keelson` are run by subcommand.
#[derive(Clone, Debug)]
pub struct KubeSpec {
    pub apiserver: PathBuf,
    pub scheduler: PathBuf,
    /// Both schedulers schedule at once, without an election.
    pub both: bool,
    /// A seeded bug: the value of `KEELSON_BUG`.
    pub bug: Option<String>,
}

impl KubeSpec {
    /// All of this program, with an election.
    pub fn new(keelson: &Path) -> KubeSpec {
        KubeSpec {
            apiserver: keelson.to_owned(),
            scheduler: keelson.to_owned(),
            both: false,
            bug: None,
        }
    }
}

/// One process of the control plane, numbered from 1 within its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    Apiserver(usize),
    Scheduler(usize),
}

impl Part {
    /// Number of its node in the network: its address ends with it.
    pub fn host(self) -> usize {
        match self {
            Part::Apiserver(n) => SERVER_BASE + n,
            Part::Scheduler(n) => SCHEDULER_BASE + n,
        }
    }

    fn index(self) -> usize {
        match self {
            Part::Apiserver(n) => n - 1,
            Part::Scheduler(n) => SERVERS + n - 1,
        }
    }

    /// `apiserver-1`
    pub fn name(self) -> String {
        match self {
            Part::Apiserver(n) => format!("apiserver-{n}"),
            Part::Scheduler(n) => format!("scheduler-{n}"),
        }
    }
}

/// A running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    keeper: Keeper,
    namespaces: Vec<(usize, Namespace)>,
    pki: Pki,
}

impl ControlPlane {
    /// Starts everything; does not wait for it. `scratch` takes its keys, `folder` its logs.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn start(
        spec: &KubeSpec,
        members: &[String],
        scratch: &Path,
        folder: &Path,
    ) -> Result<ControlPlane, WorldError> {
        let dir = scratch.join("kube");
        let addresses: Vec<String> = Self::servers().map(|p| address(p.host())).collect();
        let pki = Pki::make(&dir, &addresses)?;
        let (mut daemons, mut namespaces) = (Vec::new(), Vec::new());
        for part in Self::parts() {
            let logs = folder.join(part.name());
            std::fs::create_dir_all(&logs).doing(|| format!("make {}", logs.display()))?;
            let namespace = Namespace::plug(part.host())?;
            let (program, verb, flags) = match part {
                Part::Apiserver(n) => (&spec.apiserver, "kube-apiserver", apiserver(n, members, &pki)),
                Part::Scheduler(n) => {
                    let server = format!("https://{}:{PORT}", addresses[(n - 1) % addresses.len()]);
                    let flags = scheduler(&pki.scheduler_kubeconfig(n, &server)?, spec.both);
                    (&spec.scheduler, "kube-scheduler", flags)
                }
            };
            let verb = program.file_name().is_some_and(|n| n == "keelson").then_some(verb);
            let mut launch = Launch::new(program, &logs.join("log")).args(verb).args(flags);
            if let Some(bug) = &spec.bug {
                launch = launch.env("KEELSON_BUG", bug);
            }
            launch.network = Some(namespace.file());
            daemons.push(Daemon::new(launch));
            namespaces.push((part.host(), namespace));
        }
        let keeper = Keeper::start(daemons, Spawner::new()?)?;
        Ok(ControlPlane {
            keeper,
            namespaces,
            pki,
        })
    }

    /// All processes.
    pub fn parts() -> impl Iterator<Item = Part> {
        Self::servers().chain(Self::schedulers())
    }

    pub fn servers() -> impl Iterator<Item = Part> {
        (1..=SERVERS).map(Part::Apiserver)
    }

    pub fn schedulers() -> impl Iterator<Item = Part> {
        (1..=SCHEDULERS).map(Part::Scheduler)
    }

    /// Where clients find the API servers.
    ///
    /// # Errors
    /// None that is known: all addresses are made here.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, WorldError> {
        Self::servers()
            .map(|part| format!("{}:{PORT}", address(part.host())).parse())
            .collect::<Result<_, std::net::AddrParseError>>()
            .map_err(std::io::Error::other)
            .doing(|| "make an address".to_owned())
    }

    /// The authority of the servers' certificates, PEM.
    pub fn ca(&self) -> &str {
        &self.pki.ca
    }

    /// The token of an administrator.
    pub fn token(&self) -> &str {
        pki::ADMIN_TOKEN
    }

    /// Starts a process that was killed; one that runs stays as it is.
    ///
    /// # Errors
    /// Those of the system.
    pub fn up(&self, part: Part) -> Result<(), WorldError> {
        self.keeper.up(part.index())
    }

    /// SIGKILL. It stays down.
    pub fn kill(&self, part: Part) {
        self.keeper.kill(part.index());
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pause(&self, part: Part) -> Result<(), WorldError> {
        self.keeper.pause(part.index())
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it is not running.
    pub fn resume(&self, part: Part) -> Result<(), WorldError> {
        self.keeper.resume(part.index())
    }

    /// How often a process ended by itself and was started again.
    pub fn restarts(&self, part: Part) -> u64 {
        self.keeper.restarts(part.index())
    }

    /// Ends all processes, for good.
    pub(super) fn stop(&self) {
        self.keeper.stop();
    }

    /// Namespaces by the numbers that their addresses have: the firewall knows them as nodes.
    pub(super) fn namespaces(&self) -> Vec<(usize, Namespace)> {
        self.namespaces.clone()
    }
}

fn apiserver(number: usize, members: &[String], pki: &Pki) -> Vec<String> {
    let at = |name: &str| pki.file(name);
    let own = address(Part::Apiserver(number).host());
    vec![
        format!("--etcd-servers={}", members.join(",")),
        format!("--bind-address={own}"),
        format!("--advertise-address={own}"),
        format!("--secure-port={PORT}"),
        format!("--tls-cert-file={}", at("server.crt")),
        format!("--tls-private-key-file={}", at("server.key")),
        format!("--client-ca-file={}", at("ca.crt")),
        format!("--token-auth-file={}", at("tokens.csv")),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-signing-key-file={}", at("sa.key")),
        format!("--service-account-key-file={}", at("sa.pub")),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        format!("--kubelet-client-certificate={}", at("server.crt")),
        format!("--kubelet-client-key={}", at("server.key")),
        format!("--kubelet-certificate-authority={}", at("ca.crt")),
    ]
}

fn scheduler(kubeconfig: &str, both: bool) -> Vec<String> {
    let mut flags = vec![format!("--kubeconfig={kubeconfig}"), "--secure-port=0".to_owned()];
    if both {
        flags.push("--leader-elect=false".to_owned());
    } else {
        flags.extend(ELECTION.map(str::to_owned));
    }
    flags
}
