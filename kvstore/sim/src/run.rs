//! One seed from beginning to end: a phase in which anything may happen, and one in which everything must come right.

use crate::client;
use crate::cluster::Cluster;
use crate::executor::{self, Executor, WORLD};
use crate::faults;
use crate::history::Counts;
use crate::options::Options;
use keelson_mvcc::StateMachine;
use keelson_raft::runtime;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const CLIENTS: u64 = 5;
const WATCHERS: u64 = 3;
/// Simulated time that the clients have for their requests, and that the group has to come right in the end.
const BUSY_MAX: Duration = Duration::from_secs(600);
const CALM_MAX: Duration = Duration::from_secs(30);

/// What became of a seed.
#[derive(Debug)]
pub struct Report {
    pub seed: u64,
    /// At the start.
    pub members: u64,
    /// What must not happen and did.
    pub violation: Option<String>,
    /// The same for the same seed and options.
    pub hash: u64,
    pub counts: Counts,
    /// Pieces of snapshots sent.
    pub snapshot_pieces: u64,
    pub simulated: Duration,
    pub polls: u64,
    /// The trace, or its end.
    pub lines: Vec<String>,
}

/// The folder of one simulation; gone with it.
struct Root(PathBuf);

impl Root {
    fn make(at: &Path, seed: u64) -> std::io::Result<Root> {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let path = at.join(format!("keelson-sim-{}-{seed}-{run}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Root(path))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Runs one simulation on this thread.
pub fn run(options: &Options) -> std::io::Result<Report> {
    let root = Root::make(&options.root, options.seed)?;
    let executor = Executor::new(options.seed, options.keep_trace);
    executor.hide(root.0.display().to_string());
    executor::set_current(Some(executor.clone()));
    let cluster = Cluster::new(executor.clone(), options.clone(), root.0.clone());
    let watchers = Watchers::start(&cluster);
    busy(&cluster);
    calm(&cluster, &watchers);
    let (counts, snapshot_pieces) = (cluster.history.lock().counts, cluster.network.snapshot_pieces());
    for id in cluster.ids() {
        cluster.crash(id);
    }
    executor.clear();
    drop(cluster);
    executor::set_current(None);
    let mut trace = executor.trace.borrow_mut();
    Ok(Report {
        seed: options.seed,
        members: options.members,
        violation: executor.failure(),
        hash: trace.hash(),
        counts,
        snapshot_pieces,
        simulated: executor.now(),
        polls: executor.polls(),
        lines: trace.take_lines(),
    })
}

struct Watchers {
    left: Rc<Cell<u64>>,
    /// They end when they have seen everything.
    stop: Rc<Cell<bool>>,
}

impl Watchers {
    fn start(cluster: &Rc<Cluster>) -> Watchers {
        let watchers = Watchers {
            left: Rc::new(Cell::new(WATCHERS)),
            stop: Rc::default(),
        };
        for _ in 0..WATCHERS {
            let (cluster, left, stop) = (cluster.clone(), watchers.left.clone(), watchers.stop.clone());
            cluster.executor.clone().spawn(WORLD, async move {
                client::watch(cluster, stop).await;
                left.set(left.get() - 1);
            });
        }
        watchers
    }
}

/// Clients and faults, until the clients are through.
fn busy(cluster: &Rc<Cluster>) {
    let executor = &cluster.executor;
    for id in cluster.ids() {
        cluster.start(id);
    }
    let (stop, left) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(CLIENTS)));
    executor.spawn(WORLD, faults::run(cluster.clone(), stop.clone()));
    for id in 0..CLIENTS {
        let (cluster, left) = (cluster.clone(), left.clone());
        executor.spawn(WORLD, async move {
            let requests = cluster.options.steps / CLIENTS;
            client::run(cluster, id, requests).await;
            left.set(left.get() - 1);
        });
    }
    if !executor.run(BUSY_MAX, || left.get() == 0) {
        executor.fail("the clients are not through");
    }
    stop.set(true);
}

/// Everything is healed and started, and must agree.
fn calm(cluster: &Rc<Cluster>, watchers: &Watchers) {
    let executor = &cluster.executor;
    executor.note("calm");
    let settled = Rc::new(Cell::new(false));
    let of_task = (cluster.clone(), settled.clone());
    executor.spawn(WORLD, async move {
        let (cluster, settled) = of_task;
        settle(&cluster).await;
        settled.set(true);
    });
    if !executor.run(CALM_MAX, || settled.get()) {
        executor.fail(format!("the group does not come right: {}", state_of(cluster)));
        return;
    }
    watchers.stop.set(true);
    if !executor.run(CALM_MAX, || watchers.left.get() == 0) {
        executor.fail("the watchers are not through");
        return;
    }
    check_end(cluster);
}

async fn settle(cluster: &Rc<Cluster>) {
    let mut n = 0;
    loop {
        cluster.network.heal();
        let damaged = cluster.damaged();
        for id in cluster.failed() {
            if Some(id) == damaged {
                faults::replace(cluster, id);
            } else {
                cluster.crash(id);
            }
        }
        for id in cluster.ids() {
            cluster.start(id);
            if let Some(disk) = cluster.disk(id) {
                disk.set_delay_max_ns(1_000_000);
            }
        }
        runtime::sleep(Duration::from_millis(50)).await;
        let Some(leader) = cluster.leader() else { continue };
        n += 1;
        if !client::write(cluster, leader, &format!("last-{n}")).await {
            continue;
        }
        for _ in 0..100 {
            runtime::sleep(Duration::from_millis(20)).await;
            if agrees(cluster) {
                return;
            }
        }
    }
}

/// Every member of the group that the newest membership names is there and has applied everything.
fn agrees(cluster: &Rc<Cluster>) -> bool {
    let last = cluster.history.lock().last_index();
    let Some(leader) = cluster.leader().and_then(|id| cluster.node(id)) else {
        return false;
    };
    let members = leader.members();
    cluster
        .ids()
        .iter()
        .all(|id| !members.members.contains_key(id) || applied(cluster, *id) == Some(last))
}

fn applied(cluster: &Cluster, id: u64) -> Option<u64> {
    Some(cluster.store(id)?.applied_state().index)
}

fn state_of(cluster: &Cluster) -> String {
    let last = cluster.history.lock().last_index();
    let mut out = format!("{last} applied somewhere, leader {:?};", cluster.leader());
    for id in cluster.ids() {
        let node = cluster.node(id);
        out += &format!(
            " {id}: applied {:?} term {:?} leader {:?} members {:?};",
            applied(cluster, id),
            node.as_ref().map(|n| n.term()),
            node.as_ref().and_then(|n| n.leader()),
            node.as_ref()
                .map(|n| n.members().members.keys().copied().collect::<Vec<_>>()),
        );
    }
    out
}

fn check_end(cluster: &Rc<Cluster>) {
    let history = cluster.history.lock();
    history.check_end();
    let Some(members) = cluster.leader().and_then(|id| cluster.node(id)).map(|n| n.members()) else {
        return;
    };
    let mut hashes = Vec::new();
    for id in members.members.keys() {
        let Some(store) = cluster.store(*id) else { continue };
        history.check_store(*id, &store);
        match store.hash(0) {
            Ok(hashed) => hashes.push((*id, hashed)),
            Err(e) => cluster.executor.fail(format!("hash member {id}: {e}")),
        }
    }
    if let Some((_, first)) = hashes.first()
        && hashes.iter().any(|(_, hashed)| hashed != first)
    {
        cluster
            .executor
            .fail(format!("members hold different data: {hashes:?}"));
    }
}
