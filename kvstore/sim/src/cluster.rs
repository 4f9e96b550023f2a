//! The members: how they start, die and start again with what their disks have left.

use crate::disk::{Lie, SimDisk};
use crate::executor::{Executor, Owner};
use crate::history::History;
use crate::machine::Machine;
use crate::network::Network;
use crate::options::{Bug, Options};
use keelson_mvcc::{MemoryDisk, Slice, StateMachine, Store};
use keelson_raft::{Error, Member, Node, Start, Timers, runtime};
use keelson_wal::Step;
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

const CLUSTER_ID: u64 = 0xc1;
/// Small, so that the log is purged and snapshots are sent.
const FLUSH_ENTRIES: u64 = 30;
const CATCHUP_ENTRIES: u64 = 10;
const SEGMENT_BYTES: u64 = 16 << 10;
/// Ten times faster than etcd's, with fewer heartbeats: they are most of what there is to simulate.
const HEARTBEAT: Duration = Duration::from_millis(25);
const ELECTION: Duration = Duration::from_millis(100);

/// One life of a member, from a start to a crash.
struct Life {
    owner: Owner,
    node: Option<Node<Machine>>,
    store: Arc<Store>,
    disk: Arc<SimDisk>,
    /// It told that it failed, as it should after an error of the disk.
    failed: Option<Error>,
}

struct Place {
    dir: PathBuf,
    lives: u64,
    state: MemoryDisk,
    start: Start,
    drift_ppm: i64,
    life: Option<Life>,
    /// Its disk was told to fail, so it may.
    may_fail: bool,
    /// A bit of its log was flipped, so it may refuse to start.
    flipped: bool,
}

pub struct Cluster {
    pub executor: Rc<Executor>,
    pub network: Network,
    pub history: Arc<Mutex<History>>,
    pub options: Options,
    root: PathBuf,
    places: RefCell<BTreeMap<u64, Place>>,
    /// Changes of members that are under way, or whose end nobody knows: who votes may yet turn out otherwise.
    pub open_changes: Cell<u32>,
}

pub fn member(id: u64) -> Member {
    Member {
        name: format!("m{id}"),
        peer_urls: vec![format!("sim://m{id}")],
        wants_vote: true,
    }
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for file in std::fs::read_dir(from)? {
        let file = file?;
        if file.file_name() != "LOCK" {
            std::fs::copy(file.path(), to.join(file.file_name()))?;
        }
    }
    Ok(())
}

impl Cluster {
    pub fn new(executor: Rc<Executor>, options: Options, root: PathBuf) -> Rc<Cluster> {
        let cluster = Rc::new(Cluster {
            executor,
            network: Network::default(),
            history: Arc::default(),
            root,
            places: RefCell::default(),
            open_changes: Cell::new(0),
            options,
        });
        let first: BTreeMap<u64, Member> = (1..=cluster.options.members).map(|id| (id, member(id))).collect();
        for id in first.keys() {
            cluster.add_place(*id, Start::Form(first.clone()));
        }
        cluster
    }

    /// A machine for a member, with empty disks.
    pub fn add_place(&self, id: u64, start: Start) {
        let drift_ppm = self.executor.rng.borrow_mut().between(0, 20_000) as i64 - 10_000;
        let place = Place {
            dir: self.root.join(format!("m{id}-0")),
            lives: 0,
            state: MemoryDisk::default(),
            start,
            drift_ppm,
            life: None,
            may_fail: false,
            flipped: false,
        };
        self.places.borrow_mut().insert(id, place);
    }

    /// The machine goes for good.
    pub fn remove_place(&self, id: u64) {
        self.crash(id);
        self.places.borrow_mut().remove(&id);
    }

    pub fn ids(&self) -> Vec<u64> {
        self.places.borrow().keys().copied().collect()
    }

    pub fn is_up(&self, id: u64) -> bool {
        self.places.borrow().get(&id).is_some_and(|p| p.life.is_some())
    }

    /// Members whose node is there.
    pub fn ready(&self) -> Vec<u64> {
        let places = self.places.borrow();
        let ready = places
            .iter()
            .filter(|(_, p)| p.life.as_ref().is_some_and(|l| l.node.is_some()));
        ready.map(|(id, _)| *id).collect()
    }

    pub fn node(&self, id: u64) -> Option<Node<Machine>> {
        self.places.borrow().get(&id)?.life.as_ref()?.node.clone()
    }

    pub fn store(&self, id: u64) -> Option<Arc<Store>> {
        Some(self.places.borrow().get(&id)?.life.as_ref()?.store.clone())
    }

