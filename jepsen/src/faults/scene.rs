//! What all faults of a run share: the world, the record, and who may touch which member.

use super::admin::Admin;
use super::step::{Step, Victims};
use crate::history::{FaultRecord, Phase, Recorder};
use crate::world::{World, WorldError};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A member that may end by itself may have done so this long before it is noticed.
const NOTICED: Duration = Duration::from_secs(3);
/// How often something that is tried is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// Why a member may end by itself.
#[derive(Default)]
struct Reasons {
    /// Faults that make it do so.
    faults: usize,
    /// There was one until then, and a little longer.
    until: Option<Instant>,
}

/// Shared by the threads of all faults.
pub(super) struct Scene {
    pub(super) world: Arc<World>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) admin: Admin,
    /// Members whose data is at stake belong to one fault: no other starts or stops them. By the fault's number.
    wards: Mutex<BTreeMap<usize, u64>>,
    /// Members that may end by themselves.
    fragile: Mutex<BTreeMap<usize, Reasons>>,
    /// Faults that change who is a member come one after another.
    pub(super) membership: Mutex<()>,
    stopped: Mutex<bool>,
    stop: Condvar,
}

impl Scene {
    pub(super) fn new(world: Arc<World>, recorder: Arc<Recorder>) -> Result<Scene, WorldError> {
        let admin = Admin::new(&world)?;
        Ok(Scene {
            world,
            recorder,
            admin,
            wards: Mutex::default(),
            fragile: Mutex::default(),
            membership: Mutex::default(),
            stopped: Mutex::new(false),
            stop: Condvar::new(),
        })
    }

    /// From now on nothing lasts any longer.
    pub(super) fn stop(&self) {
        *lock(&self.stopped) = true;
        self.stop.notify_all();
    }

    /// Waits this long. `false` when everything is to stop.
    pub(super) fn rest(&self, time: Duration) -> bool {
        let held = lock(&self.stopped);
        let waited = self.stop.wait_timeout_while(held, time, |stopped| !*stopped);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn is_stopped(&self) -> bool {
        *lock(&self.stopped)
    }

    pub(super) fn record(&self, id: u64, phase: Phase, fault: &str, nodes: &[usize], detail: Value) {
        self.recorder.fault(FaultRecord {
            time_ns: 0,
            id,
            phase,
            fault: fault.to_owned(),
            nodes: nodes.to_vec(),
            detail,
        });
    }

    /// Whether a member belongs to a fault.
    pub(super) fn is_ward(&self, node: usize) -> bool {
        lock(&self.wards).contains_key(&node)
    }

    /// Whether a member may end by itself.
    pub(super) fn is_fragile(&self, node: usize) -> bool {
        let now = Instant::now();
        let reasons = |r: &Reasons| r.faults > 0 || r.until.is_some_and(|until| now < until);
        lock(&self.fragile).get(&node).is_some_and(reasons)
    }

    /// Starts a member that belongs to no fault. `false` when it does belong to one.
    pub(super) fn start_free(&self, node: usize) -> Result<bool, WorldError> {
        let wards = lock(&self.wards);
        if wards.contains_key(&node) {
            return Ok(false);
        }
        self.world.start_member(node)?;
        Ok(true)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind it is changed in one step each.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tries until it works; the last error when the deadline is over.
pub(super) fn until<T>(deadline: Instant, mut attempt: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(e) if Instant::now() > deadline => return Err(e),
            Err(_) => std::thread::sleep(AGAIN),
        }
    }
}

/// One fault that is being done.
pub(super) struct Act<'a> {
    pub(super) scene: &'a Scene,
    pub(super) step: &'a Step,
}

