//! Tasks and time without threads: one task runs at a time, which one is the seed's choice, and the clock moves only
//! when nobody can run.
//!
//! Every task belongs to an owner: the world, or one life of one member. An owner has a clock of its own, which may run
//! fast or slow and jump ahead but never back, and all its tasks can be dropped at once, as a process that dies.

use crate::rng::Rng;
use crate::trace::Trace;
use futures::future::BoxFuture;
use keelson_raft::runtime::{Simulator, TakenOver, take_over};
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Polls in one instant after which something spins.
const POLLS_PER_INSTANT_MAX: u64 = 200_000;
const PPM: i128 = 1_000_000;

/// Whose a task is. 0 is the world.
pub type Owner = u64;
pub const WORLD: Owner = 0;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Executor>>> = const { RefCell::new(None) };
}

/// The executor of the simulation that runs on this thread.
pub fn current() -> Option<Rc<Executor>> {
    CURRENT.with(|e| e.borrow().clone())
}

pub fn set_current(executor: Option<Rc<Executor>>) {
    CURRENT.with(|e| *e.borrow_mut() = executor);
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// A set and not a queue: channels wake those who wait in an order of their own, in part by chance.
type Ready = Arc<Mutex<BTreeSet<u64>>>;

struct Slot {
    owner: Owner,
    /// Absent while it is being polled.
    task: Option<Task>,
    waker: Arc<TaskWaker>,
}

struct TaskWaker {
    id: u64,
    queued: AtomicBool,
    ready: Ready,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.lock().insert(self.id);
        }
    }
}

/// Local time is `local_at + (now - since) * (1 + drift)`.
struct Clock {
    since: u64,
    local_at: u64,
    drift_ppm: i64,
    timers: BTreeMap<(u64, u64), Waker>,
}

impl Clock {
    fn local(&self, now: u64) -> u64 {
        let passed = i128::from(now.saturating_sub(self.since));
        let local = i128::from(self.local_at) + passed * (PPM + i128::from(self.drift_ppm)) / PPM;
        u64::try_from(local).unwrap_or(u64::MAX)
    }

    /// The first moment of the world at which the local time is reached.
    fn world(&self, local: u64) -> u64 {
        let rate = PPM + i128::from(self.drift_ppm);
        let ahead = i128::from(local.saturating_sub(self.local_at)) * PPM;
        let ahead = (ahead + rate - 1) / rate;
        self.since.saturating_add(u64::try_from(ahead).unwrap_or(u64::MAX))
    }
}

struct Core {
    now: u64,
    tasks: BTreeMap<u64, Slot>,
    clocks: BTreeMap<Owner, Clock>,
    next: u64,
    polls_now: u64,
}

/// The executor. One a simulation; it must be dropped on the thread that made it.
pub struct Executor {
    core: RefCell<Core>,
    ready: Ready,
    pub rng: RefCell<Rng>,
    pub trace: RefCell<Trace>,
    /// The first thing that must not happen.
    failure: RefCell<Option<String>>,
    polls: Cell<u64>,
    hidden: RefCell<String>,
}

impl Executor {
    pub fn new(seed: u64, keep_trace: bool) -> Rc<Executor> {
        let executor = Rc::new(Executor {
            core: RefCell::new(Core {
                now: 0,
                tasks: BTreeMap::new(),
                clocks: BTreeMap::new(),
                next: 1,
                polls_now: 0,
            }),
            ready: Arc::default(),
            rng: RefCell::new(Rng::new(seed)),
            trace: RefCell::new(Trace::new(keep_trace)),
            failure: RefCell::new(None),
            polls: Cell::new(0),
            hidden: RefCell::default(),
        });
        executor.add_clock(WORLD, 0);
        executor
    }

    fn add_clock(&self, owner: Owner, drift_ppm: i64) {
        let mut core = self.core.borrow_mut();
        let (since, timers) = (core.now, BTreeMap::new());
        let clock = Clock {
            since,
            local_at: since,
            drift_ppm,
            timers,
        };
        core.clocks.insert(owner, clock);
    }

