//! A world to break, and a few words to ask it with.
#![allow(clippy::unwrap_used)]

use keelson_jepsen::client::{self, Client, Timeouts};
use keelson_jepsen::faults::{Fault, Kind, Nemesis, Plan, Step};
use keelson_jepsen::history::{Clock, FaultRecord, Folder, Phase, Recorder};
use keelson_jepsen::world::{Equipment, Target, World, WorldSpec, enter};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

pub const BOUND: Duration = Duration::from_secs(30);
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(1),
    request: Duration::from_secs(8),
};

/// `KEELSON_KVSTORE_BIN`, or what `cargo test --workspace` built beside this program, or `ETCD`.
pub fn target() -> Target {
    let path = |name| std::env::var_os(name).map(PathBuf::from);
    let built = std::env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .with_file_name("keelson-kvstore");
    let built = built.is_file().then_some(built);
    match (path("KEELSON_KVSTORE_BIN").or(built), path("ETCD")) {
        (Some(ours), _) => Target::Keelson(ours),
        (None, Some(etcd)) => Target::Etcd(etcd),
        (None, None) => panic!("set KEELSON_KVSTORE_BIN to a program that is to be tested"),
    }
}

pub struct Stage {
    pub world: Arc<World>,
    runtime: Runtime,
    clients: Vec<Client>,
    folder: Folder,
    /// After the world: its log is in it.
    _dir: tempfile::TempDir,
}

impl Stage {
    /// A healthy cluster of three in namespaces of this thread's own, for these faults.
    pub fn set(kinds: &[Kind], flags: &[&str]) -> Stage {
        Stage::with(Kind::equipment(kinds), flags)
    }

    fn with(equipment: Equipment, flags: &[&str]) -> Stage {
        enter().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::create(dir.path()).unwrap();
        let mut spec = WorldSpec::new(3, target());
        spec.disk_mib = 256;
        spec.equipment = equipment;
        spec.flags = ["--heartbeat-interval=100", "--election-timeout=1000"]
            .iter()
            .chain(flags)
            .map(|f| (*f).to_owned())
            .collect();
        let world = Arc::new(World::start(spec, &folder).unwrap());
        world.wait_healthy(BOUND).unwrap();
        let clients = world
            .nodes()
            .map(|n| client::connect(&world.client_url(n), TIMEOUTS))
            .collect();
        Stage {
            world,
            // It descends from this thread, and is in its namespaces.
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
            clients,
            folder,
            _dir: dir,
        }
    }

    /// Writes through a member. How long it took.
    pub fn put(&self, node: usize, key: &str, value: &str) -> Result<Duration, String> {
        let begin = Instant::now();
        let put = self.clients[node - 1].put(client::put(key, value));
        self.runtime
            .block_on(put)
            .map(|_| begin.elapsed())
            .map_err(|e| e.to_string())
    }

    /// Reads through a member, linearizably.
    pub fn get(&self, node: usize, key: &str) -> Result<Option<String>, String> {
        let range = self.clients[node - 1].range(client::get(key));
        let answer = self.runtime.block_on(range).map_err(|e| e.to_string())?;
        Ok(answer.kvs.first().map(|kv| client::text(&kv.value)))
    }

    /// Does these faults one after another, each until it is over, heals, and returns what was written down.
    pub fn play(&self, faults: impl IntoIterator<Item = (Fault, u64)>) -> Vec<FaultRecord> {
        let mut at_ms = 0;
        let mut steps = Vec::new();
        for (number, (fault, for_ms)) in faults.into_iter().enumerate() {
            steps.push(Step {
                id: number as u64 + 1,
                at_ms,
                for_ms,
                fault,
            });
            at_ms += for_ms + 500;
        }
        let recorder = Arc::new(Recorder::create(&self.folder, Clock::begin()).unwrap());
        let plan = Plan { steps };
        let mut nemesis = Nemesis::start(Arc::clone(&self.world), Arc::clone(&recorder), plan).unwrap();
        eventually("the end of the faults", || match nemesis.is_done() {
            true => Ok(()),
            false => Err("they go on".to_owned()),
        });
        nemesis.heal(BOUND).unwrap();
        drop(nemesis);
        recorder.finish().unwrap();
        self.folder.faults().unwrap()
    }
}

/// What was written down under a name.
pub fn named<'r>(records: &'r [FaultRecord], phase: Phase, name: &str) -> Vec<&'r FaultRecord> {
    records.iter().filter(|r| r.phase == phase && r.fault == name).collect()
}

/// What was written down besides statuses, for a failure to show.
pub fn told(records: &[FaultRecord]) -> String {
    let lines = records.iter().filter(|r| r.fault != "status");
    lines.map(|r| format!("{r:?}\n")).collect()
}

/// Waits until `look` finds something; fails with what was seen last when the bound is over.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + BOUND;
    loop {
        match look() {
            Ok(value) => return value,
            Err(seen) if Instant::now() > deadline => panic!("{what}: not within {BOUND:?}; last seen: {seen}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