    pub fn disk(&self, id: u64) -> Option<Arc<SimDisk>> {
        Some(self.places.borrow().get(&id)?.life.as_ref()?.disk.clone())
    }

    pub fn owner(&self, id: u64) -> Option<Owner> {
        Some(self.places.borrow().get(&id)?.life.as_ref()?.owner)
    }

    pub fn leader(&self) -> Option<u64> {
        self.ready()
            .into_iter()
            .find(|id| self.node(*id).is_some_and(|n| n.is_leader()))
    }

    pub fn fail_next_sync(&self, id: u64) {
        if let Some(place) = self.places.borrow_mut().get_mut(&id) {
            place.may_fail = true;
            if let Some(life) = &place.life {
                life.disk.fail_next_sync();
            }
        }
    }

    /// It is about to be told to.
    pub fn allow_to_end(&self, id: u64) {
        if let Some(place) = self.places.borrow_mut().get_mut(&id) {
            place.may_fail = true;
        }
    }

    /// Members that ended by themselves.
    pub fn failed(&self) -> Vec<u64> {
        let places = self.places.borrow();
        let failed = places
            .iter()
            .filter(|(_, p)| p.life.as_ref().is_some_and(|l| l.failed.is_some()));
        failed.map(|(id, _)| *id).collect()
    }

    /// Runs something in the member's own process; `None`: it died meanwhile.
    pub async fn on<T, F>(&self, id: u64, what: impl FnOnce(Node<Machine>, Arc<Store>) -> F) -> Option<T>
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let (owner, node, store) = (self.owner(id)?, self.node(id)?, self.store(id)?);
        let (done, result) = oneshot::channel();
        let work = {
            let _on = self.executor.enter(owner);
            what(node, store)
        };
        self.executor.spawn(owner, async move {
            drop(done.send(work.await));
        });
        result.await.ok()
    }

    /// Starts a member that is not up.
    pub fn start(self: &Rc<Self>, id: u64) {
        if self.is_up(id) {
            return;
        }
        if let Err(e) = self.try_start(id) {
            self.executor.fail(format!("member {id} cannot start: {e}"));
        }
    }

    fn try_start(self: &Rc<Self>, id: u64) -> Result<(), String> {
        let salt = self.executor.random();
        let mut places = self.places.borrow_mut();
        let place = places.get_mut(&id).ok_or("it is gone")?;
        // A folder of its own for each life: what a dead process still holds open is nothing to the next.
        place.lives += 1;
        let next = self.root.join(format!("m{id}-{}", place.lives));
        if place.dir.exists() {
            copy_files(&place.dir, &next).map_err(|e| e.to_string())?;
            std::fs::remove_dir_all(&place.dir).map_err(|e| e.to_string())?;
        }
        place.dir = next;
        place.may_fail = false;
        let lie = match self.options.bug {
            Bug::AckBeforeSync => Lie::NoSync,
            Bug::VoteNotDurable => Lie::NoVotes,
            _ => Lie::None,
        };
        let disk = SimDisk::new(salt, lie);
        let store = Store::open_in_memory(&place.state).map_err(|e| e.to_string())?;
        let owner = self.executor.new_owner(place.drift_ppm);
        let machine = Machine::new(id, store.clone(), self.history.clone(), self.options.bug);
        let mut options = keelson_raft::Options::new(id, CLUSTER_ID, &place.dir);
        options.timers = Timers {
            heartbeat: HEARTBEAT,
            election: ELECTION,
            ..Timers::default()
        };
        options.segment_bytes = SEGMENT_BYTES;
        options.flush_entries = FLUSH_ENTRIES;
        options.catchup_entries = CATCHUP_ENTRIES;
        options.disk = Some(disk.clone());
        options.member = member(id);
        let start = place.start.clone();
        place.life = Some(Life {
            owner,
            node: None,
            store: store.clone(),
            disk: disk.clone(),
            failed: None,
        });
        drop(places);
        let applied = store.applied_state().index;
        self.executor
            .note(format!("member {id} starts, with the state after {applied}"));
        self.executor.spawn(owner, write_log(self.executor.clone(), disk));
        self.executor.spawn(owner, keep_house(self.executor.clone(), id, store));
        let cluster = self.clone();
        self.executor.spawn(owner, async move {
            let transport = cluster.network.transport(id);
            match Node::start(options, start, machine, transport).await {
                Ok(node) => cluster.started(id, owner, node).await,
                Err(e) => cluster.ended(id, owner, e),
            }
        });
        Ok(())
    }

    async fn started(&self, id: u64, owner: Owner, node: Node<Machine>) {
        self.executor
            .note(format!("member {id} is up, in term {}", node.term()));
        self.network.connect(id, owner, node.peer_handler());
        let failed = node.failed();
        self.executor
            .spawn(owner, note_leader(self.history.clone(), id, node.clone()));
        if let Some(life) = self.places.borrow_mut().get_mut(&id).and_then(|p| p.life.as_mut()) {
            life.node = Some(node);
        }
        let error = failed.await;
        self.ended(id, owner, error);
    }

    fn ended(&self, id: u64, owner: Owner, error: Error) {
        self.executor.note(format!("member {id} ended: {error}"));
        let mut places = self.places.borrow_mut();
        let Some(place) = places.get_mut(&id) else { return };
        let refused = place.flipped && matches!(&error, Error::Fatal(why) if why.contains("is damaged at offset"));
        let allowed = place.may_fail || refused || error == Error::Removed;
        if let Some(life) = place.life.as_mut().filter(|l| l.owner == owner) {
            life.failed = Some(error.clone());
        }
        drop(places);
        if !allowed {
            self.executor.fail(format!("member {id} ended by itself: {error}"));
        }
    }

    /// Flips a bit of the log of a member that is down, where no torn write can be. False: there is no such place.
    pub fn flip_bit(&self, id: u64) -> io::Result<bool> {
        let mut places = self.places.borrow_mut();
        let Some(place) = places.get_mut(&id).filter(|p| p.life.is_none()) else {
            return Ok(false);
        };
        let mut segments = Vec::new();
        for file in std::fs::read_dir(&place.dir)? {
            let path = file?.path();
            if path.extension().is_some_and(|e| e == "wal") {
                segments.push(path);
            }
        }
        segments.sort();
        segments.pop();
        let mut rng = self.executor.rng.borrow_mut();
        let Some(path) = rng.pick(&segments) else {
            return Ok(false);
        };
        let mut bytes = std::fs::read(path)?;
        let (at, bit) = (rng.index(bytes.len()), rng.below(8));
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << bit;
        }
        std::fs::write(path, bytes)?;
        place.flipped = true;
        Ok(true)
    }

    /// The member that has found its log damaged: an operator has to replace it.
    pub fn damaged(&self) -> Option<u64> {
        let places = self.places.borrow();
        let damaged = |p: &Place| p.flipped && p.life.as_ref().is_some_and(|l| l.failed.is_some());
        places.iter().find(|(_, p)| damaged(p)).map(|(id, _)| *id)
    }

    /// Power off, at once.
    pub fn crash(&self, id: u64) {
        let Some(life) = self.places.borrow_mut().get_mut(&id).and_then(|p| p.life.take()) else {
            return;
        };
        self.executor.note(format!("member {id} crashes"));
        self.history.lock().counts.crashes += 1;
        self.network.disconnect(id);
        {
            let _on = self.executor.enter(life.owner);
            drop(life.node);
        }
        self.executor.kill(life.owner);
        if let Err(e) = life.disk.crash(&mut self.executor.rng.borrow_mut()) {
            self.executor.fail(format!("the simulated disk of member {id}: {e}"));
        }
    }
}