    /// A process begins.
    pub fn new_owner(&self, drift_ppm: i64) -> Owner {
        let owner = {
            let mut core = self.core.borrow_mut();
            core.next += 1;
            core.next
        };
        self.add_clock(owner, drift_ppm);
        owner
    }

    /// Its clock from now on.
    pub fn set_drift(&self, owner: Owner, drift_ppm: i64) {
        let mut core = self.core.borrow_mut();
        let now = core.now;
        if let Some(clock) = core.clocks.get_mut(&owner) {
            clock.local_at = clock.local(now);
            clock.since = now;
            clock.drift_ppm = drift_ppm;
        }
    }

    /// Its clock jumps ahead, as after a process was stopped for a while.
    pub fn jump(&self, owner: Owner, by: Duration) {
        let mut core = self.core.borrow_mut();
        let now = core.now;
        if let Some(clock) = core.clocks.get_mut(&owner) {
            clock.local_at = clock.local(now).saturating_add(nanos(by));
            clock.since = now;
        }
    }

    /// A process ends: its tasks and timers are gone. Not to be called from one of its own tasks.
    pub fn kill(self: &Rc<Self>, owner: Owner) {
        let gone: Vec<Slot> = {
            let mut core = self.core.borrow_mut();
            core.clocks.remove(&owner);
            let ids: Vec<u64> = core
                .tasks
                .iter()
                .filter(|(_, t)| t.owner == owner)
                .map(|(id, _)| *id)
                .collect();
            ids.iter().filter_map(|id| core.tasks.remove(id)).collect()
        };
        // What is dropped may still ask for the time or spawn; what it spawns then is dropped as well.
        let _on = self.enter(owner);
        drop(gone);
    }

    /// Runs what follows as the owner.
    pub fn enter(self: &Rc<Self>, owner: Owner) -> TakenOver {
        take_over(Rc::new(Process {
            executor: self.clone(),
            owner,
        }))
    }

    pub fn spawn(&self, owner: Owner, task: impl Future<Output = ()> + 'static) {
        let mut core = self.core.borrow_mut();
        if !core.clocks.contains_key(&owner) {
            drop(core);
            drop(task);
            return;
        }
        core.next += 1;
        let id = core.next;
        let waker = Arc::new(TaskWaker {
            id,
            queued: AtomicBool::new(true),
            ready: self.ready.clone(),
        });
        let task: Option<Task> = Some(Box::pin(task));
        core.tasks.insert(id, Slot { owner, task, waker });
        self.ready.lock().insert(id);
    }