impl<'a> Act<'a> {
    pub(super) fn world(&self) -> &'a World {
        &self.scene.world
    }

    pub(super) fn admin(&self) -> &'a Admin {
        &self.scene.admin
    }

    fn record(&self, phase: Phase, nodes: &[usize], detail: Value) {
        // Nobody was struck: why, was written down.
        if nodes.is_empty() && detail["parts"].as_array().is_none_or(Vec::is_empty) {
            return;
        }
        let name = self.step.fault.kind().name();
        self.scene.record(self.step.id, phase, name, nodes, detail);
    }

    /// It has begun.
    pub(super) fn begin(&self, nodes: &[usize], detail: Value) {
        self.record(Phase::Begin, nodes, detail);
    }

    /// It has ended.
    pub(super) fn end(&self, nodes: &[usize], detail: Value) {
        self.record(Phase::End, nodes, detail);
    }

    /// It was done at once.
    pub(super) fn once(&self, nodes: &[usize], detail: Value) {
        self.record(Phase::Once, nodes, detail);
    }

    /// Something came of it.
    pub(super) fn effect(&self, what: &str, nodes: &[usize], detail: Value) {
        self.scene.record(self.step.id, Phase::Effect, what, nodes, detail);
    }

    /// It was not done, at these members or at all.
    pub(super) fn skipped(&self, nodes: &[usize], why: impl std::fmt::Display) {
        let detail = json!({"fault": self.step.fault.kind(), "why": why.to_string()});
        self.effect("skipped", nodes, detail);
    }

    /// Lasts as long as it is to last. `false` when everything is to stop.
    pub(super) fn last(&self) -> bool {
        self.scene.rest(Duration::from_millis(self.step.for_ms))
    }

    pub(super) fn victims(&self, victims: &Victims) -> Vec<usize> {
        match victims {
            Victims::Nodes(nodes) => nodes.clone(),
            // Nobody leads now: the first is as good as any.
            Victims::Leader => vec![self.admin().leader().unwrap_or(1)],
        }
    }

    /// Does something to each member that belongs to no other fault, all at once. Returns those it was done to;
    /// what went wrong is written down.
    pub(super) fn each<T: Send>(
        &self,
        nodes: &[usize],
        work: impl Fn(usize) -> Result<T, WorldError> + Sync,
    ) -> Vec<(usize, T)> {
        // Held until it is done, so that nobody takes a member over meanwhile.
        let wards = lock(&self.scene.wards);
        let owner = |node: &usize| wards.get(node).filter(|owner| **owner != self.step.id).copied();
        let results: Vec<(usize, Result<T, String>)> = std::thread::scope(|scope| {
            let start = |&node: &usize| {
                let (work, owner) = (&work, owner(&node));
                let thread = scope.spawn(move || match owner {
                    Some(owner) => Err(format!("belongs to fault {owner}")),
                    None => work(node).map_err(|e| e.to_string()),
                });
                (node, thread)
            };
            let threads: Vec<_> = nodes.iter().map(start).collect();
            threads
                .into_iter()
                .map(|(node, thread)| (node, thread.join().unwrap_or_else(|_| Err("panicked".to_owned()))))
                .collect()
        });
        drop(wards);
        let mut done = Vec::new();
        for (node, result) in results {
            match result {
                Ok(value) => done.push((node, value)),
                Err(why) => self.skipped(&[node], why),
            }
        }
        done
    }

    /// The same, for what takes no data and stops nobody.
    pub(super) fn each_softly(&self, nodes: &[usize], work: impl Fn(usize) -> Result<(), WorldError>) -> Vec<usize> {
        let mut done = Vec::new();
        for &node in nodes {
            match work(node) {
                Ok(()) => done.push(node),
                Err(e) => self.skipped(&[node], e),
            }
        }
        done
    }

    /// Makes a member this fault's own until the guard goes; `None` while a fault has this one or any other. One that
    /// was given up by its fault counts: the group has lost it, and must not lose a second one.
    pub(super) fn ward(&self, node: usize) -> Option<Ward<'a>> {
        let mut wards = lock(&self.scene.wards);
        if !wards.is_empty() {
            return None;
        }
        wards.insert(node, self.step.id);
        drop(wards);
        Some(Ward {
            scene: self.scene,
            node,
            keep: false,
            _fragile: self.fragile(&[node]),
        })
    }

    /// From now on these members may end by themselves.
    pub(super) fn fragile(&self, nodes: &[usize]) -> Fragile<'a> {
        let mut fragile = lock(&self.scene.fragile);
        for node in nodes {
            fragile.entry(*node).or_default().faults += 1;
        }
        Fragile {
            scene: self.scene,
            nodes: nodes.to_vec(),
        }
    }
}

/// A member belongs to one fault as long as this is there.
pub(super) struct Ward<'a> {
    scene: &'a Scene,
    node: usize,
    keep: bool,
    /// What happens to it may make it end by itself.
    _fragile: Fragile<'a>,
}

impl Ward<'_> {
    /// The member stays as it is, untouched, until everything is healed.
    pub(super) fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Ward<'_> {
    fn drop(&mut self) {
        if !self.keep {
            lock(&self.scene.wards).remove(&self.node);
        }
    }
}

impl Scene {
    /// Members that were given up by their fault, for the healer, whose they are from now on.
    pub(super) fn kept_wards(&self) -> Vec<usize> {
        lock(&self.wards).keys().copied().collect()
    }

    pub(super) fn release(&self, node: usize) {
        lock(&self.wards).remove(&node);
    }
}

/// Members may end by themselves as long as this is there.
pub(super) struct Fragile<'a> {
    scene: &'a Scene,
    nodes: Vec<usize>,
}

impl Drop for Fragile<'_> {
    fn drop(&mut self) {
        let mut fragile = lock(&self.scene.fragile);
        for node in &self.nodes {
            let reasons = fragile.entry(*node).or_default();
            reasons.faults = reasons.faults.saturating_sub(1);
            reasons.until = Some(Instant::now() + NOTICED);
        }
    }
}