/// The disk's side of the log.
async fn write_log(executor: Rc<Executor>, disk: Arc<SimDisk>) {
    loop {
        disk.work().await;
        loop {
            let delay = executor.rng.borrow_mut().below(disk.delay_max_ns());
            runtime::sleep(Duration::from_nanos(delay)).await;
            match disk.step() {
                Step::Wrote => {}
                Step::Idle => break,
                Step::Ended => return,
            }
        }
    }
}

/// No two members lead one term.
async fn note_leader(history: Arc<Mutex<History>>, id: u64, node: Node<Machine>) {
    let mut leader = node.watch_leader();
    // It must not hold what it watches.
    drop(node);
    loop {
        let state = *leader.borrow_and_update();
        if state.is_leader {
            history.lock().leads(id, state.term);
        }
        if leader.changed().await.is_err() {
            return;
        }
    }
}

/// Flushes at odd times, and the physical part of compactions.
async fn keep_house(executor: Rc<Executor>, id: u64, store: Arc<Store>) {
    loop {
        let pause = executor.rng.borrow_mut().between(5, 400);
        runtime::sleep(Duration::from_millis(pause)).await;
        let done = if executor.rng.borrow_mut().chance(1, 5) {
            store.flush()
        } else {
            store
                .trim_slice()
                .map(|slice| debug_assert!(slice != Slice::Waiting || store.trim_pending()))
        };
        if let Err(e) = done {
            executor.fail(format!("member {id}: {e}"));
            return;
        }
    }
}