    /// Time since the beginning.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.core.borrow().now)
    }

    pub fn polls(&self) -> u64 {
        self.polls.get()
    }

    pub fn note(&self, what: impl AsRef<str>) {
        let now = self.core.borrow().now;
        let what = what.as_ref();
        match self.hidden.borrow().as_str() {
            "" => self.trace.borrow_mut().line(now, what),
            hidden => self.trace.borrow_mut().line(now, &what.replace(hidden, "")),
        }
    }

    /// What is different in each run, a folder's name, is left out of the trace.
    pub fn hide(&self, what: String) {
        *self.hidden.borrow_mut() = what;
    }

    /// Ends the run; only the first one counts.
    pub fn fail(&self, why: impl Into<String>) {
        let mut failure = self.failure.borrow_mut();
        if failure.is_none() {
            let why = why.into();
            self.note(format!("VIOLATION {why}"));
            *failure = Some(why);
        }
    }

    pub fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    pub fn random(&self) -> u64 {
        self.rng.borrow_mut().next()
    }

    /// Runs until `done`, a failure, or the end of the time given. True: done.
    pub fn run(self: &Rc<Self>, limit: Duration, done: impl Fn() -> bool) -> bool {
        let end = self.core.borrow().now.saturating_add(nanos(limit));
        loop {
            if done() {
                return true;
            }
            if self.failure.borrow().is_some() {
                return false;
            }
            let next = {
                let mut ready = self.ready.lock();
                let at = self.rng.borrow_mut().index(ready.len());
                let next = ready.iter().nth(at).copied();
                next.filter(|id| ready.remove(id))
            };
            match next {
                Some(id) => self.poll(id),
                None => {
                    if !self.advance(end) {
                        return done();
                    }
                }
            }
        }
    }

    fn poll(self: &Rc<Self>, id: u64) {
        let (owner, mut task, waker) = {
            let mut core = self.core.borrow_mut();
            core.polls_now += 1;
            if core.polls_now > POLLS_PER_INSTANT_MAX {
                drop(core);
                self.fail("tasks spin without time passing");
                return;
            }
            let Some(slot) = core.tasks.get_mut(&id) else { return };
            slot.waker.queued.store(false, Ordering::Relaxed);
            let Some(task) = slot.task.take() else { return };
            (slot.owner, task, slot.waker.clone())
        };
        self.polls.set(self.polls.get() + 1);
        self.trace.borrow_mut().mix(id);
        let waker = Waker::from(waker);
        let polled = {
            let _on = self.enter(owner);
            catch_unwind(AssertUnwindSafe(|| {
                task.as_mut().poll(&mut Context::from_waker(&waker))
            }))
        };
        match polled {
            Ok(Poll::Pending) => {
                let mut core = self.core.borrow_mut();
                match core.tasks.get_mut(&id) {
                    Some(slot) => slot.task = Some(task),
                    // Killed while it ran.
                    None => {
                        drop(core);
                        let _on = self.enter(owner);
                        drop(task);
                    }
                }
            }
            Ok(Poll::Ready(())) => {
                self.core.borrow_mut().tasks.remove(&id);
                let _on = self.enter(owner);
                drop(task);
            }
            Err(panic) => {
                let what = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("something");
                self.fail(format!("a task panicked: {what}"));
                self.core.borrow_mut().tasks.remove(&id);
            }
        }
    }

    /// Moves the clock to the next timer. False: there is none before `end`.
    fn advance(&self, end: u64) -> bool {
        let due: Vec<Waker> = {
            let mut core = self.core.borrow_mut();
            let next = core
                .clocks
                .values()
                .filter_map(|clock| {
                    clock
                        .timers
                        .first_key_value()
                        .map(|((local, _), _)| clock.world(*local))
                })
                .min();
            let Some(next) = next.filter(|next| *next <= end) else {
                core.now = core.now.max(end);
                return false;
            };
            if next > core.now {
                core.polls_now = 0;
            }
            core.now = core.now.max(next);
            let now = core.now;
            let mut due = Vec::new();
            for clock in core.clocks.values_mut() {
                let local = clock.local(now);
                let later = clock.timers.split_off(&(local.saturating_add(1), 0));
                due.extend(std::mem::replace(&mut clock.timers, later).into_values());
            }
            due
        };
        due.into_iter().for_each(Waker::wake);
        true
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Tasks hold what holds the executor; whoever runs it has let go of them with `clear`.
        self.core.borrow_mut().tasks.clear();
    }
}

impl Executor {
    /// Drops everything that runs, so that nothing holds anything any more.
    pub fn clear(self: &Rc<Self>) {
        let owners: Vec<Owner> = self.core.borrow().clocks.keys().copied().collect();
        for owner in owners.into_iter().rev() {
            self.kill(owner);
        }
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// What raft's runtime sees of the executor while one of its owner's tasks runs.
struct Process {
    executor: Rc<Executor>,
    owner: Owner,
}

impl Simulator for Process {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.executor.spawn(self.owner, task);
    }

    fn now(&self) -> Duration {
        let core = self.executor.core.borrow();
        Duration::from_nanos(
            core.clocks
                .get(&self.owner)
                .map_or(core.now, |clock| clock.local(core.now)),
        )
    }

    fn wake_at(&self, deadline: Duration, waker: Waker) {
        let mut core = self.executor.core.borrow_mut();
        core.next += 1;
        let sequence = core.next;
        if let Some(clock) = core.clocks.get_mut(&self.owner) {
            clock.timers.insert((nanos(deadline), sequence), waker);
        }
    }

    fn random(&self) -> u64 {
        self.executor.random()
    }
}
